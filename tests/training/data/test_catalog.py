"""What the catalog sees in folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.catalog import categories, scan


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(path)


def mvtec(root: Path) -> Path:
    for name in ("train/good/000.png", "train/good/001.PNG", "test/good/000.png", "test/hole/000.jpg"):
        touch(root / name)
    touch(root / "ground_truth/hole/000_mask.png")
    return root


def test_the_mvtec_layout_is_read_with_masks_whatever_the_extension(tmp_path: Path) -> None:
    catalog = scan(mvtec(tmp_path / "bottle"))
    assert catalog.category == "bottle"
    assert [r.image.name for r in catalog.train] == ["000.png", "001.PNG"]
    assert [(r.defect, r.label, r.mask is not None) for r in catalog.test] == [
        ("good", 0, False),
        ("hole", 1, True),
    ]


def test_any_folder_of_pictures_is_training_data(tmp_path: Path) -> None:
    for name in ("a.png", "deeper/b.bmp", "notes.txt.png"):
        touch(tmp_path / name)
    (tmp_path / "readme.txt").write_text("no picture")
    catalog = scan(tmp_path)
    assert len(catalog.train) == 3 and catalog.test == []


def test_missing_masks_are_named(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "bottle")
    touch(root / "test/hole/007.png")
    with pytest.raises(ValueError, match=r"1 of 2 defective .* have no mask.*\n  hole/007.png"):
        scan(root)


def test_without_a_folder_of_masks_defective_pictures_have_none(tmp_path: Path) -> None:
    for name in ("train/good/0.png", "test/good/0.png", "test/hole/0.png"):
        touch(tmp_path / name)
    assert [r.mask for r in scan(tmp_path).test] == [None, None]


def test_a_clean_twin_is_found(tmp_path: Path) -> None:
    root = mvtec(tmp_path / "bottle")
    touch(root / "test/hole/001.png")
    touch(root / "ground_truth/hole/001_mask.png")
    touch(root / "clean/hole/001.png")
    assert [r.clean is not None for r in scan(root).test if r.label] == [False, True]


def test_the_categories_of_a_data_set_are_listed_and_read_one_by_one(tmp_path: Path) -> None:
    for name in ("bottle", "cable"):
        mvtec(tmp_path / name)
    (tmp_path / "license.txt").write_text("")
    assert categories(tmp_path) == ["bottle", "cable"]
    assert {record.category for record in scan(tmp_path, "cable").test} == {"cable"}
    assert categories(tmp_path / "cable") == ["cable"] and scan(tmp_path / "cable").category == "cable"
    with pytest.raises(ValueError, match="holds 2 categories; choose with `category` one of bottle, cable"):
        scan(tmp_path)
    with pytest.raises(ValueError, match=r"`category` is 'botle', but .* holds bottle, cable"):
        scan(tmp_path, category="botle")
