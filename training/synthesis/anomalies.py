"""Synthetic anomalies for training: the paper's pasted textures, and further families of defects.

DiffusionAD, anomaly synthesis (after DRAEM): rotated Perlin noise gives a mask M, intersected with the
foreground of an object or with a random part of a texture. Within M the picture is mixed with an
augmented foreign texture or, for objects half of the time, with the augmented picture itself, its
8 x 8 tiles shuffled. Half of the samples stay normal.

`python -m training.synthesis --data FOLDER --output sheet.png` shows the samples that a network trains on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..config.schema import FAMILIES, SynthesisConfig
from . import cut_paste, defects
from .augmentations import augment
from .defects import Defect, grain_of, visible_change
from .perlin import perlin_mask
from .textures import TextureBank

OTHER_FAMILIES: dict[str, Callable[[np.ndarray, np.ndarray, float, np.random.Generator], Defect]] = {
    "scratch": defects.scratch,
    "shading": defects.shading,
    "dots": defects.dots,
    "chip": defects.chip,
    "patch": cut_paste.patch,
    "poisson": cut_paste.poisson,
}
assert ("perlin", *OTHER_FAMILIES) == FAMILIES, "`FAMILIES` of the settings differ from those here"
MASK_TRIES = 50  # as many as in the released code of DiffusionAD
FAMILY_TRIES = 8


@dataclass
class SyntheticSample:
    """One training sample.

    Attributes:
        image: the picture, damaged or not, float32 [H,W,3] in [0, 1].
        mask: 1 on damaged pixels, 0 elsewhere, float32 [H,W].
        label: 1 for a damaged picture, whose mask is never empty; 0 for a normal one.
        family: family of the defect, one of `FAMILIES`, or "blot" where none of them would be visible; None
            for a normal picture.
    """

    image: np.ndarray
    mask: np.ndarray
    label: int
    family: str | None


def synthesize(
    image: np.ndarray,
    rng: np.random.Generator,
    config: SynthesisConfig,
    textures: TextureBank,
    foreground: np.ndarray | None = None,
) -> SyntheticSample:
    """Make a training sample of a normal picture; it depends on the arguments and the state of `rng` alone.

    Args:
        image: a normal picture, float32 [H,W,3] in [0, 1]; left unchanged.
        rng: generator of all draws.
        config: settings of the defects.
        textures: foreign textures to paste.
        foreground: pixels of the object, bool [H,W]; None if unknown. An empty foreground, as in a crop
            beside the object, leaves nothing to damage: the sample is normal.

    Returns:
        The sample, normal with probability 1 - `config.probability`.
    """
    assert image.dtype == np.float32 and image.ndim == 3 and image.shape[2] == 3, (image.dtype, image.shape)
    assert min(image.shape[:2]) >= 16, image.shape
    is_object = config.kind == "object" or (config.kind == "auto" and foreground is not None)
    if is_object and foreground is not None:
        assert foreground.shape == image.shape[:2], (foreground.shape, image.shape)
        region = foreground.astype(bool)
    else:
        region = np.ones(image.shape[:2], bool)
    if rng.random() >= config.probability or not region.any():
        return SyntheticSample(image.copy(), np.zeros(image.shape[:2], np.float32), 0, None)

    # A family that finds no place leaves the defect to the next; the paper's nearly always finds one.
    for family in [*rng.permutation(config.families).tolist(), "perlin"]:
        for _ in range(FAMILY_TRIES):
            if family == "perlin":
                defect = perlin_defect(image, region, is_object, config, textures, rng)
            else:
                defect = OTHER_FAMILIES[family](image, region, draw_contrast(image, config, rng), rng)
            if defect is not None and config.visible_sigma > 0:
                defect = defects.keep_visible(image, *defect, config.visible_sigma)
            if defect is not None:
                damaged, mask = defect
                return SyntheticSample(damaged, mask.astype(np.float32), 1, family)
    damaged, mask = blot(image, region, rng)
    return SyntheticSample(damaged, mask.astype(np.float32), 1, "blot")


def draw_contrast(image: np.ndarray, config: SynthesisConfig, rng: np.random.Generator) -> float:
    """Draw the contrast of a family beyond the paper's, in [-1, 1], negative where it darkens."""
    log_range = math.log(config.contrast_min_levels), math.log(config.contrast_max_levels)
    size = math.exp(rng.uniform(*log_range)) / 255
    if config.contrast_max_grains > 0:
        size = min(1.0, max(size, rng.uniform(0, config.contrast_max_grains) * grain_of(image)))
    return -size if rng.random() < config.dark_probability else size


