"""Each published data set, generated small with its true names and quirks, is read as it is downloaded."""

from collections import Counter
from pathlib import Path

import pytest
from example_layouts import dagm, mask, picture

from training.data.catalog import Catalog, categories, scan
from training.data.masks import read_mask
from training.data.records import Record


def kinds(catalog: Catalog) -> dict[str, int]:
    return dict(Counter(record.defect for record in catalog.test))


def test_mpdd_is_read_with_its_mixed_names(tmp_path: Path) -> None:
    root = tmp_path / "MPDD"
    for name in ("bracket_black", "metal_plate"):
        picture(root / name / "train/good/000.png")
        picture(root / name / "test/good/000.png")
        picture(root / name / "test/scratches/000.png")
        mask(root / name / "ground_truth/scratches/000_mask.png")
    assert categories(root) == ["bracket_black", "metal_plate"]
    catalog = scan(root, "metal_plate")
    assert kinds(catalog) == {"good": 1, "scratches": 1} and catalog.layout == "MVTec-AD"
    assert catalog.test[1].mask.name == "000_mask.png"


def test_btad_says_ok_and_ko_and_mixes_its_extensions(tmp_path: Path) -> None:
    root = tmp_path / "BTech_Dataset_transformed"
    for name, extension, mask_extension in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        picture(root / name / f"train/ok/0000.{extension}")
        picture(root / name / f"test/ok/0010.{extension}")
        picture(root / name / f"test/ko/0001.{extension}")
        mask(root / name / f"ground_truth/ko/0001.{mask_extension}")
    assert categories(root) == ["01", "02", "03"]
    for name in categories(root):
        catalog = scan(root, name)
        assert [record.label for record in catalog.train] == [0]
        assert kinds(catalog) == {"ko": 1, "good": 1}
        assert [r.mask is not None for r in catalog.test if r.label] == [True]


def raw_visa(root: Path) -> Path:
    """Two of the twelve objects; upper-case extensions, masks whose defects are the integers 1 and 2."""
    lines = ["object,split,label,image,mask"]
    for name in ("candle", "pcb1"):
        good, bad = f"{name}/Data/Images/Normal", f"{name}/Data/Images/Anomaly"
        for i in range(3):
            picture(root / good / f"{i:04d}.JPG", grey=80 + i)
            lines.append(f"{name},{'test' if i == 2 else 'train'},normal,{good}/{i:04d}.JPG,")
        for i in range(2):
            picture(root / bad / f"{i:03d}.JPG")
            mask(root / f"{name}/Data/Masks/Anomaly/{i:03d}.png", value=1 + i)
            lines.append(f"{name},test,anomaly,{bad}/{i:03d}.JPG,{name}/Data/Masks/Anomaly/{i:03d}.png")
        table = [
            "image,label,mask",
            f"{good}/0000.JPG,normal,",
            f"{bad}/000.JPG,chunk of wax missing,{name}/Data/Masks/Anomaly/000.png",
            f'{bad}/001.JPG,"bent,melt",{name}/Data/Masks/Anomaly/001.png',
        ]
        (root / name / "image_anno.csv").write_text("\n".join(table) + "\n")
    (root / "split_csv").mkdir()
    (root / "split_csv/1cls.csv").write_text("\n".join(lines) + "\n")
    (root / "split_csv/2cls_fewshot.csv").write_text("object,split,label,image,mask\n")
    return root


def test_the_raw_visa_follows_its_split_and_its_table_of_defects(tmp_path: Path) -> None:
    root = raw_visa(tmp_path / "VisA_20220922")
    assert categories(root) == ["candle", "pcb1"]
    catalog = scan(root, "candle")
    assert [record.image.name for record in catalog.train] == ["0000.JPG", "0001.JPG"]
    assert kinds(catalog) == {"chunk of wax missing": 1, "combined": 1, "good": 1}
    assert [read_mask(r.mask).sum() for r in catalog.test if r.label] == [3, 3]
    assert scan(root / "candle") == catalog


def test_a_visa_picture_that_the_split_names_but_nobody_has_is_named(tmp_path: Path) -> None:
    root = raw_visa(tmp_path / "VisA")
    (root / "candle/Data/Images/Normal/0001.JPG").unlink()
    with pytest.raises(ValueError, match=r"names 1 pictures that are not there.*\n  candle/Data.*/0001.JPG"):
        scan(root, "candle")


