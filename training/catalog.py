"""Data sets as they are downloaded, as one list of records.

python -m training.catalog PATH prints what a folder holds.
"""

from pathlib import Path
from types import ModuleType

from diffusionad.image_io import IMAGE_SUFFIXES
from training.readers import READERS
from training.records import Catalog, Record, pictures, subfolders

__all__ = ["Catalog", "Record", "categories", "scan"]


def categories(path: str | Path) -> list[str]:
    """Names of the categories of a data set; one, the folder's name, where it is a category itself.

    Raises:
        FileNotFoundError: no such folder.
    """
    return _recognize(_folder(path))[2]


def scan(path: str | Path, category: str | None = None) -> Catalog:
    """List the pictures of one category of a data set.

    Args:
        path: a data set as downloaded, one category of it, or any folder of good pictures, sub-folders
            included.
        category: which, of `categories(path)`; None where there is only one.

    Returns:
        Its training and test pictures, sorted by name.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no pictures, no such category, or defective pictures without their masks.
    """
    reader, root, names = _recognize(_folder(path))
    if category is None and len(names) > 1:
        raise ValueError(
            f"`{path}` holds {len(names)} categories; choose with `category` one of {', '.join(names)}."
        )
    if category is not None and category not in names:
        raise ValueError(f"`category` is {category!r}, but `{path}` holds {', '.join(names)}.")
    catalog = reader.read(root, category or names[0])
    if not catalog.train:
        raise ValueError(f"`{path}` holds no good picture ({', '.join(sorted(IMAGE_SUFFIXES))}).")
    _require_masks(catalog)
    return catalog


def _folder(path: str | Path) -> Path:
    if not Path(path).is_dir():
        raise FileNotFoundError(f"`{path}` is not a folder; give a data set, or a folder of good pictures.")
    return Path(path)


def _recognize(root: Path) -> tuple[ModuleType, Path, list[str]]:
    """The reader of a folder, where the data set begins, its categories.

    Archives often wrap a data set in a folder or two: while nothing else is there, look inside.
    """
    *layouts, any_folder = READERS
    inner = root
    while True:
        for reader in layouts:
            if names := reader.categories(inner):
                return reader, inner, names
        if len(subfolders(inner)) != 1 or pictures(inner):
            return any_folder, root, any_folder.categories(root)
        inner = subfolders(inner)[0]


def _require_masks(catalog: Catalog) -> None:
    """Where some defective pictures have masks, all must: figures over a part would mislead."""
    defective = [record for record in catalog.test if record.label]
    missing = [record for record in defective if record.mask is None]
    if missing and len(missing) < len(defective):
        listed = "\n  ".join(f"{record.defect}/{record.image.name}" for record in missing)
        raise ValueError(
            f"{len(missing)} of {len(defective)} defective pictures of `{catalog.category}` have no mask; "
            f"add them, or remove all masks to do without:\n  {listed}"
        )