def perlin_defect(
    image: np.ndarray,
    region: np.ndarray,
    is_object: bool,
    config: SynthesisConfig,
    textures: TextureBank,
    rng: np.random.Generator,
) -> Defect:
    """Draw the paper's defect: a foreign texture or shuffled tiles, mixed in within Perlin mask x region.

    Return None only under `visible_only`, where no pixel of the defect is visible.
    """
    height, width = region.shape
    mask = _island(region if is_object else _random_part(height, width, rng), config, rng)
    if is_object and rng.random() < config.self_shuffle_probability:
        own = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
        source = shuffle_tiles(np.asarray(augment(own, rng)), rng)
    else:
        texture = textures.draw_picture(rng)
        if texture.size != (width, height):
            texture = texture.resize((width, height), Image.Resampling.BILINEAR)
        texture = augment(texture, rng)
        if config.grey_follows_picture and _is_grey(image):
            texture = texture.convert("L").convert("RGB")
        source = np.asarray(texture)
    damaged = blend(image, source, mask, beta=rng.uniform(config.opacity_min, config.opacity_max))
    if config.visible_only:
        mask = mask & visible_change(image, damaged)
        damaged = np.where(mask[..., None], damaged, image)
    return (damaged, mask) if mask.any() else None


def _is_grey(image: np.ndarray) -> bool:
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    return np.array_equal(red, green) and np.array_equal(red, blue)


def blend(image: np.ndarray, source: np.ndarray, mask: np.ndarray, beta: float) -> np.ndarray:
    """Blend I_a = (1 - M) I + beta M I + (1 - beta) M A; DiffusionAD, anomaly synthesis, released code.

    beta is the fraction of the ORIGINAL that shows through: 0 is an opaque paste, 1 would change nothing.

    Args:
        image: I, float32 [H,W,3] in [0, 1].
        source: A, uint8 [H,W,3].
        mask: M, bool [H,W].
        beta: fraction of the original, in [0, 1).

    Returns:
        I_a, float32 [H,W,3] in [0, 1].
    """
    inside = np.flatnonzero(mask)
    blended = image.copy(order="C")
    pixels, source_pixels = blended.reshape(-1, 3), source.reshape(-1, 3)
    pixels[inside] = np.float32(beta) * pixels[inside] + np.float32((1 - beta) / 255) * source_pixels[inside]
    return blended


def shuffle_tiles(picture: np.ndarray, rng: np.random.Generator, tiles: int = 8) -> np.ndarray:
    """Shuffle the 8 x 8 tiles of a picture; a remainder of less than 8 rows or columns stays in place."""
    height, width = picture.shape[0] // tiles, picture.shape[1] // tiles
    rows, columns = tiles * height, tiles * width
    grid = picture[:rows, :columns].reshape(tiles, height, tiles, width, 3).swapaxes(1, 2)
    grid = grid.reshape(tiles * tiles, height, width, 3)[rng.permutation(tiles * tiles)]  # [64,h,w,3]
    shuffled = picture.copy()
    grid = grid.reshape(tiles, tiles, height, width, 3).swapaxes(1, 2)
    shuffled[:rows, :columns] = grid.reshape(rows, columns, 3)
    return shuffled


def _random_part(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Draw an ellipse with half-axes of 0.3 to 1 of the sides: it replaces the foreground of a texture."""
    row, column = np.ogrid[:height, :width]
    y = (row - height * rng.random()) / (height * rng.uniform(0.3, 1))
    x = (column - width * rng.random()) / (width * rng.uniform(0.3, 1))
    return y**2 + x**2 <= 1


def _island(region: np.ndarray, config: SynthesisConfig, rng: np.random.Generator) -> np.ndarray:
    """Draw Perlin mask x region until it is not empty; after `MASK_TRIES` draws take a blob."""
    height, width = region.shape
    for _ in range(MASK_TRIES):
        mask = perlin_mask(height, width, rng, config.perlin_scale_log2_max, config.perlin_threshold)
        mask &= region
        if mask.any():
            return mask
    return _blob(region, rng)


def _blob(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the region within a random radius of one of its pixels, never empty, bool [H,W]."""
    y, x = np.nonzero(region)
    centre = rng.integers(y.size)
    row, column = np.ogrid[: region.shape[0], : region.shape[1]]
    radius = min(region.shape) * rng.uniform(0.03, 0.12)
    return region & (np.hypot(row - y[centre], column - x[centre]) <= radius)


def blot(image: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw the last resort, visible on every picture: a blob lighter, or on light darker, by 0.25."""
    mask = _blob(region, rng)
    shift = np.where(image < 0.5, np.float32(0.25), np.float32(-0.25))
    return np.where(mask[..., None], image + shift, image), mask
