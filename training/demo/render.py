"""Render the demo data set: two categories in MVTec-AD layout, the same pixels on every machine.

python -m training.demo.render --category washer --output data/demo --seed 0
python -m training.demo.render --contact-sheet docs/images/demo_data.jpg --seed 0

NAME/train/good/NNN.png               good pictures to train with
NAME/test/good/NNN.png                good pictures and
NAME/test/DEFECT/NNN.png              defective pictures, used once, at the end
NAME/ground_truth/DEFECT/NNN_mask.png 0 or 255
NAME/clean/DEFECT/NNN.png             clean twin: same part, pose, light and grain, without the defect
NAME/normal/NNN.png                   good pictures for the calibration
NAME/verify/NNN.png                   good pictures that check the promised false-alarm rate
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from PIL import Image
from tqdm import tqdm

from diffusionad.cli.options import CannotRun, output_option, run
from diffusionad.files import replacing

from .contact_sheet import write_contact_sheet
from .sample import CATEGORIES, DEFECTS, check_arguments, render

_GOOD_FOLDERS = {"train": "train/good", "test": "test/good", "normal": "normal", "verify": "verify"}
_COUNTS = {
    "train": (400, "Good pictures to train with."),
    "normal": (999, "Good pictures for the calibration."),
    "verify": (1000, "Good pictures for the check of the false-alarm rate."),
    "good": (120, "Good test pictures."),
    "defective": (120, "Defective test pictures, divided among the kinds of defect."),
}


@dataclass(frozen=True)
class _Job:
    """Arguments of one picture, and the folder of its category."""

    folder: Path
    category: str
    split: str
    index: int
    seed: int
    size: int
    defect: str | None

    @property
    def files(self) -> dict[str, Path]:
        name = f"{self.index:03d}"
        if self.defect is None:
            return {"image": self.folder / _GOOD_FOLDERS[self.split] / f"{name}.png"}
        return {
            "image": self.folder / "test" / self.defect / f"{name}.png",
            "clean": self.folder / "clean" / self.defect / f"{name}.png",
            "mask": self.folder / "ground_truth" / self.defect / f"{name}_mask.png",
        }


def write_category(
    output: Path | str,
    category: str,
    seed: int,
    size: int = 256,
    train: int = 400,
    normal: int = 999,
    verify: int = 1000,
    good: int = 120,
    defective: int = 120,
    workers: int = 1,
) -> Path:
    """Write `output`/`category` in MVTec-AD layout; keep pictures that exist already.

    Args:
        output: folder of the data set, created if absent.
        category: as in `render`.
        seed: as in `render`.
        size: as in `render`.
        train: number of good pictures to train with.
        normal: number of good pictures for the calibration.
        verify: number of good pictures for the check of the false-alarm rate.
        good: number of good test pictures.
        defective: number of defective test pictures, divided evenly among the kinds of defect.
        workers: number of rendering processes.

    Returns:
        The folder of the category.

    Raises:
        ValueError: an argument is not allowed, or the folder holds pictures of another seed or size.
    """
    counts = {"train": train, "normal": normal, "verify": verify, "good": good, "defective": defective}
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"`{name}` is {count}, must be 0 or more")
    if workers < 1:
        raise ValueError(f"`workers` is {workers}, must be 1 or more")
    check_arguments(category, "train", 0, seed, size, None)
    folder = Path(output) / category
    _claim(folder, {"category": category, "seed": seed, "size": size})
    jobs = list(_jobs(folder, category, seed, size, counts))
    jobs = [job for job in jobs if not all(path.exists() for path in job.files.values())]
    for parent in {path.parent for job in jobs for path in job.files.values()}:
        parent.mkdir(parents=True, exist_ok=True)
    progress: dict[str, Any] = {"total": len(jobs), "desc": category, "unit": "picture", "disable": not jobs}
    if workers == 1:
        for job in tqdm(jobs, **progress):
            _write(job)
    else:
        with ProcessPoolExecutor(workers) as pool:
            for _ in tqdm(pool.map(_write, jobs, chunksize=8), **progress):
                pass
    return folder


def _claim(folder: Path, settings: dict[str, str | int]) -> None:
    """Write the settings into the folder, so that two data sets never mix."""
    note = folder / "demo_data.json"
    if note.exists():
        found = json.loads(note.read_text())
        if found != settings:
            raise ValueError(
                f"`output` holds {folder} rendered with {found}, asked for {settings}: "
                "choose another folder or delete this one"
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(settings, indent=2) + "\n")


def _jobs(folder: Path, category: str, seed: int, size: int, counts: dict[str, int]) -> Iterator[_Job]:
    for split, count in (
        ("train", counts["train"]),
        ("normal", counts["normal"]),
        ("verify", counts["verify"]),
        ("test", counts["good"]),
    ):
        for index in range(count):
            yield _Job(folder, category, split, index, seed, size, None)
    kinds = DEFECTS[category]
    for place, defect in enumerate(kinds):
        share = counts["defective"] // len(kinds) + (place < counts["defective"] % len(kinds))
        for index in range(share):
            yield _Job(folder, category, "test", index, seed, size, defect)


def _write(job: _Job) -> None:
    sample = render(job.category, job.split, job.index, job.seed, job.size, job.defect)
    for kind, path in job.files.items():
        with replacing(path) as partial:
            Image.fromarray(getattr(sample, kind)).save(partial, format="PNG")


def _count_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for name, (count, text) in reversed(_COUNTS.items()):
        command = click.option(f"--{name}", default=count, show_default=True, help=text)(command)
    return command


@click.command("render")
@click.option("--category", type=click.Choice(CATEGORIES), help="Category to render.")
@output_option("Folder of the data set; the category gets a folder in it.", required=False)
@click.option("--seed", type=int, required=True, help="Seed of the data set.")
@click.option("--size", default=256, show_default=True, help="Width and height in pixels.")
@_count_options
@click.option("--workers", default=1, show_default=True, help="Number of rendering processes.")
@click.option(
    "--contact-sheet",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write an overview of both categories instead.",
)
def render_command(
    category: str | None, output: Path | None, seed: int, contact_sheet: Path | None, **counts: int
) -> None:
    """Render a category of the demo data set, or the contact sheet of both."""
    try:
        if contact_sheet is not None:
            write_contact_sheet(contact_sheet, seed)
            click.echo(contact_sheet)
        elif category is None or output is None:
            raise click.UsageError("--category and --output are needed, or --contact-sheet.")
        else:
            click.echo(write_category(output, category, seed, **counts))
    except ValueError as error:
        raise CannotRun(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    return run(render_command, arguments, "python -m training.demo.render")


if __name__ == "__main__":
    sys.exit(main())
