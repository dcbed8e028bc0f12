"""Records of pictures, catalogs of records, and helpers that find picture files in folders."""

import re
from dataclasses import dataclass
from pathlib import Path

from diffusionad.images.image_io import IMAGE_SUFFIXES, is_hidden

GOOD = "good"


@dataclass(frozen=True)
class Record:
    """A picture with its labels.

    Attributes:
        image: picture file.
        split: "train" or "test".
        label: 0 for a normal picture, 1 for an anomalous one.
        defect: kind of defect, "good" for a normal picture.
        mask: file of the true mask, or folder of several, which are joined; None for a normal picture, or
            where the data set has no mask.
        clean: file of the same picture without the defect, as rendered data sets have it.
        category: category of the data set, such as "bottle".
        part: name of the pictured part where several pictures show the same part, else empty.
    """

    image: Path
    split: str
    label: int
    defect: str
    mask: Path | None = None
    clean: Path | None = None
    category: str = ""
    part: str = ""


def parts_of(records: list[Record]) -> dict[Path, str]:
    """Map the pictures of parts that were photographed several times to the name of their part."""
    return {record.image: record.part for record in records if record.part}


@dataclass(frozen=True)
class Catalog:
    """One category of a data set.

    Attributes:
        category: name of the category.
        train: good pictures to train with, sorted by name.
        test: labelled pictures, sorted by kind of defect and name; may be empty.
        layout: layout of the files, such as "VisA".
        notes: decisions made while reading, for the person who trains.
    """

    category: str
    train: list[Record]
    test: list[Record]
    layout: str = ""
    notes: tuple[str, ...] = ()


def pictures(folder: Path, recursive: bool = False) -> list[Path]:
    """List the picture files of a folder by name, without the hidden ones that a Mac puts into archives."""
    entries = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path
        for path in entries
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not is_hidden(path.relative_to(folder))
        and path.is_file()
    )


def subfolders(folder: Path) -> list[Path]:
    """List the visible folders of a folder in natural order: Class2 before Class10."""
    found = [path for path in folder.glob("*") if path.is_dir() and not is_hidden(path.relative_to(folder))]
    return sorted(found, key=lambda path: natural_order(path.name))


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts the numbers within names by value."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


def child(folder: Path, *names: str) -> Path | None:
    """Return the first entry of a folder with one of these names, in any case."""
    if not folder.is_dir():
        return None
    entries = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True)}
    return next((entries[name.lower()] for name in names if name.lower() in entries), None)


def by_stem(files: list[Path], suffix: str = "") -> dict[str, Path]:
    """Map stems in lower case to files; with `suffix`, keep files whose stem has it, and remove it."""
    stems = [(path.stem.lower(), path) for path in files]
    return {stem.removesuffix(suffix): path for stem, path in stems if stem.endswith(suffix)}
