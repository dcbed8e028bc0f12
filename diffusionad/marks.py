"""Marks that good parts carry: what the segmenter has pointed at on pictures that are known to be good.

A stain, a stamp or an edge of the fixture that looks as it did on a good part is no defect. What is compared
is the deviation, picture minus reconstruction, around a peak of the anomaly map: there the part itself,
which all pictures have in common, is gone, and a defect beside the same edge looks like no known mark.
"""

from dataclasses import dataclass

import numpy as np

CELLS = 15  # a mark is so many cells wide and high
SIGNATURE = CELLS * CELLS
CELLS_PER_PICTURE = 42  # a mark is about a third of what the networks see at once
FADE_RADIUS = 4.5  # cells around a peak in which a known mark is faded
PEAK_MIN = 0.05  # of the map; below, nothing counts
PEAKS_MAX = 20  # of one picture
FADE_WIDTH = 0.1  # of similarity, over which a mark becomes a known one
CONTRAST_MIN = 1 / 255  # standard deviation below which a deviation is rounding, not a look


@dataclass(frozen=True)
class KnownMark:
    """A peak of the map that looks as a mark of a good part does, and was faded for it.

    Attributes:
        position: (x, y) in pixels of the inspected picture.
        peak: value of the map there before, in [0, 1].
        similarity: correlation with the most similar known mark, in [-1, 1].
    """

    position: tuple[int, int]
    peak: float
    similarity: float


def cell_size(image_size: int) -> int:
    """Pixels of a cell's side, at the model's size, for networks that see `image_size` pixels at once."""
    return max(1, image_size // CELLS_PER_PICTURE)


def find_peaks(anomaly_map: np.ndarray, image_size: int) -> list[tuple[int, int]]:
    """Local maxima of a map, the highest first.

    Args:
        anomaly_map: [H,W] in [0, 1], at the size that the networks see.
        image_size: side of what they see at once, pixels; a maximum is one within 1/32 of it.

    Returns:
        (row, column) of at most 20, each above 0.05.
    """
    reach = max(1, image_size // 32)
    padded = np.pad(anomaly_map, reach)
    for axis in (0, 1):
        padded = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1, axis).max(-1)
    rows, columns = np.nonzero((anomaly_map == padded) & (anomaly_map > PEAK_MIN))
    order = np.argsort(-anomaly_map[rows, columns], kind="stable")[:PEAKS_MAX]
    return list(zip(rows[order].tolist(), columns[order].tolist(), strict=True))


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
        (shorter where the contrast is below one of 255 levels).
    """
    cell = cell_size(image_size)
    reach = cell * (CELLS // 2)
    step = max(1, image_size // 64)
    shifts = np.array([-2, -1, 0, 1, 2] if shifted else [0]) * step
    margin = reach + cell + 2 * step
    # Sums over cells that start at any pixel, from an integral image.
    padded = np.pad(deviation.astype(np.float64), margin, mode="symmetric")
    integral = np.pad(padded.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    means = integral[cell:, cell:] - integral[:-cell, cell:] - integral[cell:, :-cell]
    means = (means + integral[:-cell, :-cell]) / cell**2
    starts = np.arange(-reach, reach + 1, cell) - cell // 2
    found = np.empty((len(peaks), len(shifts) ** 2, SIGNATURE))
    for i, (row, column) in enumerate(peaks):
        rows = (margin + row + shifts[:, None] + starts).reshape(len(shifts), 1, CELLS, 1)
        columns = (margin + column + shifts[:, None] + starts).reshape(1, len(shifts), 1, CELLS)
        found[i] = means[rows, columns].reshape(-1, SIGNATURE)
    found -= found.mean(-1, keepdims=True)
    length = np.linalg.norm(found, axis=-1, keepdims=True)
    return (found / np.maximum(length, CONTRAST_MIN * CELLS)).astype(np.float32)


def fade(
    anomaly_map: np.ndarray,
    peaks: list[tuple[int, int]],
    similarities: np.ndarray,
    mark_similarity: float,
    image_size: int,
) -> np.ndarray:
    """The map without the known marks.

    Args:
        anomaly_map: [H,W] in [0, 1].
        peaks: (row, column) of each.
        similarities: [P] of each with the most similar known mark.
        mark_similarity: from here on a mark is known and vanishes; it fades from 0.1 below.
        image_size: as in `find_peaks`.

    Returns:
        [H,W] float32, nowhere above `anomaly_map`.
    """
    radius = FADE_RADIUS * cell_size(image_size)
    faded = anomaly_map
    rows, columns = np.ogrid[: anomaly_map.shape[0], : anomaly_map.shape[1]]
    for (row, column), similarity in zip(peaks, similarities.tolist(), strict=True):
        rest = np.float32(min(1.0, max(0.0, (mark_similarity - similarity) / FADE_WIDTH)))
        if rest < 1:
            near = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
            faded = np.where(near, np.minimum(faded, rest * anomaly_map), faded)
    return faded
