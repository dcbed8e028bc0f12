"""Marks that good parts carry, such as stamps of a fixture: how they look, and how they fade from a map.

A stamp that looks as it did on a good part is no defect. The deviation, picture minus reconstruction, is
compared around a peak of the anomaly map: the part itself, which all pictures share, is gone there.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

CELLS = 15  # a mark is so many cells wide and high
SIGNATURE = CELLS * CELLS
CELLS_PER_PICTURE = 42  # of a side of what the networks see at once, so that a mark is about a third of it
FADE_RADIUS = 4.5  # cells around a peak in which a known mark is faded
PEAK_MIN = 0.05  # of the map; what is lower is not compared with marks
LEARNT_MIN = 0.02  # of the map on good parts: what is faint in this light may be plain in the next
PEAKS_MAX = 20  # for each square that the networks see
FADE_WIDTH = 0.1  # of similarity, over which a mark becomes a known one
CONTRAST_MIN = 1 / 255  # standard deviation below which a deviation is rounding, not a look
SAME_VIEW_MIN = 0.99  # correlation from which two views are the same
MARKS_MAX = 20_000  # that a memory can hold: 9 MB


@dataclass(frozen=True)
class KnownMark:
    """A peak that was faded because it looks like a mark of a good part.

    Attributes:
        position: (x, y) in pixels of the inspected picture.
        peak: value of the map there before, in [0, 1].
        remaining_fraction: fraction of it that stays, in [0, 1).
        similarity: correlation with the most similar known mark, in [-1, 1].
    """

    position: tuple[int, int]
    peak: float
    remaining_fraction: float
    similarity: float


def cell_size(image_size: int) -> int:
    """Return the side of a cell in pixels at the model's size."""
    return max(1, image_size // CELLS_PER_PICTURE)


def find_peaks(anomaly_map: np.ndarray, image_size: int, minimum: float = PEAK_MIN) -> list[tuple[int, int]]:
    """Local maxima of a map, the highest first, apart from each other.

    Args:
        anomaly_map: [H,W] in [0, 1], at the size that the networks see.
        image_size: side S of what they see at once, pixels; a maximum is one within S/32 of it.
        minimum: of the map, in [0, 1).

    Returns:
        (row, column) of each that is above `minimum`, at most 20 for each S x S of the map.
    """
    reach = max(1, image_size // 32)
    highest = ndimage.maximum_filter(anomaly_map, 2 * reach + 1, mode="constant")
    rows, columns = np.nonzero((anomaly_map == highest) & (anomaly_map > minimum))
    order = np.argsort(-anomaly_map[rows, columns], kind="stable")
    most = math.ceil(PEAKS_MAX * anomaly_map.size / image_size**2)
    taken = np.zeros((anomaly_map.shape[0] + 2 * reach, anomaly_map.shape[1] + 2 * reach), dtype=bool)
    peaks: list[tuple[int, int]] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if taken[row + reach, column + reach]:  # all of a plateau is as high as its neighbours
            continue
        taken[row : row + 2 * reach + 1, column : column + 2 * reach + 1] = True
        peaks.append((row, column))
        if len(peaks) == most:
            break
    return peaks


def signatures(
    deviation: np.ndarray, peaks: list[tuple[int, int]], image_size: int, shifted: bool = False
) -> np.ndarray:
    """Describe the surroundings of peaks, whatever their contrast.

    Args:
        deviation: [H,W], picture minus reconstruction in grey, in [-1, 1].
        peaks: (row, column) of each.
        image_size: as in `find_peaks`.
        shifted: also as seen from around the peak, since it may lie elsewhere on the same mark.

    Returns:
        [P,O,225] float32, O = 25 if shifted, else 1: means of 15 x 15 cells, less their mean, of length 1
        (shorter where the contrast is below one of 255 levels: rounding has no look of its own).
    """
    cell = cell_size(image_size)
    reach = cell * (CELLS // 2)
    step = max(1, image_size // 64)
    shifts = np.array([-2, -1, 0, 1, 2] if shifted else [0]) * step
    margin = reach + cell + 2 * step
    padded = np.pad(deviation, margin, mode="symmetric") if peaks else deviation
    starts = np.arange(-reach, reach + 1, cell) - cell // 2
    found = np.empty((len(peaks), len(shifts) ** 2, SIGNATURE))
    for i, (row, column) in enumerate(peaks):
        window = padded[row : row + 2 * margin + 1, column : column + 2 * margin + 1].astype(np.float64)
        # Sums over cells that start at any pixel, from an integral image.
        integral = np.pad(window.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
        means = integral[cell:, cell:] - integral[:-cell, cell:] - integral[cell:, :-cell]
        means = (means + integral[:-cell, :-cell]) / cell**2
        places = margin + shifts[:, None] + starts
        n = len(shifts)
        seen = means[places.reshape(n, 1, CELLS, 1), places.reshape(1, n, 1, CELLS)]
        found[i] = seen.reshape(-1, SIGNATURE)
    found -= found.mean(-1, keepdims=True)
    length = np.linalg.norm(found, axis=-1, keepdims=True)
    return (found / np.maximum(length, CONTRAST_MIN * CELLS)).astype(np.float32)


def remaining_fraction(similarities: np.ndarray, similarity_threshold: float) -> np.ndarray:
    """Return the fraction of each peak that stays on the map.

    Args:
        similarities: [P], correlation of each with the most similar known mark.
        similarity_threshold: in [0, 1]; nothing stays from here on, everything from 0.1 below.

    Returns:
        [P] in [0, 1].
    """
    return np.clip((similarity_threshold - similarities) / FADE_WIDTH, 0, 1)


def fade(
    anomaly_map: np.ndarray, peaks: list[tuple[int, int]], remaining: np.ndarray, image_size: int
) -> np.ndarray:
    """Fade known marks from a map; pixels nearer to another peak stay as that one does.

    Args:
        anomaly_map: [H,W] float32 in [0, 1].
        peaks: (row, column) of each.
        remaining: [P], fraction of each that stays.
        image_size: as in `find_peaks`.

    Returns:
        [H,W] float32, nowhere above `anomaly_map`.
    """
    radius = FADE_RADIUS * cell_size(image_size)
    faded, at = anomaly_map.copy(), np.array(peaks).reshape(-1, 2)
    for i in np.flatnonzero(remaining < 1):
        top, left = np.maximum(0, at[i] - math.floor(radius))
        bottom, right = at[i] + math.floor(radius) + 1
        rows, columns = np.ogrid[top : min(bottom, faded.shape[0]), left : min(right, faded.shape[1])]
        distance = (rows - at[i, 0]) ** 2 + (columns - at[i, 1]) ** 2
        mine = distance <= radius**2
        rivals = np.flatnonzero((remaining > remaining[i]) & (np.abs(at - at[i]).max(axis=1) <= 2 * radius))
        for row, column in at[rivals]:
            mine &= distance < (rows - row) ** 2 + (columns - column) ** 2
        box = slice(top, top + len(rows)), slice(left, left + columns.size)
        faded[box] = np.where(
            mine, np.minimum(faded[box], np.float32(remaining[i]) * anomaly_map[box]), faded[box]
        )
    return faded
