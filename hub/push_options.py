"""Options and checks that both pushes share, of a model and of a Space."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from diffusionad.cli.options import Decorator, output_option


def push_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Declare `--repo-id`, `--private`, `--dry-run` and `--output`."""
    options: list[Decorator] = [
        click.option(
            "--repo-id",
            required=True,
            metavar="ORG/NAME",
            callback=_check_repo_id,
            help="Repository on the Hub.",
        ),
        click.option("--private", is_flag=True, help="Make the repository visible to its owners only."),
        click.option("--dry-run", is_flag=True, help="Write the folder and push nothing; needs --output."),
        output_option("With --dry-run: new or empty folder for the files.", required=False),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def check_dry_run(dry_run: bool, output: Path | None) -> None:
    """Raise a UsageError where one of `--dry-run` and `--output` is given without the other."""
    if dry_run != (output is not None):
        raise click.UsageError("--dry-run and --output go together.")


def check_empty(output: Path) -> None:
    """Raise a ValueError for an output that is neither new nor an empty folder."""
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`--output`: `{output}` is not empty; choose another folder.")


def _check_repo_id(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if value.count("/") != 1:
        raise click.BadParameter(f"{value!r}: give org/name, with your user name or organisation.")
    return value
