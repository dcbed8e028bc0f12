"""Names of folders and files mean the same wherever they stand."""

import pytest

from training.data.names import (
    Role,
    bare,
    is_mask_name,
    is_plain,
    pictured_stems,
    role_of,
    sounds_defective,
    split_of,
)

NAMES = {
    Role.GOOD: "good OK ok normal normal_dir NormalImages ok_front good-2026 defect_free no_defect "
    "NonDefective iO i.O. gut 正常",
    Role.DEFECT: "NG bad ko abnormal_dir Anomaly not_good NotOK no_good def_front bad_no_ink n.i.O. "
    "nIO good_ng scratch_head 异常 Ausschuss",
    Role.MASK: "mask MASK masks mask_dir ground_truth GroundTruth gt defect_masks NG_gt label Labels",
    Role.UNKNOWN: "2026-01-02 hole label_missing images cable_swap bracket weight unmasked abnormally",
}


@pytest.mark.parametrize("name, role", [(name, role) for role in NAMES for name in NAMES[role].split()])
def test_a_folder_means_what_its_words_say(name: str, role: Role) -> None:
    assert role_of(name) is role


@pytest.mark.parametrize(
    "name, split",
    [
        ("Train", "train"),
        ("training_data", "train"),
        ("test_public", "test"),
        ("val", "validation"),
        ("train_wheel", ""),
        ("latest", ""),
    ],
)
def test_a_split_is_recognised_by_its_whole_name(name: str, split: str) -> None:
    assert split_of(name) == split


def test_dates_and_words_for_pictures_name_no_kind() -> None:
    assert all(map(is_plain, ["images", "2026-01-02", "20260102", "2026-01", "02.01.2026", "rgb"]))
    assert not any(map(is_plain, ["color", "dent", "crack_2026", "part_3", "123456"]))


def test_the_picture_of_a_mask_is_found_in_its_name() -> None:
    for stem in (
        "000_mask",
        "000_gt",
        "000-GT",
        "000 label",
        "000_ground_truth",
        "mask_000",
        "gt000",
        "000.mask",
    ):
        assert pictured_stems(stem)[:-1] and "000" in pictured_stems(stem)
    assert pictured_stems("weight") == ["weight"] and pictured_stems("mask_of_a_part") != ["mask_of_a_part"]
    assert bare("mask3") == bare("image_03") == "3"


def test_a_label_that_is_the_part_itself_is_no_mask() -> None:
    assert not is_mask_name("label_01", {"label_01", "label_02"})
    assert is_mask_name("01_label", {"01"}) and is_mask_name("label_01", {"01"})
    assert is_mask_name("01_mask", set()) and is_mask_name("01_gt", set())


def test_a_file_sounds_defective_unless_its_name_is_hexadecimal() -> None:
    assert sounds_defective("NG_012") and sounds_defective("part-7-defect")
    assert not any(map(sounds_defective, ["3def9a", "bad12f", "ok_012", "no_defect_3", "0123"]))
