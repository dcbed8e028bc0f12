"""The mark on the demo washer: two lines of single-stroke lettering on arcs, as an engraver draws them.

System fonts differ between machines, so the letters are polylines of our own.
"""

from functools import lru_cache

import numpy as np

from .canvas import coverage, stroke

# Strokes on a grid 4 wide and 6 high, y down: each string is a polyline of "xy" pairs.
_GLYPHS = {
    "D": ["00 30 41 45 36 06 00"],
    "I": ["20 26"],
    "F": ["40 00 06", "03 33"],
    "0": ["10 30 41 45 36 16 05 01 10"],
    "3": ["01 10 30 41 42 33 44 45 36 16 05", "13 33"],
    "7": ["00 40 16"],
    "8": ["13 02 01 10 30 41 42 33 13 04 05 16 36 45 44 33"],
    "A": ["06 20 46", "14 34"],
}
_ABOVE, _BELOW = "DIFFAD", "8730"
_HEIGHT_ABOVE, _HEIGHT_BELOW = 0.086, 0.076
_LINE_WIDTH = 0.014
# The mark's band: radius of the middle of the letters, half its height and half its length, part units.
RADIUS, _HALF_HEIGHT, _HALF_LENGTH, _TABLE_STEP = 0.275, 0.058, 0.34, 0.001


def _letters(text: str, height: float) -> list[np.ndarray]:
    """Return the polylines of a centred line of text, [n,2] each."""
    unit, lines = height / 6, []
    for k, letter in enumerate(text):
        left = (k - (len(text) - 1) / 2) * 5.6 - 2
        for pairs in _GLYPHS[letter]:
            points = np.array([(left + int(pair[0]), int(pair[1]) - 3) for pair in pairs.split()])
            lines.append(points * unit)
    return lines


@lru_cache(maxsize=1)
def _distance_table() -> np.ndarray:
    """Compute the distance to the strokes of both lines of text, [2,H,W]; it never changes."""
    s = np.arange(-_HALF_LENGTH, _HALF_LENGTH + _TABLE_STEP, _TABLE_STEP)
    t = np.arange(-_HALF_HEIGHT, _HALF_HEIGHT + _TABLE_STEP, _TABLE_STEP)
    t_grid, s_grid = np.meshgrid(t, s, indexing="ij")
    tables = []
    for text, height in ((_ABOVE, _HEIGHT_ABOVE), (_BELOW, _HEIGHT_BELOW)):
        nearest = np.full(s_grid.shape, np.inf)
        for points in _letters(text, height):
            nearest = np.minimum(nearest, np.abs(stroke(points, s_grid, t_grid)[0]))
        tables.append(nearest)
    return np.stack(tables)


def mark_coverage(x: np.ndarray, y: np.ndarray, r: np.ndarray, step: float) -> np.ndarray:
    """Return the coverage by ink, [S,S] in [0,1].

    Args:
        x: x of each sample in the coordinates of the part, [S,S].
        y: y of each sample, [S,S].
        r: distance of each sample to the centre, [S,S].
        step: distance between two samples, in part units.
    """
    table, shape = _distance_table(), x.shape
    band = np.flatnonzero((np.abs(r - RADIUS) < _HALF_HEIGHT) & (np.abs(y) > 0.4 * np.abs(x)))
    x, y, r = x.ravel()[band], y.ravel()[band], r.ravel()[band]
    below = y > 0  # the lower line is read from left to right too, its feet pointing outwards
    s = RADIUS * np.arctan2(x, np.abs(y))
    t = np.where(below, r - RADIUS, RADIUS - r)
    column = np.clip((s + _HALF_LENGTH) / _TABLE_STEP, 0, table.shape[2] - 2)
    row = np.clip((t + _HALF_HEIGHT) / _TABLE_STEP, 0, table.shape[1] - 2)
    i, j = row.astype(np.int64), column.astype(np.int64)
    row, column, line = row - i, column - j, below.astype(np.int64)
    upper = table[line, i, j] * (1 - column) + table[line, i, j + 1] * column
    lower = table[line, i + 1, j] * (1 - column) + table[line, i + 1, j + 1] * column
    ink = np.zeros(shape)
    ink.ravel()[band] = coverage(upper * (1 - row) + lower * row - _LINE_WIDTH / 2, step)
    return ink
