"""Read data sets as downloaded into one list of records.

`python -m training.data --data PATH` prints what a data set holds, then what is wrong with it, file by file.
"""

import dataclasses
from collections import Counter
from pathlib import Path
from types import ModuleType

from PIL import Image

from diffusionad.images.image_io import IMAGE_FORMATS, IMAGE_SUFFIXES, is_hidden

from .checks import check
from .names import Role, role_of
from .readers import READERS, hugging_face
from .records import Catalog, Record, pictures, subfolders

__all__ = ["Catalog", "Record", "categories", "scan"]

# Kinds of picture that cameras and phones write and that are not read.
UNREAD_SUFFIXES = frozenset(
    {".arw", ".avif", ".cr2", ".cr3", ".dcm", ".dng", ".exr", ".gif", ".heic", ".heif", ".hdr", ".j2k"}
    | {".jp2", ".jxl", ".nef", ".orf", ".raw", ".rw2", ".tga"}
)


def categories(path: str | Path) -> list[str]:
    """List the categories of a data set; a folder that is a category itself gives its own name.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    return _recognize(path)[2]


def scan(path: str | Path, category: str | None = None) -> Catalog:
    """List the pictures of one category of a data set.

    Args:
        path: a data set as downloaded, one category of it, or any folder of good pictures, sub-folders
            included; or `hf:` and an id of the Hugging Face Hub.
        category: one of `categories(path)`; None for a data set with only one.

    Returns:
        The training and test pictures, sorted by name.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no pictures, no such category, or some defective pictures lack their masks.
    """
    reader, root, names = _recognize(path)
    if category is None and len(names) > 1:
        raise ValueError(
            f"`{path}` holds {len(names)} categories; choose with `category` one of {', '.join(names)}."
        )
    if category is not None and category not in names:
        raise ValueError(f"`category` is {category!r}, but `{path}` holds {', '.join(names)}.")
    name = category or names[0]
    catalog = reader.read(root, name)
    notes = catalog.notes
    if isinstance(root, Path):
        notes += _unread(root / name if (root / name).is_dir() else root)
    if not catalog.train:
        if catalog.test:
            notes += (f"{len(catalog.test)} pictures are tested, such as `{catalog.test[0].image}`",)
        listed = "".join(f"\n  {note}" for note in notes)
        raise ValueError(
            f"`{path}` holds no good picture to train with ({', '.join(sorted(IMAGE_SUFFIXES))}); put good "
            f"ones into `train/good`, or give their folder.{listed}"
        )
    _require_masks(catalog)
    return dataclasses.replace(catalog, notes=notes)


def _unread(folder: Path) -> tuple[str, ...]:
    """Return a sentence about pictures of kinds that cannot be read, if there are any."""
    suffixes = (path.suffix.lower() for path in folder.rglob("*") if not is_hidden(path.relative_to(folder)))
    counts = Counter(suffix for suffix in suffixes if suffix in UNREAD_SUFFIXES)
    listed = ", ".join(f"{count} {suffix}" for suffix, count in sorted(counts.items()))
    return (f"files that cannot be read are left out ({listed}): save them as PNG",) if counts else ()


def _recognize(path: str | Path) -> tuple[ModuleType, Path | str, list[str]]:
    """Return the reader of a data set, its root and its categories.

    Archives often wrap a data set in a folder or two: look inside while a folder holds only one folder.
    """
    if str(path).startswith(hugging_face.PREFIX):
        name = str(path).removeprefix(hugging_face.PREFIX)
        return hugging_face, name, hugging_face.categories(name)
    root = inner = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"`{path}` is not a folder; give a data set, a folder of good pictures, or hf:org/name."
        )
    *layouts, any_folder = READERS
    while True:
        for reader in layouts:
            if names := reader.categories(inner):
                return reader, inner, names
        if len(subfolders(inner)) != 1 or pictures(inner) or not _is_wrapper(subfolders(inner)[0]):
            return any_folder, inner, any_folder.categories(root)
        inner = subfolders(inner)[0]


def _is_wrapper(folder: Path) -> bool:
    """Return whether a folder may hold a data set; `defect_data` does where a folder in it says good."""
    role = role_of(folder.name)
    if role is Role.DEFECT:
        return any(role_of(path.name) is Role.GOOD for path in folder.rglob("*") if path.is_dir())
    return role is Role.UNKNOWN


def _require_masks(catalog: Catalog) -> None:
    """Raise a ValueError where only some defective pictures have masks: figures over a part mislead."""
    defective = [record for record in catalog.test if record.label]
    missing = [record for record in defective if record.mask is None]
    if missing and len(missing) < len(defective):
        listed = "\n  ".join(f"{record.defect}/{record.image.name}" for record in missing)
        raise ValueError(
            f"{len(missing)} of {len(defective)} defective pictures of `{catalog.category}` have no mask; "
            f"add them, or remove all masks to do without:\n  {listed}"
        )


def describe(catalog: Catalog) -> dict[str, str]:
    """Return a row of the table: counts, and the sizes and modes in the headers of the files."""
    records = catalog.train + catalog.test
    sizes: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    for record in records:
        try:
            with Image.open(record.image, formats=IMAGE_FORMATS) as picture:
                sizes[f"{picture.width} x {picture.height}"] += 1
                modes[picture.mode] += 1
        except OSError:
            modes["unreadable"] += 1
    kinds = Counter(record.defect for record in catalog.test if record.label)
    return {
        "category": catalog.category,
        "train": str(len(catalog.train)),
        "test good": str(sum(record.label == 0 for record in catalog.test)),
        "test defective": str(kinds.total()),
        "masks": str(sum(record.mask is not None for record in catalog.test)),
        "pixels": _most(sizes),
        "modes": _most(modes),
        "kinds of defect": ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items())),
    }


def _most(counts: Counter[str]) -> str:
    """Name the two most frequent values, and the number of others."""
    named = ", ".join(value for value, _ in counts.most_common(2))
    return named if len(counts) <= 2 else f"{named}, {len(counts) - 2} more"


def _table(rows: list[dict[str, str]]) -> str:
    """Align the rows in columns under the names of their keys."""
    lines = [list(rows[0]), *(list(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    aligned = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
    return "\n".join(aligned)


def print_catalog(path: str, category: str | None = None) -> list[str]:
    """Print what a data set holds, and warnings about its files.

    Args:
        path: a data set as downloaded, a folder of good pictures, or hf:org/name.
        category: only this category.

    Returns:
        Faults that forbid training, a sentence each.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    catalogs, faults = [], []
    for name in [category] if category else categories(path):
        try:
            catalogs.append(scan(path, name))
        except ValueError as error:
            faults.append(f"{name}: {error}")
    if catalogs:
        print(f"{path}: layout of {catalogs[0].layout}\n")
        print(_table([describe(catalog) for catalog in catalogs]), flush=True)
    print()
    for catalog in catalogs:
        for note in catalog.notes:
            print(f"{catalog.category}: {note}")
        try:
            warnings = check(catalog.train + catalog.test)
        except ValueError as error:
            faults.append(f"{catalog.category}: {error}")
            continue
        for warning in warnings:
            print(f"{catalog.category}: warning: {warning}")
    return faults