def test_the_1cls_tree_of_visa_is_read(tmp_path: Path) -> None:
    tree = tmp_path / "VisA_pytorch/1cls"
    for name in ("candle", "capsules"):
        picture(tree / name / "train/good/0000.JPG")
        picture(tree / name / "test/good/0001.JPG")
        picture(tree / name / "test/bad/000.JPG")
        mask(tree / name / "ground_truth/bad/000.png")
    for path in (tmp_path / "VisA_pytorch", tree, tmp_path):
        assert categories(path) == ["candle", "capsules"]
        assert kinds(scan(path, "candle")) == {"bad": 1, "good": 1}


def test_dagm_trains_without_the_defective_pictures_of_its_training_half(tmp_path: Path) -> None:
    root = tmp_path / "DAGM"
    for i in (1, 2, 10):
        dagm(root / f"Class{i}")
    assert categories(root) == ["Class1", "Class2", "Class10"]
    catalog = scan(root, "Class10")
    assert [record.image.name for record in catalog.train] == ["0576.PNG", "0578.PNG", "0579.PNG"]
    assert catalog.notes == ("1 defective pictures of `Train` are left out: training is on good ones",)
    assert kinds(catalog) == {"good": 3, "defect": 1}
    assert catalog.test[-1].mask.name == "0001_label.PNG"
    assert scan(root / "Class10") == catalog


def test_a_dagm_class_in_a_folder_of_its_own_name_is_read(tmp_path: Path) -> None:
    dagm(tmp_path / "Class1/Class1")
    dagm(tmp_path / "Class2/Class2")
    assert categories(tmp_path) == ["Class1", "Class2"]
    assert len(scan(tmp_path, "Class1").train) == 3


def test_a_defective_dagm_picture_without_its_label_picture_is_named(tmp_path: Path) -> None:
    root = dagm(tmp_path / "Class1")
    labels = root / "Test/Label/Labels.txt"
    labels.write_text(
        labels.read_text(encoding="utf-8").replace("2\t0\t0002", "2\t1\t0002"), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"1 of 2 defective .* no mask.*\n  defect/0002.PNG"):
        scan(root)


def magnetic_tiles(root: Path, good: int = 40) -> Path:
    for kind in ("Free", "Blowhole", "Break", "Crack", "Fray", "Uneven"):
        for i in range(good if kind == "Free" else 2):
            # Six pictures of a tile, then the next tile.
            path = root / f"MT_{kind}/Imgs/exp{1 + i % 6}_num_{1000 + 1000 * (i // 6) + 20 * (i % 6)}"
            picture(path.with_suffix(".jpg"), size=(12 + i % 40, 10))
            mask(path.with_suffix(".png"), 0 if kind == "Free" else 255, size=(12 + i % 40, 10))
    (root / "README.md").write_text("Magnetic tile")
    return root


def test_the_raw_magnetic_tiles_follow_a_training_list(tmp_path: Path) -> None:
    root = magnetic_tiles(tmp_path / "Magnetic-tile-defect-datasets.")
    (root / "mtd_train_filenames.txt").write_text("exp1_num_1000.jpg\nexp3_num_1040.jpg\n")
    assert categories(root) == ["magnetic_tile"]
    catalog = scan(root)
    assert [record.image.name for record in catalog.train] == ["exp1_num_1000.jpg", "exp3_num_1040.jpg"]
    assert kinds(catalog) == {"good": 38, "blowhole": 2, "break": 2, "crack": 2, "fray": 2, "uneven": 2}
    assert all(record.image.suffix == ".jpg" for record in catalog.train + catalog.test)
    assert all(record.mask.suffix == ".png" for record in catalog.test if record.label)
    assert catalog.notes == (
        "the pictures to train with are those of mtd_train_filenames.txt; 4 of 38 good pictures to test may "
        "show a tile that is trained on, under another exposure",
    )

    (root / "mtd_train_filenames.txt").write_text("exp1_num_1000.jpg\nexp9_num_9.jpg\n")
    with pytest.raises(ValueError, match=r"names 1 pictures that MT_Free has not:\n  exp9_num_9"):
        scan(root)


def test_magnetic_tiles_in_the_layout_of_mvtec_have_jpg_pictures_and_png_masks(tmp_path: Path) -> None:
    root = tmp_path / "magnetic_tile"
    picture(root / "train/good/exp1_num_4727.jpg")
    picture(root / "test/good/exp2_num_5.jpg", grey=80)
    for kind in ("blowhole", "uneven"):
        picture(root / f"test/{kind}/exp1_num_1.jpg", grey=70)
        mask(root / f"ground_truth/{kind}/exp1_num_1.png")
    catalog = scan(root)
    assert kinds(catalog) == {"good": 1, "blowhole": 1, "uneven": 1} and len(catalog.train) == 1
    assert all((record.mask is not None) == (record.label == 1) for record in catalog.test)


