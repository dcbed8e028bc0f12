"""Renders the demo data set: two categories in MVTec-AD layout, the same pixels on every machine.

    python -m training.demo.render --category washer --output data/demo --seed 0
    python -m training.demo.render --contact-sheet docs/images/demo_data.jpg --seed 0

    NAME/train/good/NNN.png               good ones to learn from
    NAME/test/good/NNN.png                good ones and
    NAME/test/DEFECT/NNN.png              defective ones, touched once, at the end
    NAME/ground_truth/DEFECT/NNN_mask.png 0 or 255
    NAME/clean/DEFECT/NNN.png             the twin: same part, pose, light and grain, without the defect
    NAME/normal/NNN.png                   good ones for the calibration
    NAME/verify/NNN.png                   good ones that check the promised false-alarm rate

Each picture has its own seed, made of (seed, category, split, defect, index), and can be rendered on its own.
"""

import argparse
import json
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from . import fabric, washer
from .canvas import Camera, close_gaps, make_canvas
from .contact_sheet import contact_sheet

CATEGORIES = ("washer", "fabric")
SPLITS = ("train", "test", "normal", "verify")
DEFECTS = {"washer": washer.DEFECTS, "fabric": fabric.DEFECTS}
_DRAW = {"washer": washer.draw, "fabric": fabric.draw}

_SUPERSAMPLE = 2
# A change below this many grey levels is lost in the grain: it is undone, and the mask ends there.
_VISIBLE = 2.0
# A defect changes at least this share of the picture, by at least this many grey levels on average.
_MIN_AREA, _MIN_CONTRAST = 0.0012, 10.0
# Both are judged at one size, so that every size shows the same defect.
_JUDGED_AT = 256
_GOOD_FOLDERS = {"train": "train/good", "test": "test/good", "normal": "normal", "verify": "verify"}


@dataclass(frozen=True)
class RenderedSample:
    """One picture and all that is known about it.

    Attributes:
        image: uint8 [size,size,3].
        clean: uint8 [size,size,3], the same picture without the defect; equal to `image` outside the mask.
        mask: uint8 [size,size], 255 where the defect is, else 0.
        label: 1 if defective, else 0.
        defect: its name, None for a good one.
    """

    image: np.ndarray
    clean: np.ndarray
    mask: np.ndarray
    label: int
    defect: str | None


def render(
    category: str, split: str, index: int, seed: int, size: int = 256, defect: str | None = None
) -> RenderedSample:
    """Render one picture of the demo data set.

    Args:
        category: one of `CATEGORIES`.
        split: one of `SPLITS`.
        index: number of the picture within its split and defect, from 0.
        seed: of the data set, 0 to 2**32 - 1.
        size: width and height, pixels, at least 64. The same part is seen at every size; its grain differs.
        defect: one of `DEFECTS[category]`, or None for a good picture. Only the split `test` has defects.

    Raises:
        ValueError: for any other value.
    """
    _check(category, split, index, seed, size, defect)

    def stream(name: str) -> np.random.Generator:
        key = zlib.crc32(f"{category}/{split}/{defect or 'good'}/{name}".encode())
        return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(key, index))))

    camera = Camera.draw(stream("camera"))

    @cache
    def photograph(size: int, attempt: int | None = None) -> np.ndarray:
        canvas = make_canvas(size, _SUPERSAMPLE)
        shown = None if attempt is None else defect
        scene = _DRAW[category](canvas, stream("scene"), shown, stream(f"defect {attempt}"))
        return camera.expose(scene, canvas)

    clean = image = photograph(size)
    mask = np.zeros((size, size), bool)
    if defect is not None:
        attempt = 0
        while not _is_visible(photograph(_JUDGED_AT, attempt), photograph(_JUDGED_AT)):
            attempt += 1
        mask = _visible_change(photograph(size, attempt), clean)[1]
        image = np.where(mask[..., None], photograph(size, attempt), clean)
    grain = camera.grain * stream("grain").standard_normal((size, size, 3))
    return RenderedSample(
        image=_grey_levels(image + grain),
        clean=_grey_levels(clean + grain),
        mask=mask.astype(np.uint8) * 255,
        label=int(defect is not None),
        defect=defect,
    )


