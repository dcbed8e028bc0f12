"""Image AUROC for the right reason: at the defect."""

import numpy as np
import pytest

from training.evaluation.localisation import LocalisationAccumulator, dilate, warning

SIZE = 100


def blob(row: int, column: int, value: float = 0.9) -> np.ndarray:
    found = np.full((SIZE, SIZE), 0.01, np.float32)
    found[row : row + 8, column : column + 8] = value
    return found


def defect() -> np.ndarray:
    mask = np.zeros((SIZE, SIZE), bool)
    mask[20:28, 20:28] = True
    return mask


def test_maps_that_point_at_dust_have_no_localised_auroc():
    at_the_defect, at_dust = LocalisationAccumulator(), LocalisationAccumulator()
    for accumulator, place in ((at_the_defect, (20, 20)), (at_dust, (70, 70))):
        for _ in range(3):
            accumulator.add(blob(50, 50, 0.3), np.zeros((SIZE, SIZE), bool), 0, False)
            accumulator.add(blob(*place), defect(), 1, True)
    assert at_the_defect.compute() == {
        "pointing_accuracy": 1.0,
        "pointing_accuracy_found": 1.0,
        "localised_image_auroc": 1.0,
    }
    assert at_dust.compute() == {
        "pointing_accuracy": 0.0,
        "pointing_accuracy_found": 0.0,
        "localised_image_auroc": 0.0,
    }


def test_a_peak_just_beside_a_hand_drawn_mask_counts():
    near, far = LocalisationAccumulator(), LocalisationAccumulator()
    for accumulator, column in ((near, 29), (far, 32)):
        one_pixel = np.zeros((SIZE, SIZE), np.float32)
        one_pixel[24, column] = 1
        accumulator.add(one_pixel, defect(), 1, True)
    assert near.compute()["pointing_accuracy"] == 1 and far.compute()["pointing_accuracy"] == 0


def test_pointing_among_found_pictures_leaves_missed_ones_out():
    accumulator = LocalisationAccumulator()
    accumulator.add(blob(20, 20), defect(), 1, True)
    accumulator.add(blob(70, 70), defect(), 1, False)
    found = accumulator.compute()
    assert found["pointing_accuracy"] == 0.5 and found["pointing_accuracy_found"] == 1
    assert "localised_image_auroc" not in found


def test_a_defective_picture_without_a_mask_does_not_count():
    accumulator = LocalisationAccumulator()
    accumulator.add(blob(20, 20), np.zeros((SIZE, SIZE), bool), 1, True)
    assert accumulator.compute() == {}


def test_dilation_is_two_percent_of_the_shorter_side():
    mask = np.zeros((200, 400), bool)
    mask[100, 100] = True
    grown = dilate(mask)
    assert grown[104, 100] and not grown[105, 100] and grown[100, 96]


@pytest.mark.parametrize(
    "auroc, pointing, localised, warns",
    [(0.94, 0.05, 0.5, True), (0.94, 0.9, 0.93, False), (0.94, 0.9, 0.7, True), (0.6, 0.05, 0.5, False)],
)
def test_a_high_auroc_away_from_the_defects_is_a_warning(auroc, pointing, localised, warns):
    metrics = {
        "image_auroc": {"value": auroc},
        "pointing_accuracy": {"value": pointing},
        "localised_image_auroc": {"value": localised},
    }
    assert (warning(metrics) is not None) == warns


def test_without_masks_there_is_no_warning():
    assert warning({"image_auroc": {"value": 0.9}}) is None


def test_intervals_hold_the_values():
    accumulator, rng = LocalisationAccumulator(), np.random.default_rng(0)
    for i in range(30):
        accumulator.add(blob(50, 50, rng.uniform(0.1, 0.6)), np.zeros((SIZE, SIZE), bool), 0, False)
        place = (20, 20) if i % 3 else (70, 70)
        accumulator.add(blob(*place, rng.uniform(0.4, 0.9)), defect(), 1, True)
    values, intervals = accumulator.compute(), accumulator.intervals(200)
    assert set(intervals) == {"pointing_accuracy", "localised_image_auroc"}
    assert all(low < values[name] < high for name, (low, high) in intervals.items())
