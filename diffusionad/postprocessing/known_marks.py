"""Marks that good parts carry: what the segmenter has pointed at on pictures that are known to be good.

A stain, a stamp or an edge of the fixture that looks as it did on a good part is no defect. What is compared
is the deviation, picture minus reconstruction, around a peak of the anomaly map: there the part itself,
which all pictures have in common, is gone.
"""

import math
from dataclasses import dataclass

import numpy as np

CELLS = 15  # a mark is so many cells wide and high
SIGNATURE = CELLS * CELLS
CELLS_PER_PICTURE = 42  # of a side of what the networks see at once, so that a mark is about a third of it
FADE_RADIUS = 4.5  # cells around a peak in which a known mark is faded
PEAK_MIN = 0.05  # of the map; what is lower is not compared with marks
LEARNT_MIN = 0.02  # of the map on good parts: what is faint in this light may be plain in the next
PEAKS_MAX = 20  # for each square that the networks see
FADE_WIDTH = 0.1  # of similarity, over which a mark becomes a known one
CONTRAST_MIN = 1 / 255  # standard deviation below which a deviation is rounding, not a look
ITSELF = 0.99  # correlation of what is the same
MARKS_MAX = 20_000  # that a segmenter can know: 9 MB


@dataclass(frozen=True)
class KnownMark:
    """A peak that was taken off the map, or lowered, because it looks as a mark of a good part does.

    Attributes:
        position: (x, y) in pixels of the inspected picture.
        peak: value of the map there before, in [0, 1].
        rest: share of it that is left, in [0, 1).
        similarity: correlation with the most similar known mark, in [-1, 1].
    """

    position: tuple[int, int]
    peak: float
    rest: float
    similarity: float


def cell_size(image_size: int) -> int:
    """Pixels of a cell's side, at the model's size, for networks that see `image_size` pixels at once."""
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
    padded = np.pad(anomaly_map, reach)
    for axis in (0, 1):
        padded = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis).max(-1)
    rows, columns = np.nonzero((anomaly_map == padded) & (anomaly_map > minimum))
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
    """How the surroundings of peaks look, whatever their contrast.

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


def rests(similarities: np.ndarray, mark_similarity: float) -> np.ndarray:
    """What is left of peaks on the map, [P] in [0, 1]: nothing from `mark_similarity` on, all from 0.1 below.

    Args:
        similarities: [P] of each with the most similar known mark.
        mark_similarity: in [0, 1]; 1 leaves all of all.
    """
    if mark_similarity == 1:
        return np.ones(len(similarities))
    return np.clip((mark_similarity - similarities) / FADE_WIDTH, 0, 1)


def fade(
    anomaly_map: np.ndarray, peaks: list[tuple[int, int]], rest: np.ndarray, image_size: int
) -> np.ndarray:
    """The map without the known marks; what lies nearer to another peak stays as that one does.

    Args:
        anomaly_map: [H,W] float32 in [0, 1].
        peaks: (row, column) of each.
        rest: [P], what is left of each.
        image_size: as in `find_peaks`.

    Returns:
        [H,W] float32, nowhere above `anomaly_map`.
    """
    radius = FADE_RADIUS * cell_size(image_size)
    faded, at = anomaly_map.copy(), np.array(peaks).reshape(-1, 2)
    for i in np.flatnonzero(rest < 1):
        top, left = np.maximum(0, at[i] - math.floor(radius))
        bottom, right = at[i] + math.floor(radius) + 1
        rows, columns = np.ogrid[top : min(bottom, faded.shape[0]), left : min(right, faded.shape[1])]
        distance = (rows - at[i, 0]) ** 2 + (columns - at[i, 1]) ** 2
        mine = distance <= radius**2
        rivals = np.flatnonzero((rest > rest[i]) & (np.abs(at - at[i]).max(axis=1) <= 2 * radius))
        for row, column in at[rivals]:
            mine &= distance < (rows - row) ** 2 + (columns - column) ** 2
        box = slice(top, top + len(rows)), slice(left, left + columns.size)
        faded[box] = np.where(
            mine, np.minimum(faded[box], np.float32(rest[i]) * anomaly_map[box]), faded[box]
        )
    return faded
