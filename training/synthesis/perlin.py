"""Perlin gradient noise, whose thresholded islands are the defect masks of the paper (after DRAEM).

The noise is evaluated separably, along x on the lattice rows first, then along y: a pixel costs no
trigonometry and less than ten multiplications.
"""

import functools
import math

import numpy as np
from PIL import Image


@functools.lru_cache(maxsize=128)
def _lattice(length: int, scale: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return for each of `length` pixels over `scale` cells: cell, place in the cell in [0, 1), fade."""
    position = np.arange(length, dtype=np.float32) * np.float32(scale / length)
    cell = position.astype(np.intp)
    place = position - cell.astype(np.float32)
    fade = place**3 * (
        place * (place * 6 - 15) + 10
    )  # Perlin 2002: zero slope and curvature at the cell borders
    return cell, place, fade


def perlin_noise(height: int, width: int, scale_y: int, scale_x: int, rng: np.random.Generator) -> np.ndarray:
    """Draw Perlin noise of `scale_y` x `scale_x` cells, times sqrt(2): float32 [H,W] in about [-1, 1]."""
    angle = rng.uniform(0, 2 * math.pi, (scale_y + 1, scale_x + 1)).astype(np.float32)
    gradient_y, gradient_x = math.sqrt(2) * np.sin(angle), math.sqrt(2) * np.cos(angle)
    cell_y, place_y, fade_y = _lattice(height, scale_y)
    place_y, fade_y = place_y[:, None], fade_y[:, None]  # [H,1]
    cell_x, place_x, fade_x = _lattice(width, scale_x)  # [W]

    # A corner contributes gradient_x * dx + gradient_y * dy, faded in x and in y: the fade in x goes first.
    left_x, right_x = gradient_x[:, cell_x] * place_x, gradient_x[:, cell_x + 1] * (place_x - 1)
    left_y, right_y = gradient_y[:, cell_x], gradient_y[:, cell_x + 1]
    along_x = left_x + fade_x * (right_x - left_x)  # [scale_y + 1, W]
    slope_y = left_y + fade_x * (right_y - left_y)  # [scale_y + 1, W]
    # In place: at this size, fresh pages for every temporary would cost more than the arithmetic.
    top = slope_y[cell_y]  # [H,W]
    top *= place_y
    top += along_x[cell_y]
    bottom = slope_y[cell_y + 1]
    bottom *= place_y - 1
    bottom += along_x[cell_y + 1]
    bottom -= top
    bottom *= fade_y
    top += bottom
    return top


def perlin_mask(
    height: int, width: int, rng: np.random.Generator, scale_log2_max: int = 5, threshold: float = 0.5
) -> np.ndarray:
    """Draw the paper's random region, bool [H,W]; it may be empty.

    The scales of x and y are drawn independently from 2^0 .. 2^scale_log2_max; the noise is rotated by
    U(-90, 90) degrees (corners become zero, as in DRAEM) and cut at `threshold` in [-1, 1].
    """
    scale_y, scale_x = (2 ** int(power) for power in rng.integers(0, scale_log2_max + 1, size=2))
    noise = perlin_noise(height, width, scale_y, scale_x, rng)
    angle_degrees = rng.uniform(-90, 90)
    rotated = Image.fromarray(noise).rotate(angle_degrees, Image.Resampling.BILINEAR)
    return np.asarray(rotated) > threshold
