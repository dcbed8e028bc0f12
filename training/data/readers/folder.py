"""Any folder of good pictures, with or without folders of test pictures beside them.

All pictures outside `test/<defect>`, `ground_truth` and `clean` are good. Where there is a folder `good`
(`ok`, `normal`), only its pictures are good, and the folders beside it are kinds of defect.
"""

from pathlib import Path

from ..records import GOOD, GOOD_NAMES, Catalog, Record, child, pictures, subfolders
from .mvtec import masks_of, read_test

NAME = "folder"
NOT_GOOD = ("test", "ground_truth", "clean")


def categories(root: Path) -> list[str]:
    """Return the name of the folder, whatever it holds."""
    return [root.resolve().name]


def read(root: Path, category: str) -> Catalog:
    """Read one category; `train` is empty where there are no pictures.

    Raises:
        ValueError: there are masks among the pictures.
    """
    _refuse_masks(root)
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


def _refuse_masks(root: Path) -> None:
    """Raise a ValueError for masks among the good pictures: training would take them for pictures."""
    files = [
        path for path in pictures(root, recursive=True) if not _lies_in(path.relative_to(root), NOT_GOOD)
    ]
    stems = {path.stem.lower() for path in files}
    photographs = {path.with_suffix("") for path in files if path.suffix.lower() in (".jpg", ".jpeg")}
    masks = []
    for path in files:
        stem = path.stem.lower()
        pictured = stem.removesuffix("_mask").removesuffix("_label")
        is_beside_jpeg = path.suffix.lower() == ".png" and path.with_suffix("") in photographs
        if is_beside_jpeg or (pictured != stem and pictured in stems):
            masks.append(str(path.relative_to(root)))
    if masks:
        listed = "\n  ".join(masks)
        raise ValueError(
            f"`{root}` has {len(masks)} files among its good pictures that look like their masks; move them "
            f"elsewhere:\n  {listed}"
        )


def _lies_in(path: Path, names: tuple[str, ...]) -> bool:
    return len(path.parts) > 1 and path.parts[0].lower() in names