def test_without_a_training_list_a_fifth_of_the_good_tiles_is_tested(tmp_path: Path) -> None:
    root = magnetic_tiles(tmp_path, good=240)
    catalog = scan(root)

    def tiles(records: list[Record]) -> set[int]:
        return {int(record.image.stem.rpartition("_")[2]) // 1000 for record in records if not record.label}

    assert 2 <= len(tiles(catalog.test)) <= 14
    assert len(tiles(catalog.test)) + len(tiles(catalog.train)) == 40
    assert not tiles(catalog.test) & tiles(catalog.train)
    assert {record.part for record in catalog.train} == {
        f"exp1_num_{1000 * tile}" for tile in tiles(catalog.train)
    }
    assert "a fifth of the good tiles" in catalog.notes[0]


def test_the_raw_kolektor_is_split_by_commutator(tmp_path: Path) -> None:
    for unit in range(1, 9):
        for part in range(3):
            picture(tmp_path / f"kos{unit:02d}/Part{part}.jpg", grey=60 + unit)
            label = tmp_path / f"kos{unit:02d}/Part{part}_label.bmp"
            mask(label, 255 if (unit, part) in ((1, 0), (4, 2)) else 0)
    assert categories(tmp_path) == ["kolektor_sdd"]
    catalog = scan(tmp_path)
    good = {record.image.parent.name for record in catalog.test if record.label == 0}
    assert good == {"kos04", "kos08"} and kinds(catalog) == {"good": 5, "crack": 2}
    assert not good & {record.image.parent.name for record in catalog.train} and len(catalog.train) == 17
    assert all(record.image.suffix == ".jpg" for record in catalog.train)

    (tmp_path / "kos03/Part1_label.bmp").unlink()
    with pytest.raises(ValueError, match=r"1 pictures without a <name>_label.bmp.*\n  kos03/Part1.jpg"):
        scan(tmp_path)


def test_folders_of_any_case_and_what_a_mac_leaves_behind_do_no_harm(tmp_path: Path) -> None:
    root = tmp_path / "Bottle"
    picture(root / "TRAIN/Good/000.JPEG")
    picture(root / "Test/GOOD/000.TIF")
    picture(root / "Test/Hole/000.Png")
    mask(root / "Ground_Truth/hole/000_MASK.PNG")
    picture(root / "TRAIN/Good/._000.png")
    picture(root / "__MACOSX/TRAIN/Good/000.png")
    catalog = scan(root)
    assert len(catalog.train) == 1 and kinds(catalog) == {"good": 1, "Hole": 1}
    assert catalog.test[1].mask is not None


def test_good_pictures_beside_folders_of_defects_are_told_apart(tmp_path: Path) -> None:
    for name in ("good/a.png", "good/b.png", "dent/a.png", "rust/c.png"):
        picture(tmp_path / name)
    catalog = scan(tmp_path)
    assert len(catalog.train) == 2 and kinds(catalog) == {"dent": 1, "rust": 1}


def test_a_test_folder_beside_the_pictures_is_not_trained_on(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "test/good/c.png", "test/dent/d.png"):
        picture(tmp_path / name)
    mask(tmp_path / "ground_truth/dent/d.png")
    catalog = scan(tmp_path)
    assert [record.image.name for record in catalog.train] == ["a.png", "b.png"]
    assert kinds(catalog) == {"dent": 1, "good": 1} and catalog.test[0].mask is not None


@pytest.mark.parametrize(
    "names", [("a.jpg", "a.png"), ("a.jpg", "a_label.bmp"), ("a.png", "Label/a_mask.png")]
)
def test_masks_among_good_pictures_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    for name in names:
        picture(tmp_path / name)
    with pytest.raises(ValueError, match=f"1 files .* look like their masks.*\n  {names[1]}"):
        scan(tmp_path)


def test_the_folder_around_an_unpacked_archive_is_seen_through(tmp_path: Path) -> None:
    picture(tmp_path / "download/mvtec/bottle/train/good/0.png")
    picture(tmp_path / "download/mvtec/cable/train/good/0.png")
    assert categories(tmp_path) == ["bottle", "cable"]
