"""What all commands share: the same option for the same thing, one way to say an error, one exit status.

Commands are click commands. A module that only declares one imports neither torch nor gradio, so that
`--help` answers at once.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

EXIT_USAGE, EXIT_INTERRUPTED, EXIT_PIPE = 2, 130, 141

MODEL_HELP = "Folder of a saved model, its id on the Hub (org/name), or the name of an embedded one."

# The extra that brings a package which is not always installed.
EXTRA_OF = {
    "accelerate": "train",
    "datasets": "datasets",
    "gradio": "app",
    "matplotlib": "train",
    "mcp": "mcp",
    "skimage": "train",
    "sklearn": "train",
    "tensorboard": "tensorboard",
}

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class CannotRun(click.ClickException):
    """Something that the user can put right, in one sentence; exit status 2."""

    exit_code = EXIT_USAGE


def data_option(help: str, required: bool = True) -> Decorator:
    """`--data`: pictures that a command reads."""
    return click.option("--data", required=required, metavar="PATH", help=help)


def model_option(required: bool = True) -> Decorator:
    """`--model`: a saved model."""
    return click.option("--model", required=required, metavar="MODEL", help=MODEL_HELP)


def output_option(help: str, required: bool = True) -> Decorator:
    """`--output`: a file or folder that a command writes."""
    return click.option(
        "--output", required=required, metavar="PATH", type=click.Path(path_type=Path), help=help
    )


def run(command: click.Command, arguments: Sequence[str] | None, prog: str) -> int:
    """Run a command; write what went wrong as one sentence to stderr.

    Args:
        command: the click command; it returns its exit status, or None for 0.
        arguments: without the program's name; None takes those of this process.
        prog: how the user calls it, such as "diffusionad" or "python -m training.train".

    Returns:
        The exit status: 2 for what the user can put right, 130 after Ctrl-C, 141 when nobody reads stdout.
    """
    # A file name that the terminal cannot show is no reason to stop.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        args = None if arguments is None else list(arguments)
        return command.main(args=args, prog_name=prog, standalone_mode=False) or 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else prog
        print(f"{path}: {error.format_message()} See {path} --help.", file=sys.stderr)
        return EXIT_USAGE
    except click.ClickException as error:
        print(f"{prog}: {error.format_message()}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(f"{prog}: {missing_extra(error)}", file=sys.stderr)
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone; nothing may be written to it again, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE


def missing_extra(error: ModuleNotFoundError) -> str:
    """Name the `pip install` line that brings a missing package; raise `error` again where none does."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        raise error
    return f"the package {package} is not installed; run: pip install 'diffusionad[{EXTRA_OF[package]}]'"
