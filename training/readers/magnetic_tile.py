"""Magnetic Tile Defects, as released: each picture (.jpg) beside its mask (.png).

    MT_Free, MT_Blowhole, MT_Break, MT_Crack, MT_Fray, MT_Uneven/Imgs/exp1_num_4727.{jpg,png}

The release has no split. The one in the literature is a list of training pictures, a name a line: put it
beside the folders as a text file with "train" in its name. Without it a fifth of the good pictures is tested.
"""

import hashlib
from pathlib import Path

from training.records import GOOD, Catalog, Record, by_stem, child, pictures, subfolders

NAME = "Magnetic Tile Defects"
CATEGORY = "magnetic_tile"
PREFIX = "mt_"


def categories(root: Path) -> list[str]:
    """One, where there is a folder MT_Free."""
    return [CATEGORY] if child(root, "MT_Free") else []


def read(root: Path, category: str) -> Catalog:
    """All of it.

    Raises:
        ValueError: several training lists, or one that names pictures that are not there.
    """
    good, masked = _images(child(root, "MT_Free"))
    chosen, note = _training_names(root, good)
    train = [Record(path, "train", 0, GOOD, category=category) for path in good if path.stem in chosen]
    test = [Record(path, "test", 0, GOOD, category=category) for path in good if path.stem not in chosen]
    for folder in subfolders(root):
        kind = folder.name.lower().removeprefix(PREFIX)
        if folder.name.lower().startswith(PREFIX) and kind != "free":
            images, masked = _images(folder)
            test += [Record(p, "test", 1, kind, masked.get(p.stem.lower()), None, category) for p in images]
    return Catalog(category, train, test, NAME, (note,))


def _images(folder: Path) -> tuple[list[Path], dict[str, Path]]:
    """The pictures, and the masks by their stem."""
    files = pictures(child(folder, "Imgs") or folder)
    is_mask = [path.suffix.lower() == ".png" for path in files]
    masks = [path for path, mask in zip(files, is_mask, strict=True) if mask]
    return [path for path, mask in zip(files, is_mask, strict=True) if not mask], by_stem(masks)


def _training_names(root: Path, good: list[Path]) -> tuple[set[str], str]:
    """Stems of the pictures to train with, and where they come from."""
    lists = [path for path in sorted(root.glob("*")) if _is_training_list(path)]
    if not lists:
        chosen = {path.stem for path in good if hashlib.sha256(path.stem.encode()).digest()[0] % 5}
        return chosen, "no training list beside MT_Free: a fifth of the good pictures is tested"
    if len(lists) > 1:
        names = ", ".join(path.name for path in lists)
        raise ValueError(f"`{root}` has several training lists ({names}); keep one.")
    lines = lists[0].read_text(encoding="utf-8-sig").splitlines()
    chosen = {Path(line.strip().replace("\\", "/")).stem for line in lines if line.strip()}
    absent = sorted(chosen - {path.stem for path in good})
    if absent:
        listed = "\n  ".join(absent)
        raise ValueError(f"`{lists[0]}` names {len(absent)} pictures that MT_Free has not:\n  {listed}")
    return chosen, f"the pictures to train with are those of {lists[0].name}"


def _is_training_list(path: Path) -> bool:
    return path.suffix.lower() == ".txt" and "train" in path.name.lower()
