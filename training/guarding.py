"""Errors of a command as one sentence and an exit status; an interrupted training says how it goes on."""

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from diffusionad.cli.options import EXIT_INTERRUPTED, EXIT_USAGE, CannotRun

from .console import complain
from .trainer.divergence import TrainingError

EXIT_STOPPED = 1
WORDS = "training.words"


class ResumableCommand(click.Command):
    """A command that remembers its arguments, to say how an interrupted run goes on."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Keep the arguments as they were typed."""
        ctx.meta[WORDS] = list(args)
        return super().parse_args(ctx, args)


@contextmanager
def sentences() -> Iterator[None]:
    """Turn errors that the user can put right into one sentence and exit status 2."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise CannotRun(str(error)) from error


def guarded(work: Callable[[], int], is_resumed: bool) -> int:
    """Run a training; turn its errors into one sentence and an exit status.

    Args:
        work: returns the exit status.
        is_resumed: the same command goes on after an interruption; otherwise `--resume` must be added.
    """
    context = click.get_current_context()
    prog, words = context.command_path, context.meta.get(WORDS, [])
    try:
        return work()
    except (ValueError, OSError) as error:
        complain(f"{prog}: error: {error}")
        return EXIT_USAGE
    except TrainingError as error:
        complain(f"{prog}: stopped: {error}")
        return EXIT_STOPPED
    except KeyboardInterrupt:
        again = [*words, *([] if is_resumed else ["--resume"])]
        complain(f"\nStopped. Go on with: {prog} {shlex.join(again)}")
        return EXIT_INTERRUPTED
