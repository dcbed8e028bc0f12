"""VisA, as released (`split_csv/1cls.csv` is the split), or as its script rearranges it.

    <category>/Data/Images/{Normal,Anomaly}/000.JPG, Data/Masks/Anomaly/000.png, image_anno.csv
    1cls/<category>/train/good, test/{good,bad}, ground_truth/bad          (MVTec-AD's layout)

Its masks number the defects with small integers: to the eye they are black.
"""

import csv
from pathlib import Path

from ..records import GOOD, Catalog, Record, child
from . import mvtec

NAME = "VisA"


def categories(root: Path) -> list[str]:
    """List the categories of the split or of the `1cls` tree, or the folder itself where it is a category."""
    if tree := child(root, "1cls"):
        return mvtec.categories(tree)
    if split := _split(root):
        return sorted({row["object"] for row in _rows(split) if (root / row["object"]).is_dir()})
    is_category = child(root, "Data") and _split(root.resolve().parent)
    return [root.resolve().name] if is_category else []


def read(root: Path, category: str) -> Catalog:
    """Read one category.

    Raises:
        ValueError: the split names missing pictures; the message lists them.
    """
    if tree := child(root, "1cls"):
        return mvtec.read(tree, category)
    base = root if _split(root) else root.resolve().parent
    split = _split(base)
    assert split is not None, "`categories` found the split"
    rows = [row for row in _rows(split) if row["object"] == category]
    absent = [row["image"] for row in rows if not (base / row["image"]).is_file()]
    if absent:
        listed = "\n  ".join(absent)
        raise ValueError(
            f"`{split}` names {len(absent)} pictures that are not there; unpack again:\n  {listed}"
        )
    kinds = _kinds(base / category)
    train: list[Record] = []
    test: list[Record] = []
    for row in rows:
        image, mask = base / row["image"], base / (row["mask"] or "-")
        if row["label"] == "normal":
            record = Record(image, row["split"], 0, GOOD, category=category)
        else:
            kind = kinds.get(image.name, "anomaly")
            record = Record(image, row["split"], 1, kind, mask if mask.is_file() else None, None, category)
        (train if row["split"] == "train" else test).append(record)
    return Catalog(category, train, sorted(test, key=lambda r: (r.defect, r.image)), NAME)


def _split(root: Path) -> Path | None:
    folder = child(root, "split_csv")
    return child(folder, "1cls.csv") if folder else None


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def _kinds(folder: Path) -> dict[str, str]:
    """Map names of pictures to kinds of defect; "combined" where a picture has several."""
    table = child(folder, "image_anno.csv")
    rows = [row for row in _rows(table) if row["label"] != "normal"] if table else []
    kinds = {Path(row["image"]).name: row["label"].strip().replace("/", "-") for row in rows}
    return {name: "combined" if "," in kind else kind for name, kind in kinds.items()}
