"""MVTec-AD's layout, which MPDD, BTAD and the prepared VisA share.

    <category>/train/good, test/good, test/<defect>, ground_truth/<defect>/<name>_mask.png

BTAD says "ok" for good and "ko" for defective; its masks lack "_mask", as VisA's do. A rendered data set may
have `clean/<defect>/`, the same pictures without the defect.
"""

from pathlib import Path

from ..records import GOOD, GOOD_NAMES, Catalog, Record, by_stem, child, pictures, subfolders

NAME = "MVTec-AD"


def categories(root: Path) -> list[str]:
    """List the folders with a `train` folder: the folder itself, or those in it."""
    if child(root, "train"):
        return [root.resolve().name]
    return [folder.name for folder in subfolders(root) if child(folder, "train")]


def read(root: Path, category: str) -> Catalog:
    """Read one category.

    Raises:
        ValueError: the `train` folder has neither pictures nor a folder `good`.
    """
    folder = root if child(root, "train") else root / category
    train_folder = child(folder, "train")
    assert train_folder is not None, "`categories` found the folder"
    good = child(train_folder, *GOOD_NAMES)
    train = [Record(i, "train", 0, GOOD, category=category) for i in pictures(good or train_folder)]
    if not train and good is None:
        raise ValueError(
            f"`{folder}` has a folder `train`, but no `train/good`; put the good pictures there."
        )
    return Catalog(category, train, read_test(folder, category), NAME)


def read_test(folder: Path, category: str) -> list[Record]:
    """Read the labelled pictures of `test/<defect>`, with their masks and clean twins if any."""
    records: list[Record] = []
    test = child(folder, "test")
    for kind in subfolders(test) if test else []:
        if kind.name.lower() in GOOD_NAMES:
            records += [Record(image, "test", 0, GOOD, category=category) for image in pictures(kind)]
            continue
        masks, twins = masks_of(folder, kind.name), _files(folder, "clean", kind.name)
        twin_names = {path.name: path for path in twins}
        for image in pictures(kind):
            mask, clean = masks.get(image.stem.lower()), twin_names.get(image.name)
            records.append(Record(image, "test", 1, kind.name, mask, clean, category))
    return records


def masks_of(folder: Path, kind: str) -> dict[str, Path]:
    """Map stems of pictures to masks of `ground_truth/<kind>`: `<stem>_mask` before `<stem>`."""
    files = _files(folder, "ground_truth", kind)
    return by_stem(files) | by_stem(files, "_mask")


def _files(folder: Path, name: str, kind: str) -> list[Path]:
    found = child(folder, name)
    found = found and child(found, kind)
    return pictures(found) if found else []
