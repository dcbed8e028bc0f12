"""Any folder of good pictures, with or without folders of test pictures beside them.

Everything is good but what lies in `test/<defect>`, `ground_truth`, `clean`; where there is a folder `good`
(`ok`, `normal`), that alone is good, and the folders beside it are kinds of defect.
"""

from pathlib import Path

from training.readers.mvtec import masks_of, read_test
from training.records import GOOD, GOOD_NAMES, Catalog, Record, child, pictures, subfolders

NAME = "folder"
NOT_GOOD = ("test", "ground_truth", "clean")


def categories(root: Path) -> list[str]:
    """The folder itself, whatever it holds."""
    return [root.resolve().name]


def read(root: Path, category: str) -> Catalog:
    """One category; `train` is empty when there are no pictures at all."""
    good = child(root, *GOOD_NAMES)
    test = read_test(root, category)
    if good and good.is_dir():
        images = pictures(good, recursive=True)
        for kind in subfolders(root):
            if kind != good and kind.name.lower() not in NOT_GOOD:
                masks = masks_of(root, kind.name)
                test += [
                    Record(image, "test", 1, kind.name, masks.get(image.stem.lower()), category=category)
                    for image in pictures(kind)
                ]
    else:
        images = [p for p in pictures(root, recursive=True) if not _lies_in(p.relative_to(root), NOT_GOOD)]
    return Catalog(category, [Record(i, "train", 0, GOOD, category=category) for i in images], test, NAME)


def _lies_in(path: Path, names: tuple[str, ...]) -> bool:
    return len(path.parts) > 1 and path.parts[0].lower() in names
