"""A data set as the rest of the project sees it: records of pictures; and how their files are found."""

import re
from dataclasses import dataclass
from pathlib import Path

from diffusionad.images.image_io import IMAGE_SUFFIXES

GOOD = "good"
GOOD_NAMES = (GOOD, "ok", "normal")  # what published data sets call the folder of good pictures


@dataclass(frozen=True)
class Record:
    """One picture and what is known about it.

    Attributes:
        image: its file.
        split: "train" or "test".
        label: 0 normal, 1 anomalous.
        defect: kind of defect, "good" for normal ones.
        mask: file of the true mask, None for normal pictures and where there is none.
        clean: file of the same picture without the defect, where a rendered data set has one.
        category: of the data set, such as "bottle".
        part: name of the part that it shows, where several pictures show the same; empty where none does.
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
    """Files of pictures that are not the only ones of their part, and its name."""
    return {record.image: record.part for record in records if record.part}


@dataclass(frozen=True)
class Catalog:
    """One category of a data set.

    Attributes:
        category: its name.
        train: good pictures to train with, sorted by name.
        test: labelled pictures, sorted by kind of defect and name; empty where there are none.
        layout: how the files lie, such as "VisA".
        notes: what was decided while reading, for the person who trains.
    """

    category: str
    train: list[Record]
    test: list[Record]
    layout: str = ""
    notes: tuple[str, ...] = ()


def pictures(folder: Path, recursive: bool = False) -> list[Path]:
    """Picture files of a folder, sorted by name; not the hidden ones that a Mac puts into archives."""
    entries = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(
        path
        for path in entries
        if path.suffix.lower() in IMAGE_SUFFIXES
        and not any(_is_hidden(part) for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def subfolders(folder: Path) -> list[Path]:
    """Visible folders of a folder, in natural order: Class2 before Class10."""
    found = [path for path in folder.glob("*") if path.is_dir() and not _is_hidden(path.name)]
    return sorted(found, key=lambda path: natural_order(path.name))


def natural_order(name: str) -> list[tuple[int, str]]:
    """A key that sorts the numbers within names by value."""
    return [(int(part), "") if part.isdigit() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]


def child(folder: Path, *names: str) -> Path | None:
    """The first entry of a folder with one of these names, in whatever case."""
    if not folder.is_dir():
        return None
    entries = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True)}
    return next((entries[name.lower()] for name in names if name.lower() in entries), None)


def by_stem(files: list[Path], suffix: str = "") -> dict[str, Path]:
    """Files by their stem in lower case; with `suffix`, only those whose stem ends so, without it."""
    stems = [(path.stem.lower(), path) for path in files]
    return {stem.removesuffix(suffix): path for stem, path in stems if stem.endswith(suffix)}


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
