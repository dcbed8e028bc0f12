"""Reproduction of a benchmark: train and test every category, then print the paper's table.

    python -m training.studies.reproduce --dataset mvtec --data FOLDER --preset paper

Finished categories are skipped and interrupted ones continue, so the same command continues after any stop.
The tables go into the folder of the runs.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from diffusionad.cli.options import data_option, output_option, run

from ..cli import ResumableCommand, guarded
from ..config.options import Settings, runs_folder, settings_options
from ..config.schema import TrainConfig
from ..console import IS_MAIN_PROCESS, complain, say
from ..data.catalog import categories
from ..evaluation.tables import write_tables
from ..run_folder import is_finished
from ..trainer.sweep import for_category, run_each
from ..trainer.training import train

CLASSES = tuple(f"Class{i}" for i in range(1, 11))
# fmt: off
DATASETS = {
    "mvtec": (
        "carpet", "grid", "leather", "tile", "wood",
        "bottle", "cable", "capsule", "hazelnut", "metal_nut",
        "pill", "screw", "toothbrush", "transistor", "zipper",
    ),
    "visa": (
        "candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2",
        "pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum",
    ),
    "dagm": CLASSES,
    "mpdd": ("bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"),
}
# fmt: on
# The categories that the authors' code treats as textures: foreign textures only, anywhere in the picture.
TEXTURES = {"carpet", "grid", "leather", "tile", "wood", "zipper", *CLASSES}


def as_in_the_paper(config: TrainConfig, category: str) -> TrainConfig:
    """Return the settings of one category; the defects of textures differ from those of objects."""
    kind = "texture" if category in TEXTURES else "object"
    synthesis = dataclasses.replace(config.synthesis, kind=kind)
    return for_category(dataclasses.replace(config, synthesis=synthesis), category)


def chosen_categories(dataset: str, data: str) -> list[str]:
    """Return the categories of the benchmark that a folder holds, in the order of the paper.

    Raises:
        ValueError: the folder holds none of them.
    """
    there, wanted = categories(data), DATASETS[dataset]
    found = [name for name in wanted if name in there]
    if not found:
        raise ValueError(
            f"`--data`: `{data}` holds {', '.join(there)}, no category of {dataset} ({', '.join(wanted)})."
        )
    missing = [name for name in wanted if name not in there]
    if missing:
        say(f"`{data}` lacks {len(missing)} of {len(wanted)} categories: {', '.join(missing)}")
    return found


def reproduce(dataset: str, config: TrainConfig, output: Path) -> int:
    """Train and test every category that is not finished; return 1 where some failed.

    Args:
        dataset: one of `DATASETS`.
        config: settings of the runs; `data.path` is the data set as downloaded.
        output: folder of the run folders and the tables.
    """
    names, data = chosen_categories(dataset, config.data.path), config.data
    if not data.texture_folder or data.foreground == "classical":
        say(
            "The paper pastes textures of DTD and has masks of the objects; this run has "
            f"{data.texture_folder or 'built-in textures'} and masks from {data.foreground!r}: "
            "`--set data.texture_folder=DTD/images --set data.foreground=rembg` comes closer."
        )
    failures = run_each(train, config, names, output, configure=as_in_the_paper, say=say)
    if IS_MAIN_PROCESS and any(is_finished(output / name) for name in names):
        print(write_tables(output))
    for name, reason in failures.items():
        complain(f"{name} failed: {reason}")
    return 1 if failures else 0


@click.command("reproduce", cls=ResumableCommand)
@click.option("--dataset", required=True, type=click.Choice(sorted(DATASETS)), help="Benchmark of the paper.")
@data_option("The data set as downloaded.")
@output_option("Folder of the runs. Default: $DIFFUSIONAD_RUNS/<dataset>.", required=False)
@settings_options(preset="paper")
def reproduce_command(dataset: str, data: str, output: Path | None, settings: Settings) -> int:
    """Train and test every category of a benchmark, then print the paper's table."""
    return guarded(
        lambda: reproduce(dataset, settings.config(data), output or runs_folder() / dataset), is_resumed=True
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(reproduce_command, arguments, "python -m training.studies.reproduce")


if __name__ == "__main__":
    sys.exit(main())
