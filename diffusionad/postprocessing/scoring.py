"""From an anomaly map to an image score, a mask and regions. NumPy only."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Region:
    """One connected anomalous region, in pixels of the inspected picture.

    Attributes:
        box: (left, top, right, bottom); right and bottom are exclusive.
        area: number of pixels.
        centroid: (x, y), mean pixel position.
        peak: largest value of the anomaly map inside, in [0, 1].
        peak_position: (x, y) of that value.
    """

    box: tuple[int, int, int, int]
    area: int
    centroid: tuple[float, float]
    peak: float
    peak_position: tuple[int, int]


def top_mean(
    anomaly_map: np.ndarray, top_fraction: float, inside: np.ndarray | None = None, area: int | None = None
) -> float:
    """Mean of the largest values of a map; DiffusionAD, image score (paper: the 50 largest of 256 x 256).

    Args:
        anomaly_map: [H,W] map at the size that the model sees, in [0, 1].
        top_fraction: share of `area` that counts, in (0, 1]; at least one pixel does.
        inside: [H,W] bool, where to look; None is everywhere.
        area: pixels that the networks see at once; None is all of the map. A defect must not count less
            because there is more around it.

    Returns:
        Score in [0, 1].
    """
    values = anomaly_map.ravel() if inside is None else anomaly_map[inside]
    k = min(max(1, round(top_fraction * (area or anomaly_map.size))), values.size)
    # Sorted, so that the sum does not depend on the order that partition leaves behind.
    largest = np.sort(np.partition(values, values.size - k)[values.size - k :])
    return float(largest.mean(dtype=np.float64))


def border_mask(size: tuple[int, int], ignore_border: int) -> np.ndarray:
    """[H,W] bool for a `size` of (H, W), False within `ignore_border` pixels of the edge."""
    inside = np.ones(size, dtype=bool)
    if ignore_border:
        inside[:] = False
        inside[ignore_border:-ignore_border, ignore_border:-ignore_border] = True
    return inside


def find_regions(
    anomaly_map: np.ndarray, mask: np.ndarray, min_area: int = 0
) -> tuple[np.ndarray, list[Region]]:
    """Connected regions (8-neighbours) of a mask, the highest peak first.

    Args:
        anomaly_map: [H,W] in [0, 1].
        mask: [H,W] bool.
        min_area: regions with fewer pixels are dropped.

    Returns:
        The mask without the dropped regions, [H,W] bool, and the regions that remain.
    """
    labels, count = _label_components(mask)
    if count == 0:
        return mask.copy(), []
    ys, xs = np.nonzero(labels)
    owner = labels[ys, xs]
    area = np.bincount(owner, minlength=count + 1)
    kept = area >= max(min_area, 1)

    # Pixels of the kept regions, region by region.
    ys, xs, owner = (values[kept[owner]] for values in (ys, xs, owner))
    order = np.argsort(owner, kind="stable")
    ys, xs, owner = ys[order], xs[order], owner[order]
    if len(owner) == 0:
        return np.zeros_like(mask), []
    starts = np.flatnonzero(np.diff(owner, prepend=0))
    areas = area[owner[starts]]
    values = anomaly_map[ys, xs]
    peaks = np.maximum.reduceat(values, starts)
    # The first pixel of each region that reaches its peak.
    at_peak = np.flatnonzero(values == np.repeat(peaks, areas))
    tops = at_peak[np.searchsorted(at_peak, starts)]
    columns = zip(
        np.minimum.reduceat(xs, starts).tolist(),
        np.minimum.reduceat(ys, starts).tolist(),
        (np.maximum.reduceat(xs, starts) + 1).tolist(),
        (np.maximum.reduceat(ys, starts) + 1).tolist(),
        areas.tolist(),
        (np.add.reduceat(xs, starts) / areas).tolist(),
        (np.add.reduceat(ys, starts) / areas).tolist(),
        peaks.tolist(),
        xs[tops].tolist(),
        ys[tops].tolist(),
        strict=True,
    )
    regions = [
        Region((left, top, right, bottom), n, (x, y), peak, (peak_x, peak_y))
        for left, top, right, bottom, n, x, y, peak, peak_x, peak_y in columns
    ]
    regions.sort(key=lambda region: (-region.peak, -region.area, region.box))
    return kept[labels] & mask, regions


def _label_components(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """8-connected labels 1..count of a mask: runs of each row are joined to touching runs of the row above.

    Union-find over runs rather than pixels; SciPy would do it, but the exported model runs on NumPy alone.
    """
    labels = np.zeros(mask.shape, dtype=np.int32)
    edges = np.diff(np.pad(mask.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    start_y, start_x = np.nonzero(edges == 1)
    end_x = np.nonzero(edges == -1)[1]  # exclusive
    parent = list(range(len(start_y)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first_of_row = np.searchsorted(start_y, np.arange(mask.shape[0] + 1)).tolist()
    starts, ends = start_x.tolist(), end_x.tolist()
    for y in range(1, mask.shape[0]):
        above, above_end = first_of_row[y - 1], first_of_row[y]
        for run in range(first_of_row[y], first_of_row[y + 1]):
            while above < above_end and ends[above] < starts[run]:
                above += 1
            j = above
            while j < above_end and starts[j] <= ends[run]:
                a, b = root(j), root(run)
                parent[max(a, b)] = min(a, b)
                j += 1
    roots = [root(i) for i in range(len(parent))]
    numbers = {r: i + 1 for i, r in enumerate(dict.fromkeys(roots))}
    for run, r in enumerate(roots):
        labels[start_y[run], starts[run] : ends[run]] = numbers[r]
    return labels, len(numbers)


def encode_roi(roi: np.ndarray) -> dict:
    """A bool mask as uncompressed COCO run lengths (column-major, zeros first): fits into a JSON config."""
    flat = np.asarray(roi, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return {"size": list(roi.shape), "counts": ([0] if flat.size and flat[0] else []) + counts}


def decode_roi(rle: dict) -> np.ndarray:
    """The inverse of `encode_roi`: [H,W] bool."""
    values = np.arange(len(rle["counts"])) % 2 == 1
    return np.repeat(values, rle["counts"]).reshape(rle["size"], order="F")
