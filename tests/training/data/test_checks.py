"""What can be wrong with a data set is said file by file."""

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusionad.cli.options import run
from training.cli import catalog_command
from training.data.catalog import scan
from training.data.checks import check
from training.data.records import Record
from training.data.split import check_readable


def noise(path: Path, seed: int, size: tuple[int, ...] = (16, 20, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, size, np.uint8)).save(path)
    return path


def ten_good(root: Path) -> list[Record]:
    return [Record(noise(root / f"train/good/{i:03d}.png", i), "train", 0, "good") for i in range(10)]


def test_a_sound_data_set_raises_no_warning(tmp_path: Path) -> None:
    assert check(ten_good(tmp_path)) == []


def test_every_broken_file_is_listed_at_once(tmp_path: Path) -> None:
    records = ten_good(tmp_path)
    whole = records[3].image.read_bytes()
    records[3].image.write_bytes(whole[: len(whole) // 2])
    records[5].image.write_text("no picture")
    noise(records[6].image, 6, (4, 4, 3))
    mask = noise(tmp_path / "mask.png", 0, (16, 21))
    records.append(Record(noise(tmp_path / "bad.png", 99), "test", 1, "hole", mask))
    with pytest.raises(ValueError) as error:
        check(records)
    message = str(error.value)
    assert "the data has 5 faults" in message
    for named in ("003.png", "005.png", "006.png", "mask.png` is 21 x 16, its picture 20 x 16"):
        assert named in message
    assert "only 7 good pictures" in message


def test_a_picture_that_shows_nothing_is_a_fault_in_training_in_the_test_and_in_the_calibration(tmp_path):
    records = [*ten_good(tmp_path), Record(noise(tmp_path / "bad.png", 99), "test", 1, "hole", None)]
    for record in (records[3], records[-1]):
        Image.new("RGB", (20, 16), (1, 2, 3)).save(record.image)
    with pytest.raises(ValueError, match=r"(?s)2 faults.*003\.png` shows nothing.*bad\.png` shows nothing"):
        check(records)
    with pytest.raises(ValueError, match=r"(?s)1 of 2 pictures cannot be used.*003\.png` shows nothing"):
        check_readable([records[2].image, records[3].image])


def test_one_picture_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"only 1 good pictures can be used \(`.*000.png`\); 8 are the least"
    ):
        check(ten_good(tmp_path)[:1])


def test_identical_pictures_are_refused_and_copies_are_named(tmp_path: Path) -> None:
    for i in range(9):
        noise(tmp_path / f"same/{i}.png", seed=0)
    same = [Record(path, "train", 0, "good") for path in sorted((tmp_path / "same").iterdir())]
    with pytest.raises(ValueError, match="all 9 good pictures are the same"):
        check(same)
    records = [*ten_good(tmp_path), Record(noise(tmp_path / "again.bmp", 4), "train", 0, "good")]
    assert check(records) == [f"`{tmp_path / 'again.bmp'}` is a copy of `{records[4].image}`"]


def test_a_test_picture_that_is_also_in_training_is_named(tmp_path: Path) -> None:
    # Saved in another format: the files differ, the pixels do not.
    records = [*ten_good(tmp_path), Record(noise(tmp_path / "test/good/7.tif", 7), "test", 0, "good")]
    (warning,) = check(records)
    assert "7.tif` of the test is also in training" in warning and "007.png" in warning


def test_a_picture_that_is_good_and_defective_is_named(tmp_path: Path) -> None:
    test = [
        Record(noise(tmp_path / "test/good/0.png", 50), "test", 0, "good"),
        Record(noise(tmp_path / "test/hole/1.png", 50), "test", 1, "hole"),
    ]
    (warning,) = check(ten_good(tmp_path) + test)
    assert "hole/1.png" in warning and "one good and one defective" in warning


def test_mixed_sizes_and_modes_are_named(tmp_path: Path) -> None:
    records = ten_good(tmp_path)
    noise(records[2].image, 2, (16, 24, 3))
    noise(records[8].image, 8, (16, 20))
    sizes, modes = check(records)
    assert sizes == (f"good pictures of 2 sizes: 9 are 20 x 16, but not `{records[2].image}`")
    assert modes == f"good pictures of 2 modes: 9 are RGB, but not `{records[8].image}`"


def test_the_black_mask_of_a_defective_picture_is_named(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((16, 20), np.uint8)).save(tmp_path / "mask.png")
    bad = Record(noise(tmp_path / "bad.png", 99), "test", 1, "hole", tmp_path / "mask.png")
    (warning,) = check([*ten_good(tmp_path), bad])
    assert warning == f"`{tmp_path / 'mask.png'}` is black, but its picture counts as defective"


def test_the_command_prints_a_table_and_then_what_is_wrong(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bottle", "cable"):
        ten_good(tmp_path / name)
        noise(tmp_path / name / "test/good/0.png", 100)
        noise(tmp_path / name / "test/hole/1.png", 101)
    noise(tmp_path / "bottle/ground_truth/hole/1_mask.png", 1, (16, 20))
    assert run(catalog_command, ["--data", str(tmp_path)], "catalog") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{tmp_path}: layout of MVTec-AD"
    assert [re.split("  +", line) for line in lines[2:5]] == [
        ["category", "train", "test good", "test defective", "masks", "pixels", "modes", "kinds of defect"],
        ["bottle", "10", "1", "1", "1", "20 x 16", "RGB", "hole 1"],
        ["cable", "10", "1", "1", "0", "20 x 16", "RGB", "hole 1"],
    ]

    (tmp_path / "cable/test/hole/1.png").write_text("no picture")
    assert run(catalog_command, ["--data", str(tmp_path)], "catalog") == 1
    printed = capsys.readouterr()
    assert "unreadable" in printed.out
    assert "cable: the data has 1 faults" in printed.err and "hole/1.png" in printed.err
    assert run(catalog_command, ["--data", str(tmp_path / "nowhere")], "catalog") == 2
    assert "is not a folder" in capsys.readouterr().err


def test_the_command_lists_faults_of_one_category_and_shows_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ten_good(tmp_path / "bottle")
    (tmp_path / "empty/train").mkdir(parents=True)
    assert run(catalog_command, ["--data", str(tmp_path)], "catalog") == 1
    printed = capsys.readouterr()
    assert "\nbottle " in printed.out and printed.err.startswith("empty: `")
    assert scan(tmp_path, "bottle").category == "bottle"


def test_masks_of_most_of_a_picture_are_one_warning(tmp_path: Path) -> None:
    records = ten_good(tmp_path)
    for i in range(3):
        inverted = np.full((16, 20), 255, np.uint8)
        inverted[4, :i] = 0
        Image.fromarray(inverted).save(tmp_path / f"mask{i}.png")
        bad = noise(tmp_path / f"test/hole/{i}.png", 90 + i)
        records.append(Record(bad, "test", 1, "hole", tmp_path / f"mask{i}.png"))
    (warning,) = check(records)
    assert warning.startswith(
        f"3 masks cover most of their pictures, such as `{tmp_path / 'mask0.png'}` (100%)"
    )
    assert "invert them" in warning


def test_a_mask_among_good_pictures_is_refused_whatever_its_name(tmp_path: Path) -> None:
    records = ten_good(tmp_path)
    pixels = np.zeros((16, 20), np.uint8)
    pixels[4:8, 4:8] = 255
    Image.fromarray(pixels).save(records[3].image)
    with pytest.raises(ValueError, match=r"1 faults.*\n  `.*003.png` has two colours, like a mask"):
        check(records)


def test_a_camera_of_black_and_white_takes_good_pictures(tmp_path: Path) -> None:
    records = ten_good(tmp_path)
    for i, record in enumerate(records):
        pixels = np.random.default_rng(i).random((16, 20)) < 0.5
        Image.fromarray(pixels).save(record.image)
    assert check(records) == []
