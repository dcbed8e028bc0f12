"""Connected anomalous regions of a map."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

# Crumbs of one defect: pieces no further apart than twice this share of the longer side are one region.
REACH = 1 / 128
# A region below this share of the picture is a speck, 4 pixels of 256 x 256, and left out beside larger ones.
SPECK = 1 / 20_000


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


def find_defects(
    anomaly_map: np.ndarray, pixel_threshold: float, min_area: int = 0, defective_at: float | None = None
) -> tuple[np.ndarray, list[Region]]:
    """Return what a person would call the defects of a map: crumbs are joined, specks left out.

    Args:
        anomaly_map: [H,W] in [0, 1].
        pixel_threshold: pixels above belong to a region, in [0, 1].
        min_area: regions with fewer pixels are dropped; 0 drops specks, but never the region with the highest
            peak.
        defective_at: score of a picture that is defective. Where nothing is above the threshold, the pixels
            that reach it, or the highest one, are its place: a defective verdict has one, unless `min_area`
            drops it.

    Returns:
        The mask of the regions, [H,W] bool, and the regions, highest peak first.
    """
    mask = anomaly_map > pixel_threshold
    if defective_at is not None and not mask.any():
        mask = anomaly_map >= min(defective_at, anomaly_map.max())
    reach = round(REACH * max(mask.shape))
    if min_area:
        return find_regions(anomaly_map, mask, min_area, reach)
    kept, regions = find_regions(anomaly_map, mask, round(SPECK * mask.size), reach)
    if mask.any() and not (kept & (anomaly_map == anomaly_map.max())).any():
        _, all_regions = find_regions(anomaly_map, mask, 0, reach)
        return find_regions(anomaly_map, mask, all_regions[0].area, reach)
    return kept, regions


def find_regions(
    anomaly_map: np.ndarray, mask: np.ndarray, min_area: int = 0, reach: int = 0
) -> tuple[np.ndarray, list[Region]]:
    """Connected regions (8-neighbours) of a mask, the highest peak first.

    Args:
        anomaly_map: [H,W] in [0, 1].
        mask: [H,W] bool.
        min_area: regions with fewer pixels are dropped.
        reach: pieces whose distance is at most twice this are one region, pixels.

    Returns:
        The mask without the dropped regions, [H,W] bool, and the regions that remain.
    """
    near = ndimage.maximum_filter(mask, 2 * reach + 1) if reach else mask
    labels, count = ndimage.label(near, structure=np.ones((3, 3)))
    labels *= mask
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
