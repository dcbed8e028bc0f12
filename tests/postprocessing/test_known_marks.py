"""Marks that good parts carry: known again under other light and a little elsewhere, and off the map."""

import numpy as np
import pytest
import torch

from diffusionad.postprocessing.known_marks import (
    CELLS,
    cell_size,
    fade,
    find_peaks,
    remaining_fraction,
    signatures,
)

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
    known = fade(anomaly_map, peaks, remaining_fraction(np.array([0.9, 0.2]), 0.85), SIZE)
    assert known[120, 100] == 0 and known[120 + radius - 1, 100] == 0
    np.testing.assert_array_equal(known[:100], anomaly_map[:100])
    half = fade(anomaly_map, peaks, remaining_fraction(np.array([0.8, 0.2]), 0.85), SIZE)
    assert half[120, 100] == pytest.approx(0.45)
    same = fade(anomaly_map, peaks, remaining_fraction(np.array([0.75, 0.2]), 0.85), SIZE)
    np.testing.assert_array_equal(same, anomaly_map)


def test_a_defect_beside_a_known_mark_stays():
    anomaly_map = bumps({(60, 60): 0.9, (60, 70): 0.8})
    faded = fade(anomaly_map, [(60, 60), (60, 70)], np.array([0.0, 1.0]), SIZE)
    assert faded[60, 60] == 0 and faded[60, 70] == anomaly_map[60, 70]
    np.testing.assert_array_equal(faded[50:71, 66:76], anomaly_map[50:71, 66:76])
