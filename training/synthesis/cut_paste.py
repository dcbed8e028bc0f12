"""Families of synthetic defects that move a piece of the picture to another place.

`patch` pastes the piece with a feathered edge, after CutPaste (Li et al.); `poisson` blends it in without an
edge, after NSA (Schlüter et al., Natural Synthetic Anomalies). Arguments and results are those of defects.py.
"""

import math

import numpy as np
from scipy import fft, ndimage

from diffusionad.images.image_io import resize

from .defects import Defect, grain_of, largest_change, random_point


def patch(image: np.ndarray, region: np.ndarray, contrast: float, rng: np.random.Generator) -> Defect:
    """Paste a piece of the picture in another place, turned and mirrored, with a feathered edge.

    The mean of the piece moves towards the mean of the covered place by a random fraction; the border fades
    out. Return None where the change is too faint, see `_strength`.
    """
    side_y, side_x = _sides(image, rng)
    piece = _cut(image, side_y, side_x, region, rng)
    window = _window(side_y, side_x, region, rng)
    old = image[window]
    piece = piece + np.float32(rng.uniform(0, 1)) * (old.mean(axis=(0, 1)) - piece.mean(axis=(0, 1)))

    y, x = np.abs(np.linspace(-1, 1, side_y))[:, None], np.abs(np.linspace(-1, 1, side_x))
    roundness = rng.uniform(2, 8)  # from an ellipse to nearly a box
    depth = 1 - (y**roundness + x**roundness) ** (1 / roundness)
    feather = np.clip(depth / rng.uniform(0.1, 0.5), 0, 1).astype(np.float32) * region[window]
    delta = (piece - old) * feather[..., None]
    strength = _strength(image, delta, contrast)
    if strength is None:
        return None
    weakening, is_changed = strength
    mask = np.zeros_like(region)
    mask[window] = (feather > 0) & is_changed
    damaged = image.copy()
    damaged[window] = np.where(mask[window][..., None], np.clip(old + weakening * delta, 0, 1), old)
    return damaged, mask


def poisson(image: np.ndarray, region: np.ndarray, contrast: float, rng: np.random.Generator) -> Defect:
    """Blend in a piece of the picture, 0.7 to 1.3 times its size, by its gradients; NSA.

    Inside a rectangle the picture takes the gradients of the piece; on the border it stays unchanged. NSA
    takes the piece from another picture, this function from the same. As with shading, the rim that hardly
    changes stays in the picture and outside the mask. Return None where the change is too faint, see
    `_strength`.
    """
    side_y, side_x = _sides(image, rng)
    scale = rng.uniform(0.7, 1.3)
    cut_y, cut_x = (max(4, min(round(side / scale), min(region.shape))) for side in (side_y, side_x))
    piece = resize(_cut(image, cut_y, cut_x, region, rng), (side_y, side_x))
    window = _window(side_y, side_x, region, rng)
    difference = piece - image[window]
    delta = (difference - harmonic(difference)) * region[window][..., None]
    strength = _strength(image, delta, contrast)
    if strength is None:
        return None
    weakening, is_changed = strength
    mask = np.zeros_like(region)
    mask[window] = is_changed & region[window]
    damaged = image.copy()
    damaged[window] = np.clip(image[window] + weakening * delta, 0, 1)
    return damaged, mask


def harmonic(values: np.ndarray) -> np.ndarray:
    """Solve Laplace's equation on a rectangle with the border of `values` [H,W,C].

    The sine transform diagonalizes the five-point Laplacian with a given border, so this is exact.
    """
    surface = values.copy()
    source = np.zeros_like(values[1:-1, 1:-1])
    source[0] -= values[0, 1:-1]
    source[-1] -= values[-1, 1:-1]
    source[:, 0] -= values[1:-1, 0]
    source[:, -1] -= values[1:-1, -1]
    rows, columns = source.shape[:2]
    eigenvalue_y, eigenvalue_x = (
        2 * np.cos(math.pi * np.arange(1, n + 1, dtype=np.float32) / (n + 1)) - 2 for n in (rows, columns)
    )
    spectrum = fft.dstn(source, type=1, axes=(0, 1))
    spectrum /= (eigenvalue_y[:, None] + eigenvalue_x)[..., None]
    surface[1:-1, 1:-1] = fft.idstn(spectrum, type=1, axes=(0, 1))
    return surface


def _strength(image: np.ndarray, delta: np.ndarray, contrast: float) -> tuple[np.float32, np.ndarray] | None:
    """Return the factor that weakens a change and the mask of the change; None if it would be invisible.

    Two places of one texture differ in every pixel and yet look alike: contrast and mask (a third of the
    peak or more) follow the change averaged over a small neighbourhood. Its peak must exceed 6 grey levels
    and twice the grain.
    """
    near, around = (2 * round(radius * min(image.shape[:2]) / 256) + 1 for radius in (1, 4))
    change = ndimage.uniform_filter(largest_change(ndimage.uniform_filter(delta, (near, near, 0))), around)
    peak = float(np.percentile(change, 90))
    weakening = np.float32(min(1.0, abs(contrast) / max(peak, 1e-6)))
    if weakening * peak < max(6 / 255, 2 * grain_of(image, near)):
        return None
    return weakening, change > peak / 3


def _sides(image: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    """Draw height and width of a patch: 1/16 to 1/1.6 of the picture, independently."""
    side_y, side_x = (max(4, int(min(image.shape[:2]) * 2 ** rng.uniform(-4, -0.7))) for _ in range(2))
    return side_y, side_x


def _window(rows: int, columns: int, region: np.ndarray, rng: np.random.Generator) -> tuple[slice, slice]:
    """Draw a rectangle around a random point of the region, moved into the picture."""
    y, x = random_point(region, rng)
    top = min(max(0, y - rows // 2), region.shape[0] - rows)
    left = min(max(0, x - columns // 2), region.shape[1] - columns)
    return slice(top, top + rows), slice(left, left + columns)


def _cut(
    image: np.ndarray, rows: int, columns: int, region: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Cut a piece [rows,columns,3] around a point of the region, turned and mirrored at random."""
    turns = int(rng.integers(4))
    window = _window(*((columns, rows) if turns % 2 else (rows, columns)), region, rng)
    piece = np.rot90(image[window], turns)
    return piece[:, ::-1] if rng.random() < 0.5 else piece
