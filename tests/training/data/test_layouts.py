"""Layouts that people have: nothing defective is trained on, and nothing is left out without a sentence."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from example_layouts import mask, picture
from PIL import Image

from training.data.catalog import Catalog, categories, scan
from training.data.masks import read_mask


def pictures(root: Path, *names: str) -> Path:
    for name in names:
        picture(root / name)
    return root


def trained(catalog: Catalog, root: Path) -> list[str]:
    return [record.image.relative_to(root).as_posix() for record in catalog.train]


def kinds(catalog: Catalog) -> dict[str, int]:
    return dict(Counter(record.defect for record in catalog.test))


def masks(catalog: Catalog, root: Path) -> dict[str, str]:
    return {
        record.image.relative_to(root).as_posix(): record.mask.relative_to(root).as_posix()
        for record in catalog.test
        if record.mask
    }


def test_abnormal_pictures_and_masks_beside_normal_ones_are_not_trained_on(tmp_path: Path) -> None:
    for i in range(2):
        pictures(tmp_path, f"normal_dir/image{i}.png", f"abnormal_dir/image{i}.png")
        mask(tmp_path / f"mask_dir/mask{i}.png")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == ["normal_dir/image0.png", "normal_dir/image1.png"]
    assert kinds(catalog) == {"abnormal_dir": 2}
    assert masks(catalog, tmp_path) == {f"abnormal_dir/image{i}.png": f"mask_dir/mask{i}.png" for i in (0, 1)}
    assert catalog.notes == (
        "2 masks belong to their pictures by number alone, such as `mask_dir/mask0.png` to "
        "`abnormal_dir/image0.png`",
    )


@pytest.mark.parametrize("name", ["MASK", "ground_truth", "gt", "NG_masks", "masks/NG", "Label"])
def test_a_folder_of_masks_is_no_kind_of_defect(tmp_path: Path, name: str) -> None:
    pictures(tmp_path, "OK/ok0.jpg", "NG/ng0.jpg", "NG/ng1.jpg")
    for i in range(2):
        mask(tmp_path / f"{name}/ng{i}.png")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == ["OK/ok0.jpg"] and kinds(catalog) == {"NG": 2}
    assert masks(catalog, tmp_path) == {f"NG/ng{i}.jpg": f"{name}/ng{i}.png" for i in (0, 1)}
    assert catalog.notes == ()


def test_folders_of_days_are_read_with_their_masks(tmp_path: Path) -> None:
    days = ("2026-01-02", "2026-01-03")
    for day in days:
        pictures(tmp_path, f"train/good/{day}/0.png", f"test/good/{day}/0.png", f"test/dent/{day}/0.png")
        mask(tmp_path / f"ground_truth/dent/{day}/0_mask.png")
    pictures(tmp_path, "train/good/1.png")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == ["train/good/1.png", *(f"train/good/{day}/0.png" for day in days)]
    assert kinds(catalog) == {"good": 2, "dent": 2}
    assert masks(catalog, tmp_path) == {
        f"test/dent/{day}/0.png": f"ground_truth/dent/{day}/0_mask.png" for day in days
    }
    assert catalog.notes == ()


def test_masks_are_given_to_no_picture_where_several_have_their_name(tmp_path: Path) -> None:
    pictures(tmp_path, "train/good/9.png", "test/dent/0.png", "test/rust/0.png")
    mask(tmp_path / "ground_truth/0.png")
    catalog = scan(tmp_path)
    assert masks(catalog, tmp_path) == {}
    (note,) = catalog.notes
    assert note.startswith(
        "1 pictures are left out (`ground_truth/0.png`): they are masks, but of no picture"
    )


@pytest.mark.parametrize("good", ["train/good/7.png", "train/7.png"])
def test_a_mask_whose_picture_is_missing_is_not_given_to_a_good_picture(tmp_path: Path, good: str) -> None:
    pictures(tmp_path, good, "test/dent/0.png")
    for name in ("dent/0_mask", "dent/7_mask", "rust/7_mask"):
        mask(tmp_path / f"ground_truth/{name}.png")
    catalog = scan(tmp_path)
    assert len(masks(catalog, tmp_path)) == 1
    (note,) = catalog.notes
    assert "2 pictures are left out (`ground_truth/dent/7_mask.png`" in note and "of no picture" in note


def test_a_mask_of_one_kind_is_not_given_to_another(tmp_path: Path) -> None:
    pictures(tmp_path, "train/good/9.png", "test/dent/0.png", "test/rust/1.png")
    mask(tmp_path / "ground_truth/dent/1.png")
    assert masks(scan(tmp_path), tmp_path) == {}


@pytest.mark.parametrize("name", ["0_gt", "0-GT", "0_label", "mask_0", "0_ground_truth"])
def test_masks_are_found_by_any_usual_name(tmp_path: Path, name: str) -> None:
    pictures(tmp_path, "train/good/9.png", "test/dent/0.png")
    mask(tmp_path / f"ground_truth/dent/{name}.png")
    assert masks(scan(tmp_path), tmp_path) == {"test/dent/0.png": f"ground_truth/dent/{name}.png"}


def test_masks_beside_their_pictures_are_no_pictures(tmp_path: Path) -> None:
    pictures(tmp_path, "good/9.png", "dent/0.png", "dent/1.jpg", "dent/2/image.png")
    for name in ("0_mask", "1", "2/mask"):
        mask(tmp_path / f"dent/{name}.png")
    catalog = scan(tmp_path)
    assert kinds(catalog) == {"dent": 3} and len(masks(catalog, tmp_path)) == 3


def test_a_folder_of_masks_for_each_picture_is_read_as_their_union(tmp_path: Path) -> None:
    pictures(tmp_path, "train/good/9.png", "validation/good/8.png", "test/good/7.png")
    for i in range(2):
        picture(tmp_path / f"test/logical_anomalies/{i:03d}.png")
        folder = tmp_path / f"ground_truth/logical_anomalies/{i:03d}"
        mask(folder / "000.png", value=236)
        other = np.zeros((12, 10), np.uint8)
        other[8, 2:4] = 240
        Image.fromarray(other).save(folder / "001.png")
    catalog = scan(tmp_path)
    for record in catalog.test[:2]:
        assert record.defect != "good" or record.mask is None
    unions = [read_mask(record.mask, (12, 10)) for record in catalog.test if record.label]
    assert [union.sum() for union in unions] == [5, 5]
    assert trained(catalog, tmp_path) == ["train/good/9.png", "validation/good/8.png"]
    assert catalog.notes == (
        "1 good pictures of `validation` are used as those of `train` are",
        "2 pictures have a folder of masks each, which are joined",
    )


def test_loose_pictures_beside_the_folders_are_named(tmp_path: Path) -> None:
    pictures(tmp_path, "train/good/0.png", "train/1.png", "test/good/2.png", "test/3.png", "4.png")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == ["train/good/0.png"] and kinds(catalog) == {"good": 1}
    assert [note.partition(":")[0] for note in catalog.notes] == [
        "1 pictures are left out (`4.png`)",
        "1 pictures are left out (`test/3.png`)",
        "1 pictures are left out (`train/1.png`)",
    ]


def test_pictures_loose_in_train_are_read_where_no_folder_says_good(tmp_path: Path) -> None:
    pictures(tmp_path, "train/0.png", "train/2026-01-02/1.png", "test/dent/2.png")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == ["train/0.png", "train/2026-01-02/1.png"] and catalog.notes == ()


def test_many_left_out_files_take_one_sentence(tmp_path: Path) -> None:
    pictures(tmp_path, "train/good/0.png", *(f"train/{i}.png" for i in range(9)))
    (note,) = scan(tmp_path).notes
    assert note == (
        "9 pictures are left out (`train/0.png`, `train/1.png`, `train/2.png`, 6 more): they lie beside the "
        "folder of good pictures: move them into it, if they are good"
    )


@pytest.mark.parametrize(
    "defective", ["train/def_front/0.png", "train/good/bad_light/0.png", "train/NG_0.png", "NG/train/0.png"]
)
def test_what_sounds_defective_is_never_trained_on(tmp_path: Path, defective: str) -> None:
    good = "OK/train/1.png" if defective.startswith("NG/") else "train/1.png"
    pictures(tmp_path, good, defective)
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == [good]
    assert any(defective in note and "sound defective" in note for note in catalog.notes)


@pytest.mark.parametrize(
    "names", [("ok_front", "def_front"), ("good_screws", "bent_screws"), ("clean", "dirty")]
)
def test_splits_and_kinds_of_any_name_are_told_apart(tmp_path: Path, names: tuple[str, str]) -> None:
    good, bad = names
    pictures(tmp_path, f"training/{good}/0.png", f"testing/{good}/1.png", f"testing/{bad}/2.png")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == [f"training/{good}/0.png"]
    assert kinds(catalog) == {"good": 1, bad: 1} and catalog.notes == ()


def test_folders_that_say_nothing_are_named_where_they_count_as_good(tmp_path: Path) -> None:
    pictures(tmp_path, "left/0.png", "right/1.png", "2.png")
    catalog = scan(tmp_path)
    assert len(catalog.train) == 3
    assert catalog.notes == (
        "2 pictures in `left`, `right` count as good: move defective ones into `test/<kind of defect>`",
    )


def test_good_pictures_of_several_folders_are_named(tmp_path: Path) -> None:
    pictures(tmp_path, "line1/good/0.png", "line1/bad/1.png", "line2/good/2.png")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == ["line1/good/0.png", "line2/good/2.png"] and kinds(catalog) == {
        "bad": 1
    }
    assert catalog.notes == ("good pictures come from `line1/good`, `line2/good`",)


def test_pictures_whose_masks_lie_beside_them_do_not_count_as_good(tmp_path: Path) -> None:
    pictures(tmp_path, "images/0.png", "images/1.png")
    mask(tmp_path / "masks/1.png")
    with pytest.raises(ValueError, match=r"1 files .* look like their masks.*\n  masks/1.png"):
        scan(tmp_path)


def test_masks_of_good_pictures_are_named(tmp_path: Path) -> None:
    pictures(tmp_path, "train/good/0.png", "test/good/1.png", "test/dent/2.png")
    mask(tmp_path / "ground_truth/good/1_mask.png", value=0)
    mask(tmp_path / "ground_truth/dent/2_mask.png")
    (note,) = scan(tmp_path).notes
    assert note == (
        "1 pictures are left out (`ground_truth/good/1_mask.png`): they are masks, but of good pictures"
    )


def test_heights_beside_photographs_are_left_out(tmp_path: Path) -> None:
    pictures(tmp_path, "train/good/rgb/0.png", "train/good/xyz/0.tiff", "test/crack/rgb/1.png")
    mask(tmp_path / "test/crack/gt/1.png")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == ["train/good/rgb/0.png"]
    assert masks(catalog, tmp_path) == {"test/crack/rgb/1.png": "test/crack/gt/1.png"}
    assert catalog.notes == (
        "1 pictures are left out (`train/good/xyz/0.tiff`): they are heights or points, not photographs",
    )


def test_pictures_of_unread_kinds_are_counted_and_jfif_is_a_jpeg(tmp_path: Path) -> None:
    pictures(tmp_path, "good/0.png", "good/1.jpg")
    (tmp_path / "good/1.jpg").rename(tmp_path / "good/1.jfif")
    for name in ("a.heic", "b.HEIC", "c.gif"):
        (tmp_path / f"good/{name}").write_bytes(b"not decodable here")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == ["good/0.png", "good/1.jfif"]
    assert catalog.notes == ("files that cannot be read are left out (1 .gif, 2 .heic): save them as PNG",)


def test_a_data_set_of_defects_alone_says_why_it_cannot_be_trained_with(tmp_path: Path) -> None:
    pictures(tmp_path, "train/bad/0.png")
    with pytest.raises(
        ValueError, match=r"holds no good picture.*`train/good`.*\n  1 pictures .*train/bad/0.png"
    ):
        scan(tmp_path)


def test_categories_are_products_and_not_good_and_bad(tmp_path: Path) -> None:
    pictures(tmp_path / "a", "OK/train/0.png", "NG/train/1.png")
    pictures(tmp_path / "b", "bottle/train/good/0.png", "cable/train/good/0.png")
    assert categories(tmp_path / "a") == ["a"] and categories(tmp_path / "b") == ["bottle", "cable"]


def test_a_folder_around_a_data_set_may_sound_defective_but_not_one_of_defects_alone(tmp_path: Path) -> None:
    pictures(tmp_path / "a", "defect_data/good/0.png", "defect_data/NG/1.png")
    catalog = scan(tmp_path / "a")
    assert trained(catalog, tmp_path / "a") == ["defect_data/good/0.png"] and kinds(catalog) == {"NG": 1}
    assert catalog.category == "a"
    for name in ("NG/0.png", "NG/train/0.png"):
        with pytest.raises(ValueError, match=r"holds no good picture.*\n  1 pictures are .*0.png"):
            scan(pictures(tmp_path / name.replace("/", "_"), name))


def test_pictures_and_masks_with_splits_of_their_own_are_one_data_set(tmp_path: Path) -> None:
    pictures(tmp_path, "images/train/good/0.png", "images/test/dent/1.png")
    mask(tmp_path / "masks/test/dent/1.png")
    catalog = scan(tmp_path)
    assert trained(catalog, tmp_path) == ["images/train/good/0.png"]
    assert masks(catalog, tmp_path) == {"images/test/dent/1.png": "masks/test/dent/1.png"}


def test_a_folder_beside_the_categories_that_is_none_is_named(tmp_path: Path) -> None:
    pictures(tmp_path, "bottle/train/good/0.png", "cable/good/1.png")
    assert scan(tmp_path).notes == ("`cable` beside it is not read: it has no folder `train`",)
