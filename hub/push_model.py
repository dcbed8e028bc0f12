"""Publish a finished run, or one for each category of a data set, on the Hugging Face Hub: the command."""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from diffusionad.cli.options import CannotRun, announce, run

from .push_options import check_dry_run, push_options
from .training_data import KNOWN

EPILOG = """\b
examples:
  diffusionad push --run runs/bolt --repo-id org/bolt
  diffusionad push --run runs --repo-id org/parts --category all
  diffusionad push --run runs/bolt --repo-id org/bolt --dry-run --output build/bolt

The second publishes each runs/<category> as org/parts-<category>, and as org/parts a card with the table over
all. Pushing again changes what changed.
"""


@click.command("push", epilog=EPILOG)
@click.option(
    "--run",
    "run_folder",
    required=True,
    metavar="PATH",
    type=click.Path(path_type=Path),
    help="Run folder; with --category, the folder of several runs.",
)
@click.option("--category", metavar="NAME", help="One run below --run, or all.")
@click.option("--dataset", metavar="NAME", help=f"Data set of the training: {', '.join(KNOWN)}, or any name.")
@click.option(
    "--license",
    "license_id",
    metavar="ID",
    help="Licence of the pictures, which the weights take over, by the Hub's identifier; needed for any "
    "other data set.",
)
@click.option(
    "--examples",
    multiple=True,
    metavar="PICTURE",
    help="Picture that is yours to publish, or a folder of them; may be given several times; {category} "
    "stands for its name. The card shows the first whose name does not begin with good. By default no "
    "picture is published.",
)
@click.option(
    "--yes-publish-weak",
    is_flag=True,
    help="Publish a model whose image AUROC is below 0.6, too; its card says that it is weak.",
)
@click.option("--project-url", metavar="URL", help="Git repository that pip installs the package from.")
@push_options
def push_command(
    run_folder: Path,
    repo_id: str,
    category: str | None,
    private: bool,
    dataset: str | None,
    license_id: str | None,
    examples: tuple[str, ...],
    project_url: str | None,
    yes_publish_weak: bool,
    dry_run: bool,
    output: Path | None,
) -> None:
    """Publish a finished run on the Hugging Face Hub, with its figures and the licence of its pictures."""
    check_dry_run(dry_run, output)
    announce(f"Reading {run_folder} ...")

    from .publish import Push, push, write_folders
    from .repo_folder import describe

    asked = Push(run_folder, repo_id, category, dataset, license_id, examples, project_url, yes_publish_weak)
    try:
        with tempfile.TemporaryDirectory() as temporary:
            folders = write_folders(asked, output or Path(temporary))
            if not dry_run:
                push(folders, private)
                return
        for name, folder in folders.items():
            print(f"\n{name}: {folder}\n{describe(folder)}")
        print("\nNothing was pushed.")
    except (ValueError, OSError) as error:
        raise CannotRun(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run(push_command, arguments, "python -m hub.push_model")


if __name__ == "__main__":
    sys.exit(main())
