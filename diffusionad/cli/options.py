"""What all commands share: the same option for the same thing, one way to say an error, one exit status.

Commands are click commands. A module that only declares one imports neither torch nor gradio, so that
`--help` answers at once.
"""

import io
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
    "adeval": "bench",
    "datasets": "datasets",
    "gradio": "app",
    "jinja2": "hub",
    "matplotlib": "train",
    "mcp": "mcp",
    "paho": "line",
    "prometheus_client": "line",
    "pyarrow": "scale",
    "ray": "scale",
    "skimage": "train",
    "sklearn": "train",
    "tensorboard": "tensorboard",
    "tifffile": "large",
    "tomlkit": "train",
    "zarr": "large",
}

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class CannotRun(click.ClickException):
    """Something that the user can put right, in one sentence; exit status 2."""

    exit_code = EXIT_USAGE

    def __init__(self, message: str) -> None:
        super().__init__(message)
        context = click.get_current_context(silent=True)
        self.command = context.command_path if context else None


def data_option(help: str, required: bool = True, multiple: bool = False) -> Decorator:
    """Declare `--data`, pictures that a command reads; a tuple of them where it may repeat."""
    return click.option("--data", required=required, multiple=multiple, metavar="PATH", help=help)


def model_option(required: bool = True) -> Decorator:
    """Declare `--model`, a saved model."""
    return click.option("--model", required=required, metavar="MODEL", help=MODEL_HELP)


def output_option(help: str, required: bool = True) -> Decorator:
    """Declare `--output`, a file or folder that a command writes."""
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
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    called = prog  # with the subcommand, once it is known
    try:
        # Not `command.main`: it answers Ctrl-C and a closed pipe in ways of its own.
        with command.make_context(prog, list(sys.argv[1:] if arguments is None else arguments)) as context:
            try:
                return command.invoke(context) or 0
            finally:
                called = " ".join(filter(None, (prog, context.invoked_subcommand)))
    except click.exceptions.Exit as answered:  # after --help and --version
        return answered.exit_code
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else called
        print(f"{path}: {one_line(error.format_message())} See {path} --help.", file=sys.stderr)
        return EXIT_USAGE
    except click.ClickException as error:
        print(f"{getattr(error, 'command', None) or called}: {error.format_message()}", file=sys.stderr)
        return error.exit_code
    except ModuleNotFoundError as error:
        print(f"{called}: {missing_extra(error)}", file=sys.stderr)
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of stdout has gone; nothing may be written to it again, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_PIPE


def one_line(error: Exception | str) -> str:
    """Return the sentence of an error; libraries append paragraphs to theirs."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def missing_extra(error: ModuleNotFoundError) -> str:
    """Name the `pip install` line that brings a missing package; raise `error` again where none does."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        raise error
    return f"the package {package} is not installed; run: pip install 'diffusionad[{EXTRA_OF[package]}]'"


def announce(text: str) -> None:
    """Tell a person at a terminal what is coming, before torch is imported, which takes seconds."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)
