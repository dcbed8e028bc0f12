"""Defects of exact size and contrast, unlike the random ones of training: a certificate needs to know both.

The families of `synthesis` draw their size and strength; here both are given. Every defect is added to the
picture in whole grey levels, so that the picture holds what was asked for.
"""

import math
from dataclasses import dataclass

import numpy as np

SHAPES = ("dots", "scratches", "clouds")
DOT_SIZE, DOT_LEVELS = 0.04, 40  # of `with_dot`: share of the shorter side, grey levels
HARD = ("dots", "scratches")  # all their pixels change by the full contrast


@dataclass(frozen=True)
class Grade:
    """What to paste.

    Attributes:
        shape: one of `SHAPES`.
        size: pixels; diameter of a dot, length of a scratch, width at half contrast of a cloud.
        levels: grey levels of 255 that the strongest pixel changes by, negative where it darkens, not 0.
    """

    shape: str
    size: int
    levels: int


def profile_of(grade: Grade, angle: float) -> np.ndarray:
    """Return the share of the contrast of each pixel around the centre, float64 [K,K] in [0, 1], K odd.

    Args:
        grade: what to paste.
        angle: direction of a scratch, in radians; other shapes are round.
    """
    radius = grade.size / 2
    reach = math.ceil(radius * (3 if grade.shape == "clouds" else 1))
    offset = 0.0 if grade.size % 2 else 0.5  # an even size has its centre between pixels
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1] + offset
    if grade.shape == "dots":
        return (np.hypot(y, x) < radius).astype(np.float64)
    if grade.shape == "clouds":
        # The centre pixel takes the full contrast; at a distance of `radius` it is half.
        distance = np.hypot(y - offset, x - offset)
        return np.where(distance <= reach, 0.5 ** ((distance / radius) ** 2), 0)
    line = np.zeros((2 * reach + 1, 2 * reach + 1))
    # One point a pixel along the steeper axis: neither gaps nor corners.
    steps = np.arange(grade.size) - grade.size // 2
    dy, dx = math.sin(angle), math.cos(angle)
    longer = max(abs(dy), abs(dx))
    scale = 1 / longer
    kept = np.abs(steps * scale) <= reach
    rows, columns = (np.rint(steps[kept] * scale * d).astype(int) + reach for d in (dy, dx))
    near = np.hypot(rows - reach, columns - reach) <= radius
    line[rows[near], columns[near]] = 1
    return line


def paste(
    picture: np.ndarray, grade: Grade, centre: tuple[int, int], angle: float = 0.0
) -> tuple[np.ndarray, np.ndarray] | None:
    """Add a defect to a picture.

    Args:
        picture: uint8 [H,W,3].
        grade: what to paste.
        centre: row and column.
        angle: direction of a scratch, in radians.

    Returns:
        The damaged picture, and bool [H,W] with the pixels that changed; None where the frame would cut the
        defect, or black or white would weaken it.
    """
    change = np.rint(profile_of(grade, angle) * grade.levels).astype(np.int16)
    rows, columns = np.flatnonzero(change.any(axis=1)), np.flatnonzero(change.any(axis=0))
    reach = change.shape[0] // 2
    top, left = centre[0] - reach + rows[0], centre[1] - reach + columns[0]
    change = change[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    bottom, right = top + change.shape[0], left + change.shape[1]
    if min(top, left) < 0 or bottom > picture.shape[0] or right > picture.shape[1]:
        return None
    window = slice(top, bottom), slice(left, right)
    after = picture[window].astype(np.int16) + change[..., None]
    if after.min() < 0 or after.max() > 255:
        return None
    damaged, mask = picture.copy(), np.zeros(picture.shape[:2], bool)
    damaged[window] = after.astype(np.uint8)
    mask[window] = change != 0
    return damaged, mask


def with_dot(picture: np.ndarray) -> np.ndarray | None:
    """Return a copy with a dot that a person would see: 4 % of the shorter side, 40 grey levels.

    Args:
        picture: float32 [H,W,3] in [0, 1].

    Returns:
        uint8 [H,W,3]; None where neither a dark nor a bright dot fits anywhere near the centre.
    """
    pixels = np.rint(picture * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    size = max(2, round(min(height, width) * DOT_SIZE))
    places = sorted(np.ndindex(9, 9), key=lambda place: (place[0] - 4) ** 2 + (place[1] - 4) ** 2)
    for row, column in places:
        centre = height * (row + 1) // 10, width * (column + 1) // 10
        for levels in (-DOT_LEVELS, DOT_LEVELS):
            if pasted := paste(pixels, Grade("dots", size, levels), centre):
                return pasted[0]
    return None
