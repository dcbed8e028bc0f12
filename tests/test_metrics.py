"""Metrics against scikit-learn and against cases worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from training.metrics import PixelMetrics, image_metrics


def smooth_maps(n: int, seed: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for _ in range(n):
        shape = tuple(rng.integers(40, 80, 2))
        mask = np.zeros(shape, bool)
        y, x = rng.integers(5, 30, 2)
        mask[y : y + 8, x : x + 6] = rng.random() < 0.7
        noise = rng.random(shape) ** 2
        maps.append(np.clip(0.6 * noise + 0.3 * mask * rng.random(), 0, 1).astype(np.float32))
        masks.append(mask)
    return maps, masks


def test_pixel_metrics_agree_with_scikit_learn() -> None:
    maps, masks = smooth_maps(20, seed=0)
    pixels = PixelMetrics()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        pixels.add(anomaly_map, mask)
    found = pixels.compute()
    values, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-4)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth, values), abs=1e-4)


def test_aupro_of_a_perfect_map_is_one_and_of_a_constant_map_is_the_diagonal() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = mask[10:12, 10:18] = True
    perfect, constant = PixelMetrics(), PixelMetrics()
    perfect.add(mask.astype(np.float32), mask)
    constant.add(np.full(mask.shape, 0.5, np.float32), mask)
    assert perfect.compute()["aupro"] == pytest.approx(1)
    assert constant.compute()["aupro"] == pytest.approx(0.15)  # mean of 0..0.3


def test_aupro_counts_every_region_alike_whatever_its_size() -> None:
    mask = np.zeros((40, 40), bool)
    mask[0:20, 0:20] = True
    mask[30:32, 30:32] = True
    anomaly_map = np.zeros(mask.shape, np.float32)
    anomaly_map[0:20, 0:20] = (
        0.9  # the large one is found before any false alarm, the small one with all of them
    )
    pixels = PixelMetrics()
    pixels.add(anomaly_map, mask)
    # From (0, 0.5), straight to (1, 1): at the limit of 0.3 it is 0.65.
    assert pixels.compute()["aupro"] == pytest.approx((0.5 + 0.65) / 2)


def test_metrics_that_are_undefined_are_absent() -> None:
    assert image_metrics(np.zeros(3), np.arange(3)) == {}
    pixels = PixelMetrics()
    pixels.add(np.zeros((4, 4), np.float32), np.zeros((4, 4), bool))
    assert pixels.compute() == {}


def test_image_metrics_of_a_perfect_ranking() -> None:
    assert image_metrics(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.3])) == {
        "image_auroc": 1.0,
        "image_ap": 1.0,
    }
