"""Augmentations of foreign textures: DRAEM's list, made with Pillow."""

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps


def _per_channel(tables: np.ndarray) -> list[int]:
    """Turn three tables [3,256] into the flat list that `Image.point` takes."""
    return np.clip(np.rint(tables), 0, 255).astype(int).ravel().tolist()


LEVELS = np.arange(256.0)


def _gamma_contrast(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return picture.point(_per_channel(255 * (LEVELS / 255) ** rng.uniform(0.5, 2.0, (3, 1))))


def _brightness(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    table = LEVELS * rng.uniform(0.8, 1.2) + rng.uniform(-30, 30)
    return picture.point(_per_channel(np.tile(table, (3, 1))))


def _sharpness(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageEnhance.Sharpness(picture).enhance(rng.uniform(0.1, 1.9))


# Brightness and the two colour differences of YIQ: turning these changes the hue, stretching the saturation.
_YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB = np.linalg.inv(_YIQ)


def _hue_saturation(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Turn the hue by U(-70, 70) degrees (DRAEM: 50/255 of the circle), scale saturation by U(0.6, 1.4)."""
    angle, stretch = math.radians(rng.uniform(-70, 70)), rng.uniform(0.6, 1.4)
    cos, sin = stretch * math.cos(angle), stretch * math.sin(angle)
    matrix = _RGB @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ
    return picture.convert("RGB", tuple(np.pad(matrix, ((0, 0), (0, 1))).ravel().tolist()))


def _solarize(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    threshold = int(rng.integers(32, 129))
    return ImageOps.solarize(picture, threshold) if rng.random() < 0.5 else picture


def _posterize(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.posterize(picture, int(rng.integers(1, 9)))


def _invert(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.invert(picture)


def _autocontrast(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.autocontrast(picture, cutoff=rng.uniform(0, 20))


def _equalize(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.equalize(picture)


def _rotation(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Rotate by U(-45, 45) degrees, enlarged until no corner is empty (DRAEM leaves them black)."""
    angle = math.radians(rng.uniform(-45, 45))
    width, height = picture.size
    ratio = max(width / height, height / width)
    shrink = 1 / (math.cos(angle) + ratio * abs(math.sin(angle)))
    cos, sin = shrink * math.cos(angle), shrink * math.sin(angle)
    shift_x = width / 2 * (1 - cos) - height / 2 * sin
    shift_y = height / 2 * (1 - cos) + width / 2 * sin
    matrix = (cos, sin, shift_x, -sin, cos, shift_y)
    return picture.transform(picture.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


AUGMENTATIONS: tuple[Callable[[Image.Image, np.random.Generator], Image.Image], ...] = (
    _gamma_contrast,
    _brightness,
    _sharpness,
    _hue_saturation,
    _solarize,
    _posterize,
    _invert,
    _autocontrast,
    _equalize,
    _rotation,
)


def augment(picture: Image.Image, rng: np.random.Generator, count: int = 3) -> Image.Image:
    """Apply `count` different augmentations of DRAEM's list, in random order."""
    for index in rng.permutation(len(AUGMENTATIONS))[:count]:
        picture = AUGMENTATIONS[index](picture, rng)
    return picture
