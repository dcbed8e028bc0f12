"""DAGM 2007, as released.

    Class1 .. Class10/{Train,Test}/0576.PNG, Label/Labels.txt, Label/0576_label.PNG

A line of Labels.txt holds: number, 1 for defective, picture, 0, label picture or 0. `Train` holds defective
pictures, too; they are left out of training. Archives unpacked one by one give Class1/Class1.
"""

from pathlib import Path

from ..records import GOOD, Catalog, Record, by_stem, child, pictures, subfolders

NAME = "DAGM 2007"
DEFECT = "defect"  # each class has one kind of defect, without a name


def categories(root: Path) -> list[str]:
    """List the classes among Class1 .. Class10, or the folder itself where it is a class."""
    if _class_folder(root):
        return [root.resolve().name]
    return [folder.name for folder in subfolders(root) if _class_folder(folder)]


def read(root: Path, category: str) -> Catalog:
    """Read one class: the good pictures of `Train`, and all of `Test`."""
    folder = _class_folder(root) or _class_folder(root / category)
    assert folder is not None, "`categories` found the class"
    train, test = (_read_half(child(folder, half), half.lower(), category) for half in ("Train", "Test"))
    left_out = sum(record.label for record in train)
    note = f"{left_out} defective pictures of `Train` are left out: training is on good ones"
    good = [record for record in train if record.label == 0]
    return Catalog(category, good, test, NAME, (note,) if left_out else ())


def _class_folder(folder: Path) -> Path | None:
    for candidate in (folder, folder / folder.name):
        halves = child(candidate, "Train"), child(candidate, "Test")
        if all(half and child(half, "Label") for half in halves):
            return candidate
    return None


def _read_half(folder: Path | None, split: str, category: str) -> list[Record]:
    labels = folder and child(folder, "Label")
    assert folder and labels, "`_class_folder` found both"
    masks, is_defective = by_stem(pictures(labels), "_label"), _listed(child(labels, "Labels.txt"))
    records = []
    for image in pictures(folder):
        stem = image.stem.lower()
        if is_defective.get(stem, stem in masks):
            records.append(Record(image, split, 1, DEFECT, masks.get(stem), None, category))
        else:
            records.append(Record(image, split, 0, GOOD, category=category))
    return sorted(records, key=lambda record: (record.label, record.image))


def _listed(path: Path | None) -> dict[str, bool]:
    """Map stems of pictures to "is defective"; the first line of the file is another number."""
    lines = path.read_text(encoding="utf-8-sig").splitlines() if path else []
    fields = [line.split() for line in lines]
    return {Path(field[2]).stem.lower(): field[1] == "1" for field in fields if len(field) > 2}
