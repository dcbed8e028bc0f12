"""Select the pictures of a run: one category of a data set, or several in one model."""

import dataclasses

from ..config.schema import DataConfig
from .catalog import Catalog, categories, scan
from .checks import check

ALL = "all"


def names_of(data: DataConfig) -> list[str]:
    """List the categories named by `data.category`; empty where `data.path` is a category itself."""
    return [name.strip() for name in data.category.split(",") if name.strip()]


def runs_of(path: str, category: str) -> list[str]:
    """Return `data.category` of each run that `--category` asks for: with "all" one run a category."""
    return categories(path) if category == ALL else [category]


def find_pictures(data: DataConfig) -> Catalog:
    """Find the pictures of a run; merge several categories into one catalog of category-defect names.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is no such category, or its pictures cannot be used.
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
    """Check the pictures of a run, category by category, and return notes and warnings.

    Raises:
        ValueError: pictures of a category cannot be used; the message lists them.
    """
    known = list(catalog.notes)
    records = [*catalog.train, *catalog.test]
    for category in dict.fromkeys(record.category for record in records):
        known += check([record for record in records if record.category == category])
    return known
