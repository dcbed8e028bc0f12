"""Confidence intervals of metrics: percentile bootstrap over the pictures of the test split.

A replicate draws as many good and as many defective pictures as there are, with replacement, and computes
every metric again. A metric that is perfect on every picture gets an interval of width 0.
"""

import numpy as np

from .metrics import PixelMetrics, area_under_pro, ranking_metrics

REPLICATES = 1000
COVERAGE = 0.95
CHUNK = 25  # replicates at a time; the histograms of one take 100 kB

Interval = tuple[float, float]


def resampled(labels: np.ndarray, replicates: int = REPLICATES, seed: int = 0) -> np.ndarray:
    """Return [R,N] int, how often a replicate draws each picture; the number of each label stays the same."""
    generator = np.random.default_rng(seed)
    counts = np.zeros((replicates, len(labels)), dtype=np.int64)
    for label in np.unique(labels):
        chosen = np.flatnonzero(labels == label)
        alike = np.full(len(chosen), 1 / len(chosen))
        counts[:, chosen] = generator.multinomial(len(chosen), alike, replicates)
    return counts


def image_intervals(labels: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> dict[str, Interval]:
    """Return the 95 % intervals of `image_metrics`.

    Args:
        labels: [N] in {0, 1}, both present.
        scores: [N].
        counts: [R,N] from `resampled`.
    """
    _, place = np.unique(-scores, return_inverse=True)  # equal scores share a place, the highest first
    positives, negatives = (
        _sum_by_place(counts[:, labels == label], place[labels == label], place.max() + 1) for label in (1, 0)
    )
    found = ranking_metrics(positives, negatives)
    return {f"image_{name}": percentile_interval(values) for name, values in found.items()}


def pixel_intervals(pixels: PixelMetrics, counts: np.ndarray) -> dict[str, Interval]:
    """Return the 95 % intervals of `PixelMetrics.compute`.

    Args:
        pixels: N pictures.
        counts: [R,N] from `resampled`, for the same pictures.
    """
    rows = np.stack(pixels.rows)[..., ::-1]  # [N,3,B], the highest value first
    regions = np.array(pixels.regions)
    # Coarse bins shift a metric by about the same amount in every replicate: correct the shift.
    all_once = _coarse(rows.sum(axis=0)[None], regions.sum()[None])
    shift = {name: value - all_once[name][0] for name, value in pixels.compute().items()}
    flat = np.ascontiguousarray(rows).reshape(len(rows), -1)
    drawn = []
    for chunk in np.array_split(counts, max(1, len(counts) // CHUNK)):
        totals = (chunk.astype(np.float32) @ flat).reshape(len(chunk), *rows.shape[1:])  # [R,3,B]
        possible = totals[:, :2].any(axis=2).all(axis=1)  # a replicate may lack masked pictures
        drawn.append(_coarse(totals[possible], (chunk @ regions)[possible]))
    return {
        name: percentile_interval(np.concatenate([d[name] for d in drawn]) + shift[name]) for name in shift
    }


def _coarse(totals: np.ndarray, regions: np.ndarray) -> dict[str, np.ndarray]:
    """Return pixel metrics, [R] each, of [R,3,B] histograms and [R] numbers of regions."""
    normal, anomalous, overlap = totals.transpose(1, 0, 2)
    found = ranking_metrics(anomalous, normal)
    aupro = [area_under_pro(*row) for row in zip(overlap, normal, regions, strict=True)]
    return {**{f"pixel_{name}": values for name, values in found.items()}, "aupro": np.array(aupro)}


def _sum_by_place(counts: np.ndarray, place: np.ndarray, places: int) -> np.ndarray:
    """Add up the columns of [R,M] that share a place, giving [R,places]."""
    total = np.zeros((places, len(counts)), dtype=counts.dtype)
    np.add.at(total, place, counts.T)
    return total.T


def percentile_interval(values: np.ndarray) -> Interval:
    """Return the 95 % interval of a metric from its replicates [R]."""
    tail = 100 * (1 - COVERAGE) / 2
    low, high = np.percentile(values.clip(0, 1), [tail, 100 - tail])
    return float(low), float(high)
