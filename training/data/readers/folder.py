"""Any folder of good pictures, with or without folders of test pictures beside them.

All pictures outside `test/<defect>`, `ground_truth` and `clean` are good, unless a folder's name or their own
sounds defective. Where there is a folder `good` (`ok`, `normal_images`), only its pictures are good, and the
folders beside it are kinds of defect.
"""

from pathlib import Path

from ..records import Catalog
from .mvtec import read_folders

NAME = "folder"


def categories(root: Path) -> list[str]:
    """Return the name of the folder, whatever it holds."""
    return [root.resolve().name]


def read(root: Path, category: str) -> Catalog:
    """Read one category; `train` is empty where there are no good pictures.

    Raises:
        ValueError: there are masks among the pictures.
    """
    return read_folders(root, category, NAME)
