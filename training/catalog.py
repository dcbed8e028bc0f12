"""Data sets on disk as one list of records: MVTec-AD's layout, or any folder of good pictures."""

from dataclasses import dataclass
from pathlib import Path

from diffusionad.image_io import IMAGE_SUFFIXES

GOOD = "good"


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
    """

    image: Path
    split: str
    label: int
    defect: str
    mask: Path | None = None
    clean: Path | None = None


@dataclass(frozen=True)
class Catalog:
    """What a folder holds."""

    category: str
    train: list[Record]
    test: list[Record]


def scan(path: str | Path) -> Catalog:
    """List the pictures of a data set.

    Args:
        path: MVTec-AD layout (`train/good`, `test/<defect>`, `ground_truth/<defect>/*_mask.*`) or a folder of
            good pictures, sub-folders included.

    Returns:
        Its training and test pictures, sorted by name.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: no pictures, a `train` folder without `good`, or defective pictures without their masks.
    """
    root = Path(path)
    if not root.is_dir():
        raise FileNotFoundError(
            f"`{root}` is not a folder; give one with good pictures, or in MVTec-AD layout."
        )
    category = root.resolve().name
    if not (root / "train").is_dir():
        train = [Record(image, "train", 0, GOOD) for image in _pictures(root, recursive=True)]
        if not train:
            raise ValueError(f"`{root}` holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))}).")
        return Catalog(category, train, [])
    if not (root / "train" / GOOD).is_dir():
        raise ValueError(f"`{root}` has a folder `train`, but no `train/good`; put the good pictures there.")
    train = [Record(image, "train", 0, GOOD) for image in _pictures(root / "train" / GOOD)]
    if not train:
        raise ValueError(f"`{root / 'train' / GOOD}` holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))}).")

    test, without_mask = [], []
    has_masks = (root / "ground_truth").is_dir()
    for folder in sorted(p for p in (root / "test").glob("*") if p.is_dir()):
        for image in _pictures(folder):
            if folder.name == GOOD:
                test.append(Record(image, "test", 0, GOOD))
                continue
            mask = _mask_of(root / "ground_truth" / folder.name, image.stem)
            clean = root / "clean" / folder.name / image.name
            test.append(Record(image, "test", 1, folder.name, mask, clean if clean.is_file() else None))
            if mask is None:
                without_mask.append(f"{folder.name}/{image.name}")
    if has_masks and without_mask:
        listed = ", ".join(without_mask[:5]) + (" ..." if len(without_mask) > 5 else "")
        raise ValueError(
            f"`{root / 'ground_truth'}` has no mask for {len(without_mask)} pictures ({listed}); "
            "add <name>_mask.png for each, or remove the folder to do without masks."
        )
    return Catalog(category, train, test)


def _pictures(folder: Path, recursive: bool = False) -> list[Path]:
    entries = folder.rglob("*") if recursive else folder.glob("*")
    return sorted(p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())


def _mask_of(folder: Path, stem: str) -> Path | None:
    for name in (f"{stem}_mask", stem):
        for path in sorted(folder.glob(f"{name}.*")):
            if path.suffix.lower() in IMAGE_SUFFIXES:
                return path
    return None
