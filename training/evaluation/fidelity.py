"""Fidelity of a reconstruction where the part is: a plain background is easy, and hides a blurred part."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..synthesis.foreground import foreground_mask

STRUCTURE_FRACTION = 0.25  # of the pixels: where a picture has no plain background, the strongest edges count


@dataclass(frozen=True)
class Fidelity:
    """How well one good picture is reconstructed.

    Attributes:
        squared_error: mean over the pixels of the part and the channels, values in [0, 1].
        gradient_correlation: Pearson correlation of the gradients of both pictures there, in [-1, 1]; 1 keeps
            every edge, a blur has little.
    """

    squared_error: float
    gradient_correlation: float


def fidelity(reconstruction: np.ndarray, picture: np.ndarray, part: np.ndarray | None = None) -> Fidelity:
    """Compare a reconstruction with its picture on the part.

    Args:
        reconstruction: [H,W,3] in [0, 1].
        picture: [H,W,3] in [0, 1], a good part.
        part: bool [H,W], `part_mask(picture)` where it is known already.
    """
    part = part_mask(picture) if part is None else part
    squared = np.square(reconstruction - picture)[part].mean(dtype=np.float64)
    return Fidelity(
        float(squared), _correlation(gradients(reconstruction)[:, part], gradients(picture)[:, part])
    )


def part_mask(picture: np.ndarray) -> np.ndarray:
    """Return where the part is, bool [H,W]: the object, or the quarter of the picture with most structure."""
    found = foreground_mask(picture)
    if found is not None:
        return found
    strength = ndimage.gaussian_filter(np.hypot(*gradients(picture)), 2)
    return strength >= np.quantile(strength, 1 - STRUCTURE_FRACTION)


def gradients(picture: np.ndarray) -> np.ndarray:
    """Return the vertical and horizontal derivative of a picture in grey, [2,H,W]."""
    grey = picture.mean(axis=2)
    return np.stack([ndimage.sobel(grey, axis=axis) for axis in (0, 1)])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a.ravel() - a.mean(), b.ravel() - b.mean()
    length = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / length) if length > 0 else 0.0
