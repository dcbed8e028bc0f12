"""The bootstrap behind the 95 % intervals."""

import numpy as np
import pytest

from training.evaluation.bootstrap import image_intervals, pixel_intervals, resampled
from training.evaluation.metrics import PixelMetrics, image_metrics


def test_resampling_keeps_the_number_of_good_and_of_defective_pictures() -> None:
    labels = np.array([0] * 7 + [1] * 3)
    counts = resampled(labels, 200)
    assert (counts[:, :7].sum(axis=1) == 7).all() and (counts[:, 7:].sum(axis=1) == 3).all()
    assert counts.max() > 1 and (resampled(labels, 200) == counts).all()
    assert (resampled(labels, 200, seed=1) != counts).any()


def test_a_replicate_is_the_metric_of_the_pictures_drawn() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0] * 12 + [1] * 9)
    scores = np.round(rng.random(21) + 0.3 * labels, 1)  # with ties
    counts = resampled(labels, 1)
    low, high = image_intervals(labels, scores, counts)["image_auroc"]
    drawn = np.repeat(np.arange(21), counts[0])
    assert low == high == pytest.approx(image_metrics(labels[drawn], scores[drawn])["image_auroc"], abs=1e-12)


def test_95_percent_intervals_hold_the_truth_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [60, 60])
    truth = 0.5 + 1 / 4  # AUROC of U(0, 1) against U(0, 1) + 0.293: 1 - (1 - d)^2 / 2
    shift = 1 - (2 * (1 - truth)) ** 0.5
    held = 0
    for i in range(200):
        scores = rng.random(120) + shift * labels
        low, high = image_intervals(labels, scores, resampled(labels, 300, seed=i))["image_auroc"]
        held += low <= truth <= high
    assert 180 <= held <= 199


def test_pixel_intervals_hold_the_value_and_shrink_with_more_pictures() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for n in (16, 256):
        pixels, labels = PixelMetrics(), np.arange(n) % 2
        for label in labels:
            mask = np.zeros((24, 24), bool)
            mask[4:9, 3:8] = bool(label)
            anomaly_map = rng.random((24, 24)) * 0.6 + mask * rng.random() * 0.5
            pixels.add(anomaly_map.clip(0, 1).astype(np.float32), mask)
        values = pixels.compute()
        found = pixel_intervals(pixels, resampled(labels, 200))
        assert set(found) == set(values)
        for name, (low, high) in found.items():
            assert 0 <= low < values[name] < high <= 1
        widths.append({name: high - low for name, (low, high) in found.items()})
    assert all(widths[1][name] < 0.7 * widths[0][name] for name in widths[0])


def test_pixel_replicates_are_the_metrics_of_the_pictures_drawn() -> None:
    rng = np.random.default_rng(1)
    maps = rng.random((6, 20, 20)).astype(np.float32)
    masks = np.zeros((6, 20, 20), bool)
    masks[3:, 5:9, 5:9] = True
    maps[3:, 5:9, 5:9] = 0.5 + maps[3:, 5:9, 5:9] / 2
    pixels, drawn = PixelMetrics(), PixelMetrics()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        pixels.add(anomaly_map, mask)
    counts = resampled(np.array([0, 0, 0, 1, 1, 1]), 1, seed=3)
    for i in np.repeat(np.arange(6), counts[0]):
        drawn.add(maps[i], masks[i])
    found = pixel_intervals(pixels, counts)
    for name, value in drawn.compute().items():
        assert found[name][0] == pytest.approx(value, abs=3e-3), name
