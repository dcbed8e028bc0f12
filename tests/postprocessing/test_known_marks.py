"""Marks that good parts carry: known again under other light and a little elsewhere, and off the map."""

import dataclasses

import numpy as np
import pytest
import torch
from test_pipeline import assert_same

import diffusionad.pipeline as pipeline_module
from diffusionad import DiffusionADOutput, DiffusionADPipeline, calibrate
from diffusionad.inspection.results import verdicts_of
from diffusionad.postprocessing.known_marks import (
    CELLS,
    KnownMark,
    cell_size,
    fade,
    find_peaks,
    rests,
    signatures,
)
from diffusionad.ui.serving.request_batching import PER_PICTURE

SIZE = 128  # what the networks see at once


def bumps(heights: dict[tuple[int, int], float], size: tuple[int, int] = (200, 160)) -> np.ndarray:
    """A map with a hill at each (row, column)."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    hills = [h * np.exp(-((rows - r) ** 2 + (columns - c) ** 2) / 18) for (r, c), h in heights.items()]
    return np.max(hills, axis=0).astype(np.float32)


def stain(row: int, column: int, seed: int = 0, contrast: float = 0.1) -> np.ndarray:
    """A deviation: a blurred pattern of its own around (row, column)."""
    pattern = np.random.default_rng(seed).normal(size=(50, 50))
    pattern = torch.nn.functional.avg_pool2d(torch.tensor(pattern)[None], 5, 1, 2)[0].numpy()
    deviation = np.zeros((200, 160))
    deviation[row - 25 : row + 25, column - 25 : column + 25] = contrast * pattern
    return deviation.astype(np.float32)


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    return float((one @ other.T).max())


def test_peaks_are_local_maxima_the_highest_first():
    anomaly_map = bumps({(50, 40): 0.4, (120, 100): 0.9, (10, 150): 0.04, (199, 0): 0.6})
    found = [(120, 100), (199, 0), (50, 40)]
    assert find_peaks(anomaly_map, SIZE) == found
    assert find_peaks(anomaly_map, SIZE, minimum=0.02) == [*found, (10, 150)]


def test_a_square_has_twenty_peaks_and_a_larger_map_more():
    heights = {(20 * i + 9, 20 * j + 9): 0.1 + 0.01 * i + 0.001 * j for i in range(6) for j in range(6)}
    peaks = find_peaks(bumps(heights, (SIZE, SIZE)), SIZE)
    assert len(peaks) == 20
    assert peaks[0] == (109, 109) and (9, 9) not in peaks
    assert len(find_peaks(bumps(heights, (SIZE, 2 * SIZE)), SIZE)) == 36


def test_a_plateau_is_not_all_peaks():
    anomaly_map = bumps({(120, 100): 0.9})
    anomaly_map[20:32, 20:40] = 1.0
    peaks = find_peaks(anomaly_map, SIZE)
    assert (120, 100) in peaks and 1 < len(peaks) < 20


def test_an_empty_map_has_no_peak():
    assert find_peaks(np.zeros((SIZE, SIZE), np.float32), SIZE) == []


def test_a_mark_is_known_again_elsewhere_and_under_other_light():
    [mark] = signatures(stain(60, 60), [(60, 60)], SIZE)
    assert np.linalg.norm(mark) == pytest.approx(1, abs=1e-5)
    again = stain(103, 71, contrast=0.03) + np.float32(0.2)
    assert similarity(signatures(again, [(103, 71)], SIZE)[0], mark) > 0.999
    beside = [(101, 73)]  # the peak lies elsewhere on the same mark
    assert similarity(signatures(again, beside, SIZE)[0], mark) < 0.8
    assert similarity(signatures(again, beside, SIZE, shifted=True)[0], mark) > 0.999
    assert similarity(signatures(stain(60, 60, seed=1), [(60, 60)], SIZE, shifted=True)[0], mark) < 0.6


def test_what_is_below_a_grey_level_looks_like_nothing():
    [faint] = signatures(stain(60, 60, contrast=1e-5), [(60, 60)], SIZE)
    assert np.linalg.norm(faint) < 0.05
    assert signatures(np.zeros((SIZE, SIZE)), [(0, 0)], SIZE).any() == np.False_


def test_marks_at_the_frame_have_a_look_too():
    found = signatures(stain(100, 80), [(0, 0), (199, 159)], SIZE, shifted=True)
    assert found.shape == (2, 25, CELLS**2) and np.isfinite(found).all()


def test_fading_is_local_and_gradual():
    anomaly_map = bumps({(50, 40): 0.4, (120, 100): 0.9})
    peaks = [(120, 100), (50, 40)]
    radius = round(4.5 * cell_size(SIZE))
    known = fade(anomaly_map, peaks, rests(np.array([0.9, 0.2]), 0.85), SIZE)
    assert known[120, 100] == 0 and known[120 + radius - 1, 100] == 0
    np.testing.assert_array_equal(known[:100], anomaly_map[:100])
    half = fade(anomaly_map, peaks, rests(np.array([0.8, 0.2]), 0.85), SIZE)
    assert half[120, 100] == pytest.approx(0.45)
    for similarities, limit in (([0.75, 0.2], 0.85), ([1.0, 1.0], 1)):
        same = fade(anomaly_map, peaks, rests(np.array(similarities), limit), SIZE)
        np.testing.assert_array_equal(same, anomaly_map)


def test_a_defect_beside_a_known_mark_stays():
    anomaly_map = bumps({(60, 60): 0.9, (60, 70): 0.8})
    faded = fade(anomaly_map, [(60, 60), (60, 70)], np.array([0.0, 1.0]), SIZE)
    assert faded[60, 60] == 0 and faded[60, 70] == anomaly_map[60, 70]
    np.testing.assert_array_equal(faded[50:71, 66:76], anomaly_map[50:71, 66:76])


# In the pipeline


def test_what_it_has_learned_raises_no_alarm_again(fresh_pipeline, make_pictures, tmp_path):
    good, other = make_pictures(2, side=64)
    before, other_before = fresh_pipeline(good), fresh_pipeline(other)
    assert before.known_marks == [[]]
    fresh_pipeline.configure(calibration=calibrate([0.1, 0.2, 0.3]))
    added = fresh_pipeline.learn_marks(good)
    assert added == fresh_pipeline.segmenter.config.known_marks > 0
    assert fresh_pipeline.config.calibration is None

    after = fresh_pipeline(good)
    assert after.score[0] < before.score[0]
    peak = max(after.known_marks[0], key=lambda mark: mark.peak)
    assert isinstance(peak, KnownMark) and peak.similarity > 0.999 and peak.rest == 0
    x, y = peak.position
    assert before.anomaly_map[0][y, x] == pytest.approx(peak.peak, abs=1e-6)
    assert after.anomaly_map[0][y, x] == 0
    assert (after.anomaly_map[0] <= before.anomaly_map[0]).all()
    assert_same(
        fresh_pipeline([good, other], mark_similarity=1), fresh_pipeline([good, other], mark_similarity=1.0)
    )
    assert_same(fresh_pipeline(good, mark_similarity=1), before)
    assert fresh_pipeline(other).score[0] > 0.9 * other_before.score[0]


def test_marks_are_saved_with_the_model_in_any_precision(fresh_pipeline, make_pictures, tmp_path):
    pictures = make_pictures(3, side=64)
    fresh_pipeline.learn_marks(pictures[:2])
    fresh_pipeline.save_pretrained(tmp_path)
    again = DiffusionADPipeline.from_pretrained(tmp_path)
    expected = fresh_pipeline(pictures)
    assert_same(again(pictures), expected)
    assert again(pictures).known_marks == expected.known_marks
    half = DiffusionADPipeline.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert torch.equal(half.segmenter.marks, fresh_pipeline.segmenter.marks)


def test_a_picture_of_another_size_is_compared_at_the_models(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=150)
    before = fresh_pipeline(picture)
    fresh_pipeline.learn_marks([picture])
    after = fresh_pipeline(picture)
    assert after.score[0] < before.score[0]
    for mark in after.known_marks[0]:
        assert 0 <= mark.position[0] < 150 and 0 <= mark.position[1] < 150


def test_what_is_known_is_not_learned_again(fresh_pipeline, make_pictures):
    pictures = make_pictures(2, side=64)
    assert fresh_pipeline.learn_marks(pictures[0]) > 0
    assert fresh_pipeline.learn_marks(pictures[0]) == 0
    assert fresh_pipeline.learn_marks(pictures) > 0
    assert fresh_pipeline.learn_marks(pictures) == 0


def test_other_looks_of_a_known_mark_are_learned(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=64)
    fresh_pipeline.configure(num_noise_samples=2, mark_similarity=0)  # all is known that there is
    first = fresh_pipeline.learn_marks(picture, num_noise_samples=1)
    assert first > 0 and fresh_pipeline.learn_marks(picture, num_noise_samples=1) == 0
    fresh_pipeline.configure(seed=1)
    assert fresh_pipeline.learn_marks(picture, num_noise_samples=1) > 0


def test_fainter_marks_are_learned_than_are_looked_for(fresh_pipeline, make_pictures, monkeypatch):
    [picture] = make_pictures(1, side=64)
    highest = fresh_pipeline(picture).anomaly_map[0].max()
    monkeypatch.setattr(pipeline_module, "PEAK_MIN", highest)
    monkeypatch.setattr(pipeline_module, "LEARNT_MIN", highest)
    assert fresh_pipeline.learn_marks(picture) == 0
    monkeypatch.setattr(pipeline_module, "LEARNT_MIN", 0.8 * highest)
    assert fresh_pipeline.learn_marks(picture) > 0
    assert fresh_pipeline(picture).known_marks == [[]]


def test_only_the_place_that_is_looked_at_is_learned(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=64)
    corner = np.zeros((64, 64), bool)
    corner[-9:, :9] = True
    everywhere = fresh_pipeline(picture)
    in_the_corner = fresh_pipeline(picture, roi=corner)
    fresh_pipeline.configure(roi=corner)
    assert 0 < fresh_pipeline.learn_marks(picture) < 20
    assert fresh_pipeline(picture).score[0] < in_the_corner.score[0]
    assert fresh_pipeline(picture, roi=np.ones((64, 64), bool)).score[0] > 0.9 * everywhere.score[0]


def test_the_verdict_says_what_was_left_out(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=64)
    fresh_pipeline.learn_marks(picture)
    output = fresh_pipeline(picture)
    [verdict] = verdicts_of(output, None)
    assert verdict.marks_left_out == len(output.known_marks[0]) > 1
    assert verdict.details.endswith(f", {verdict.marks_left_out} known marks left out")
    [plain] = verdicts_of(fresh_pipeline(picture, mark_similarity=1), None)
    assert "mark" not in plain.details


@pytest.mark.parametrize("value", [-0.1, 1.1, "high", None])
def test_a_similarity_is_a_number_in_0_to_1(fresh_pipeline: DiffusionADPipeline, value: object) -> None:
    with pytest.raises(ValueError, match=r"`mark_similarity` is .*; give a number in 0\.\.1"):
        fresh_pipeline.configure(mark_similarity=value)


def test_a_segmenter_without_marks_says_so(fresh_pipeline: DiffusionADPipeline) -> None:
    with pytest.raises(ValueError, match="No mark is known"):
        fresh_pipeline.segmenter.similarity(torch.zeros(1, 1, CELLS**2))


def test_what_cannot_be_read_is_an_error_and_what_came_before_is_learned(fresh_pipeline, make_pictures):
    [picture] = make_pictures(1, side=64)
    fresh_pipeline.configure(calibration=calibrate([0.1, 0.2, 0.3]))
    with pytest.raises(ValueError, match=r"`image\[1\]` is a tensor"):
        fresh_pipeline.learn_marks([picture, torch.zeros(3, 3)])
    assert fresh_pipeline.config.calibration is not None  # found before the first
    with pytest.raises(FileNotFoundError):
        fresh_pipeline.learn_marks([picture, "nowhere.png"])
    assert fresh_pipeline.segmenter.config.known_marks > 0
    assert fresh_pipeline.config.calibration is None


def test_without_marks_the_similarity_leaves_a_calibration_alone(tiny_pipeline, make_pictures):
    assert tiny_pipeline.config.calibration is not None
    assert tiny_pipeline(make_pictures(1), mark_similarity=1).p_value is not None


def test_visitors_who_share_a_call_get_the_marks_of_their_own_picture():
    lists = {field.name for field in dataclasses.fields(DiffusionADOutput)}
    assert lists - set(PER_PICTURE) == {"threshold", "pixel_threshold", "timings"}
