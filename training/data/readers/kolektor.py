"""KolektorSDD, as released: each part of a commutator beside its label, which is black on good ones.

    kos01 .. kos50/Part0.jpg, Part0_label.bmp

The release has no split for training on good pictures alone. Here the test split is every fourth commutator,
whose parts are all left out of training, and every cracked part.
"""

import re
from pathlib import Path

from ..masks import read_mask
from ..records import GOOD, Catalog, Record, by_stem, pictures, subfolders

NAME = "KolektorSDD"
CATEGORY = "kolektor_sdd"
TESTED = 4


def categories(root: Path) -> list[str]:
    """Return the one category where there are folders kos01, kos02, and so on."""
    return [CATEGORY] if _units(root) else []


def read(root: Path, category: str) -> Catalog:
    """Read the whole data set.

    Raises:
        ValueError: pictures lack their label; the message lists them.
    """
    train: list[Record] = []
    test: list[Record] = []
    unlabelled: list[str] = []
    for number, unit in enumerate(_units(root), start=1):
        files = pictures(unit)
        labels = by_stem(files, "_label")
        for image in files:
            if image in labels.values():
                continue
            label = labels.get(image.stem.lower())
            if label is None:
                unlabelled.append(f"{unit.name}/{image.name}")
            elif read_mask(label).any():
                test.append(Record(image, "test", 1, "crack", label, None, category))
            elif number % TESTED == 0:
                test.append(Record(image, "test", 0, GOOD, category=category))
            else:
                train.append(Record(image, "train", 0, GOOD, category=category))
    if unlabelled:
        listed = "\n  ".join(unlabelled)
        raise ValueError(
            f"`{root}` has {len(unlabelled)} pictures without a <name>_label.bmp; unpack again:\n  {listed}"
        )
    test.sort(key=lambda record: (record.label, record.image))
    note = "tested: the good parts of every fourth commutator, and the cracked parts of all"
    return Catalog(category, train, test, NAME, (note,))


def _units(root: Path) -> list[Path]:
    return [folder for folder in subfolders(root) if re.fullmatch(r"kos\d+", folder.name.lower())]
