"""Metrics against scikit-learn, against adeval's copy of MVTec's own evaluation, and by hand."""

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from adeval.au_pro import calculate_au_pro
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from diffusionad import DiffusionADPipeline, demo_model
from training.benchmarks import metrics_cost
from training.demo.render import DEFECTS, render
from training.evaluation.metrics import (
    BINS,
    PixelMetrics,
    area_under_pro,
    image_metrics,
    logit_bins,
    ranking_metrics,
)


def smooth_maps(n: int, seed: int, power: float = 2) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Maps of different sizes; the higher `power`, the closer to 0 most of their pixels."""
    rng = np.random.default_rng(seed)
    maps, masks = [], []
    for i in range(n):
        # The independent implementation makes room for as many pixels as the first map has.
        shape = (80, 80) if i == 0 else tuple(rng.integers(40, 80, 2))
        mask = np.zeros(shape, bool)
        for _ in range(rng.integers(0, 3)):
            y, x, h, w = *rng.integers(0, 30, 2), *rng.integers(1, 9, 2)
            mask[y : y + h, x : x + w] = True
        values = 0.6 * rng.random(shape) + 0.4 * mask * rng.random()
        maps.append(np.clip(values**power, 0, 1).astype(np.float32))
        masks.append(mask)
    return maps, masks


def accumulated(maps: list[np.ndarray], masks: list[np.ndarray]) -> PixelMetrics:
    pixels = PixelMetrics()
    for anomaly_map, mask in zip(maps, masks, strict=True):
        pixels.add(anomaly_map, mask)
    return pixels


@pytest.mark.parametrize("power", [1, 2, 6])
def test_pixel_metrics_agree_with_scikit_learn(power: float) -> None:
    maps, masks = smooth_maps(20, seed=0, power=power)
    found = accumulated(maps, masks).compute()
    values, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    precision, recall, _ = precision_recall_curve(truth, values)
    f1 = (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-4)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth, values), abs=1e-4)
    assert found["pixel_f1_max"] == pytest.approx(f1, abs=1e-4)


def test_bins_keep_the_order_close_to_0_and_close_to_1() -> None:
    exponents = np.linspace(-6, -0.31, 2000)
    values = np.concatenate([10**exponents, 1 - 10 ** exponents[::-1]]).astype(np.float32)
    bins = logit_bins(values[None])[0]
    assert (np.diff(bins) >= 0).all() and len(np.unique(bins)) > 0.9 * len(np.unique(values))
    assert logit_bins(np.array([[0.0, 1.0]])).tolist()[0][0] == 0
    assert bins.max() < logit_bins(np.array([[1.0]])).item() < BINS


@pytest.mark.parametrize("seed", range(4))
def test_aupro_agrees_with_an_independent_implementation(seed: int) -> None:
    maps, masks = smooth_maps(12, seed=seed)
    theirs, _ = calculate_au_pro(masks, maps, integration_limit=0.3, num_thresholds=5000)
    assert accumulated(maps, masks).compute()["aupro"] == pytest.approx(theirs, abs=1e-3)


def test_metrics_of_real_maps_agree_with_both() -> None:
    samples = [
        render("fabric", "test", 5000 + i, seed=0, defect=d) for i, d in enumerate([None, *DEFECTS["fabric"]])
    ]
    pipeline = DiffusionADPipeline.from_pretrained(demo_model("fabric"))
    pipeline.set_progress_bar_config(disable=True)
    maps = list(pipeline([sample.image for sample in samples]).anomaly_map)
    masks = [sample.mask > 0 for sample in samples]
    found = accumulated(maps, masks).compute()
    theirs, _ = calculate_au_pro(masks, maps, integration_limit=0.3, num_thresholds=5000)
    values, truth = np.concatenate([m.ravel() for m in maps]), np.concatenate([m.ravel() for m in masks])
    assert found["aupro"] == pytest.approx(theirs, abs=1e-3)
    assert found["pixel_auroc"] == pytest.approx(roc_auc_score(truth, values), abs=1e-4)
    assert found["pixel_ap"] == pytest.approx(average_precision_score(truth, values), abs=1e-4)


def test_aupro_of_a_perfect_map_is_one_and_of_a_constant_map_is_the_diagonal() -> None:
    mask = np.zeros((20, 20), bool)
    mask[2:6, 2:6] = mask[10:12, 10:18] = True
    perfect = accumulated([mask.astype(np.float32)], [mask])
    constant = accumulated([np.full(mask.shape, 0.5, np.float32)], [mask])
    assert perfect.compute()["aupro"] == 1
    assert constant.compute()["aupro"] == pytest.approx(0.15, abs=1e-12)  # mean of 0..0.3


def test_aupro_counts_every_region_alike_whatever_its_size() -> None:
    mask = np.zeros((40, 40), bool)
    mask[0:20, 0:20] = True
    mask[30:32, 30:32] = True
    anomaly_map = np.zeros(mask.shape, np.float32)
    # The large one is found before any false alarm, the small one with all of them.
    anomaly_map[0:20, 0:20] = 0.9
    # From (0, 0.5), straight to (1, 1): at the limit of 0.3 it is 0.65.
    found = accumulated([anomaly_map], [mask]).compute()["aupro"]
    assert found == pytest.approx((0.5 + 0.65) / 2, abs=1e-12)


def test_aupro_is_interpolated_at_the_limit_exactly() -> None:
    # Two regions of 4 and 1 pixels, 10 good pixels. By falling value: 2 pixels of the first region, 2 good
    # ones, the second region, 4 good ones, the rest.
    overlap = np.array([Fraction(2, 4), 0, 1, 0, Fraction(2, 4)], dtype=float)
    negatives = np.array([0, 2, 0, 4, 4])
    # PRO: 1/4 up to FPR 0.2, there it jumps to 3/4, stays up to 0.6; the limit 0.3 lies on that.
    assert area_under_pro(overlap, negatives, 2) == pytest.approx((0.25 * 0.2 + 0.75 * 0.1) / 0.3, abs=1e-15)
    assert area_under_pro(overlap, negatives, 2, 0.1) == pytest.approx(0.25, abs=1e-15)
    # From (0.6, 3/4) to (1, 1) in a straight line.
    whole = 0.25 * 0.2 + 0.75 * 0.4 + 0.4 * 0.875
    assert area_under_pro(overlap, negatives, 2, 1.0) == pytest.approx(whole, abs=1e-15)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.zeros((8, 8), bool)
    mask[0, 0] = mask[1, 1] = True  # one region
    mask[5, 2] = mask[5, 4] = True  # two regions, a pixel apart
    assert accumulated([mask.astype(np.float32)], [mask]).regions == [3]


def test_overlaps_never_exceed_one() -> None:
    rng = np.random.default_rng(0)
    mask = np.kron(rng.random((30, 30)) < 0.2, np.ones((7, 7))).astype(bool)
    found = accumulated([mask * np.float32(0.9) + np.float32(0.05)], [mask]).compute()
    assert found["aupro"] <= 1


def test_pixel_metrics_that_are_undefined_are_absent() -> None:
    assert accumulated([np.zeros((4, 4), np.float32)], [np.zeros((4, 4), bool)]).compute() == {}
    assert accumulated([np.zeros((4, 4), np.float32)], [np.ones((4, 4), bool)]).compute() == {}
    assert image_metrics(np.zeros(3), np.arange(3)) == {}


def test_a_map_with_nan_or_of_another_size_is_refused() -> None:
    mask = np.zeros((4, 4), bool)
    with pytest.raises(ValueError, match=r"`anomaly_map` has values outside 0\.\.1 or NaN"):
        PixelMetrics().add(np.full((4, 4), np.nan, np.float32), mask)
    with pytest.raises(ValueError, match=r"`mask` has shape \(4, 4\), `anomaly_map` \(5, 4\)"):
        PixelMetrics().add(np.zeros((5, 4), np.float32), mask)


def test_image_metrics_by_hand() -> None:
    perfect = image_metrics(np.array([0, 0, 1]), np.array([0.1, 0.2, 0.3]))
    assert perfect == {"image_auroc": 1.0, "image_ap": 1.0, "image_f1_max": 1.0}
    mixed = image_metrics(np.array([1, 0, 1, 0]), np.array([0.9, 0.8, 0.7, 0.1]))
    # Three of four pairs in order; precision 1 and 2/3 at the two positives; F1 0.8 with three marked.
    assert mixed == pytest.approx({"image_auroc": 0.75, "image_ap": 5 / 6, "image_f1_max": 0.8})


def test_scores_with_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="`scores` has 1 NaN or infinite"):
        image_metrics(np.array([0, 1]), np.array([0.5, np.nan]))


def test_rankings_from_counts_agree_with_scikit_learn_to_the_last_digit() -> None:
    rng = np.random.default_rng(0)
    positives, negatives = rng.integers(0, 4, (2, 3, 30))
    labels = [np.repeat([1, 0], [p.sum(), n.sum()]) for p, n in zip(positives, negatives, strict=True)]
    places = np.arange(30, 0, -1)
    scores = [
        np.concatenate([np.repeat(places, p), np.repeat(places, n)])
        for p, n in zip(positives, negatives, strict=True)
    ]
    found = ranking_metrics(positives, negatives)
    for i in range(3):
        expected = image_metrics(labels[i], scores[i])
        ours = {f"image_{name}": values[i] for name, values in found.items()}
        assert ours == pytest.approx(expected, abs=1e-12)


def test_the_command_writes_what_the_pixel_metrics_take(tmp_path: Path) -> None:
    metrics_cost.main(["--maps", "4", "--side", "64", "--output", str(tmp_path / "cost.json")])
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert cost["maps"] == 4 and 0 < cost["metrics"]["aupro"] < 1
    assert 0 < cost["cpu_seconds"] < cost["cpu_seconds_with_intervals"]
    assert cost["peak_memory_gb"] > 0.01


@pytest.mark.slow
def test_500_maps_of_a_megapixel_take_two_minutes_and_four_gigabytes_at_most(tmp_path: Path) -> None:
    start = [
        sys.executable,
        "-m",
        "training.benchmarks.metrics_cost",
        "--output",
        str(tmp_path / "cost.json"),
    ]
    subprocess.run(start, check=True)
    cost = json.loads((tmp_path / "cost.json").read_text())
    assert (cost["maps"], cost["side"]) == (500, 1024)
    assert cost["peak_memory_gb"] < 4
    assert (
        cost["cpu_seconds_with_intervals"] < 120
    )  # on one core; a busy machine stretches seconds on the clock
