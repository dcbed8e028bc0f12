"""A whole benchmark: train and test every category, then print the paper's table.

    python -m training.studies.reproduce --dataset mvtec --root D --preset paper

Categories that are finished are skipped, interrupted ones go on: the same command continues after whatever
stopped it. The tables go into the folder of the runs, too.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from ..cli import WRITES, add_settings, complain, guarded, runs_folder, say, settings_of
from ..config.schema import TrainConfig
from ..data.catalog import categories
from ..evaluation.tables import write_tables
from ..run_folder import is_finished
from ..train import train
from ..trainer.sweep import for_category, run_each

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
# What the authors' code treats as textures: foreign textures only, in a random part of the picture.
TEXTURES = {"carpet", "grid", "leather", "tile", "wood", "zipper", *CLASSES}


def as_in_the_paper(config: TrainConfig, category: str) -> TrainConfig:
    """The settings of one category: textures and objects are damaged in different ways."""
    kind = "texture" if category in TEXTURES else "object"
    synthesis = dataclasses.replace(config.synthesis, kind=kind)
    return for_category(dataclasses.replace(config, synthesis=synthesis), category)


def chosen_categories(dataset: str, root: str) -> list[str]:
    """The categories of the benchmark that lie in a folder, in the order of the paper.

    Raises:
        ValueError: none of them.
    """
    there, wanted = categories(root), DATASETS[dataset]
    found = [name for name in wanted if name in there]
    if not found:
        raise ValueError(
            f"`--root`: `{root}` holds {', '.join(there)}, no category of {dataset} ({', '.join(wanted)})."
        )
    missing = [name for name in wanted if name not in there]
    if missing:
        say(f"`{root}` lacks {len(missing)} of {len(wanted)} categories: {', '.join(missing)}")
    return found


def main(arguments: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training.studies.reproduce",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset", required=True, choices=sorted(DATASETS))
    parser.add_argument("--root", required=True, dest="data", metavar="D", help="the data set as downloaded")
    parser.add_argument(
        "--output", type=Path, help="folder of the runs (default: $DIFFUSIONAD_RUNS/<dataset>)"
    )
    add_settings(parser, preset="paper")
    args = parser.parse_args(arguments)

    def work() -> int:
        output = args.output or runs_folder() / args.dataset
        names, config = chosen_categories(args.dataset, args.data), settings_of(args)
        data = config.data
        if not data.texture_folder or data.foreground == "classical":
            say(
                "The paper pastes textures of DTD and has masks of the objects; this run has "
                f"{data.texture_folder or 'built-in textures'} and masks from {data.foreground!r}: "
                "`--set data.texture_folder=DTD/images --set data.foreground=rembg` comes closer."
            )
        failures = run_each(train, config, names, output, configure=as_in_the_paper, say=say)
        if WRITES and any(is_finished(output / name) for name in names):
            print(write_tables(output))
        for name, reason in failures.items():
            complain(f"{name} failed: {reason}")
        return 1 if failures else 0

    return guarded(work, parser.prog, sys.argv[1:] if arguments is None else arguments)


if __name__ == "__main__":
    sys.exit(main())