def _visible_change(image: np.ndarray, clean: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By how many grey levels a defect changes each pixel, and the mask of what it visibly changes."""
    change = np.abs(image - clean).max(axis=-1)
    return change, close_gaps(change > _VISIBLE, radius=max(1, len(clean) // 64))


def _is_visible(image: np.ndarray, clean: np.ndarray) -> bool:
    change, mask = _visible_change(image, clean)
    return mask.mean() >= _MIN_AREA and change[mask].mean() >= _MIN_CONTRAST


def _grey_levels(picture: np.ndarray) -> np.ndarray:
    return np.clip(np.floor(picture + 0.5), 0, 255).astype(np.uint8)


def _check(category: str, split: str, index: int, seed: int, size: int, defect: str | None) -> None:
    if category not in CATEGORIES:
        raise ValueError(f"`category` is {category!r}, must be one of {', '.join(CATEGORIES)}")
    if split not in SPLITS:
        raise ValueError(f"`split` is {split!r}, must be one of {', '.join(SPLITS)}")
    if index < 0:
        raise ValueError(f"`index` is {index}, must be 0 or more")
    if not 0 <= seed < 2**32:
        raise ValueError(f"`seed` is {seed}, must be between 0 and 2**32 - 1")
    if size < 64:
        raise ValueError(f"`size` is {size}, must be at least 64 pixels")
    if defect is not None and defect not in DEFECTS[category]:
        raise ValueError(
            f"`defect` is {defect!r}, must be None or, for {category}, one of {', '.join(DEFECTS[category])}"
        )
    if defect is not None and split != "test":
        raise ValueError(f"`defect` is {defect!r} in `split` {split!r}: only 'test' has defects, use None")


@dataclass(frozen=True)
class _Job:
    """The arguments of one picture, and the folder of its category."""

    folder: Path
    category: str
    split: str
    index: int
    seed: int
    size: int
    defect: str | None

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
    """Write `output`/`category` in MVTec-AD layout; pictures that are there already are kept.

    Args:
        output: folder of the data set; made if absent.
        category, seed, size: as in `render`.
        train, normal, verify: numbers of good pictures in these splits.
        good, defective: numbers of test pictures; `defective` is shared evenly among the defects.
        workers: processes that render.

    Returns:
        The folder of the category.

    Raises:
        ValueError: for a bad argument, or if the folder holds pictures of another seed or size.
    """
    counts = {"train": train, "normal": normal, "verify": verify, "good": good, "defective": defective}
    for name, count in counts.items():
        if count < 0:
            raise ValueError(f"`{name}` is {count}, must be 0 or more")
    if workers < 1:
        raise ValueError(f"`workers` is {workers}, must be 1 or more")
    _check(category, "train", 0, seed, size, None)
    folder = Path(output) / category
    _claim(folder, {"category": category, "seed": seed, "size": size})
    jobs = list(_jobs(folder, category, seed, size, counts))
    jobs = [job for job in jobs if not all(path.exists() for path in job.files().values())]
    for parent in {path.parent for job in jobs for path in job.files().values()}:
        parent.mkdir(parents=True, exist_ok=True)
    progress = {"total": len(jobs), "desc": category, "unit": "picture", "disable": not jobs}
    if workers == 1:
        for job in tqdm(jobs, **progress):
            _write(job)
    else:
        with ProcessPoolExecutor(workers) as pool:
            for _ in tqdm(pool.map(_write, jobs, chunksize=8), **progress):
                pass
    return folder


def _claim(folder: Path, settings: dict[str, str | int]) -> None:
    """Note what the folder is rendered from, so that two data sets never mix."""
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
    for kind, path in job.files().items():
        # Written aside and renamed: a file of the right name is always complete.
        unfinished = path.with_suffix(".part")
        Image.fromarray(getattr(sample, kind)).save(unfinished, format="PNG")
        unfinished.replace(path)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m training.demo.render", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--category", choices=CATEGORIES)
    parser.add_argument("--output", type=Path, help="folder that gets a folder of the category's name")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--size", type=int, default=256, help="pixels, default %(default)s")
    for name, count in (("train", 400), ("normal", 999), ("verify", 1000), ("good", 120), ("defective", 120)):
        parser.add_argument(
            f"--{name}", type=int, default=count, help="number of pictures, default %(default)s"
        )
    parser.add_argument("--workers", type=int, default=1, help="processes, default %(default)s")
    parser.add_argument(
        "--contact-sheet", type=Path, metavar="FILE", help="write an overview of both categories"
    )
    options = vars(parser.parse_args(arguments))
    sheet = options.pop("contact_sheet")
    try:
        if sheet is not None:
            _write_contact_sheet(sheet, options["seed"])
        elif options["category"] is None or options["output"] is None:
            raise ValueError("`--category` and `--output` are needed, or `--contact-sheet`")
        else:
            print(write_category(**options))
    except ValueError as error:
        parser.error(str(error))


def _write_contact_sheet(path: Path, seed: int) -> None:
    good = {
        name: [render(name, "test", index, seed) for index in range(len(DEFECTS[name]))]
        for name in CATEGORIES
    }
    defective = {
        name: [render(name, "test", 0, seed, defect=defect) for defect in DEFECTS[name]]
        for name in CATEGORIES
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(good, defective).save(path, optimize=True, quality=88)
    print(path)


if __name__ == "__main__":
    main()
