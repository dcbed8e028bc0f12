"""The command `diffusionad`: a table of commands, each imported when it is called."""

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

import click

import diffusionad
from diffusionad.cli.options import CannotRun, run

PACKAGE = Path(diffusionad.__file__).parent

# Command -> (module, click command in it, one line for `diffusionad --help`).
COMMANDS = {
    "inspect": (
        "diffusionad.cli.inspect",
        "inspect_command",
        "Find defects in pictures.",
    ),
    "inspect-large": (
        "diffusionad.cli.inspect_large",
        "inspect_large_command",
        "Find defects in a TIFF of any size, at its own scale.",
    ),
    "watch": (
        "diffusionad.cli.watch",
        "watch_command",
        "Inspect each picture that arrives in a folder.",
    ),
    "verify": (
        "diffusionad.cli.verify",
        "verify_command",
        "Run results again, and say which differ, and why.",
    ),
    "calibrate": (
        "diffusionad.cli.calibrate",
        "calibrate_command",
        "Set the threshold from pictures of good parts.",
    ),
    "learn-marks": (
        "diffusionad.cli.marks",
        "learn_marks_command",
        "Teach a model the marks that good parts carry.",
    ),
    "export": (
        "diffusionad.cli.export",
        "export_command",
        "Export a model to ONNX or OpenVINO, with proven parity.",
    ),
    "certify": ("training.certificate.cli", "certify_command", "Measure which defects a model will miss."),
    "serve": ("diffusionad.cli.serve", "serve_command", "Open the screens in a browser."),
    "train": ("training.cli", "train_command", "Train a model on pictures of good parts."),
    "distill": (
        "training.distill",
        "distill_command",
        "Teach a small model to say in one pass what a trained one says.",
    ),
    "evaluate": ("training.cli", "evaluate_command", "Measure a trained model on its test pictures."),
    "catalog": ("training.cli", "catalog_command", "List the categories and pictures of a data set."),
    "preview": ("training.cli", "preview_command", "Show the synthetic defects that training would see."),
    "push": ("hub.push_model", "push_command", "Publish a finished run on the Hugging Face Hub."),
    "push-space": ("hub.push_space", "push_space_command", "Publish the screens as a Hugging Face Space."),
    "import-official": (
        "hub.import_official",
        "import_official_command",
        "Turn a checkpoint of the authors' released code into a model.",
    ),
}


class LazyGroup(click.Group):
    """A group that imports a command when it is called; `--help` takes its lines from the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(importable(module)), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.command(cls=LazyGroup, no_args_is_help=False)
@click.version_option(diffusionad.__version__, message="diffusionad %(version)s")
def diffusionad_command() -> None:
    """Image anomaly detection (arXiv 2303.08730)."""


def importable(module: str, package: Path = PACKAGE) -> str:
    """Return the name under which a module of this project is imported.

    A wheel carries `training` and `hub` inside the package, as `diffusionad.training`; in a clone they lie
    beside it. Only one of the two names exists, so that no process holds two copies of a module.

    Args:
        module: its name in a clone, such as "training.cli".
        package: folder of the package.

    Raises:
        CannotRun: neither place has it.
    """
    folder = module.partition(".")[0]
    if folder == package.name:
        return module
    if (package / folder).is_dir():
        return f"{package.name}.{module}"
    clone = package.parent
    if not (clone / folder / "__init__.py").is_file():
        raise CannotRun(f"this installation has no `{folder}`; install the wheel, or run from a clone.")
    if str(clone) not in sys.path:
        sys.path.insert(0, str(clone))
    return module


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `diffusionad` and return its exit status."""
    return run(diffusionad_command, arguments, "diffusionad")


if __name__ == "__main__":
    sys.exit(main())
