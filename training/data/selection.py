"""Which pictures a run is about: one category of a data set, or several in one model."""

import dataclasses
from pathlib import Path

from ..config.schema import DataConfig, TrainConfig
from ..run_folder import split
from .catalog import Catalog, categories, scan
from .checks import check
from .records import parts_of

ALL = "all"


def names_of(data: DataConfig) -> list[str]:
    """The categories that `data.category` names; empty where `data.path` is one itself."""
    return [name.strip() for name in data.category.split(",") if name.strip()]


def runs_of(path: str, category: str) -> list[str]:
    """`data.category` of every run that `--category` asks for: one run, or with "all" one for each."""
    return categories(path) if category == ALL else [category]


def find_pictures(data: DataConfig) -> Catalog:
    """The pictures of a run; several categories become one catalog, in which defects carry their category.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no such category, or pictures that cannot be used.
    """
    names = names_of(data)
    if len(names) < 2:
        return scan(data.path, *names)
    found = [scan(data.path, name) for name in names]
    test = [
        dataclasses.replace(record, category=catalog.category, defect=f"{catalog.category}-{record.defect}")
        for catalog in found
        for record in catalog.test
    ]
    train = [dataclasses.replace(r, category=catalog.category) for catalog in found for r in catalog.train]
    notes = tuple(f"{catalog.category}: {note}" for catalog in found for note in catalog.notes)
    return Catalog(",".join(names), train, test, found[0].layout, notes)


def check_each(catalog: Catalog) -> list[str]:
    """What should be known about the pictures of a run before time is spent on them.

    Raises:
        ValueError: pictures that cannot be used, all of a category in one message.
    """
    known = list(catalog.notes)
    records = [*catalog.train, *catalog.test]
    for category in dict.fromkeys(record.category for record in records):
        known += check([record for record in records if record.category == category])
    return known


def split_each(catalog: Catalog, config: TrainConfig) -> dict[str, list[Path]]:
    """The three sets of normal pictures, every category divided alike."""
    together: dict[str, list[Path]] = {}
    for category in dict.fromkeys(record.category for record in catalog.train):
        records = [record for record in catalog.train if record.category == category]
        images = [record.image for record in records]
        for name, paths in split(images, config, parts_of(records)).items():
            together[name] = list(dict.fromkeys([*together.get(name, []), *paths]))
    return together
