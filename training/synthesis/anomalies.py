"""Synthetic anomalies for training: the paper's pasted textures, and further families of defects.

DiffusionAD, anomaly synthesis (after DRAEM): rotated Perlin noise gives a mask M, intersected with the
foreground of an object or with a random part of a texture. Within M the picture is mixed with an
augmented foreign texture or, for objects half of the time, with the augmented picture itself, its
8 x 8 tiles shuffled. Half of the samples stay normal.

`python -m training.synthesis --data FOLDER --output sheet.png` shows what a network is trained on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from . import cut_paste, defects
from .defects import Defect, grain_of, visible_change
from .perlin import perlin_mask
from .textures import TextureBank, augment

KINDS = ("auto", "object", "texture")
OTHER_FAMILIES: dict[str, Callable[[np.ndarray, np.ndarray, float, np.random.Generator], Defect]] = {
    "scratch": defects.scratch,
    "shading": defects.shading,
    "dots": defects.dots,
    "chip": defects.chip,
    "patch": cut_paste.patch,
    "poisson": cut_paste.poisson,
}
FAMILIES = ("perlin", *OTHER_FAMILIES)
MASK_TRIES = 50  # as many as in the released code of DiffusionAD
FAMILY_TRIES = 8


@dataclass(frozen=True)
class SynthesisConfig:
    """What defects look like; the defaults are the paper's.

    `kind` says what the paper's family pastes, and where. On an "object": a foreign texture or its own
    shuffled tiles, within the foreground, or anywhere when that is not known. On a "texture": foreign
    textures only, in a random part of the picture; a foreground is disregarded, also by the other
    families. "auto": an "object" where a foreground is given, else a "texture".
    """

    probability: float = 0.5  # share of samples with a defect
    kind: str = "auto"
    families: tuple[str, ...] = ("perlin",)  # one of them, uniformly, for every defect
    opacity_min: float = 0.2  # beta: the share of the original that shows through the paste
    opacity_max: float = 0.8
    perlin_scale_log2_max: int = 5
    perlin_threshold: float = 0.5  # of noise in [-1, 1]
    self_shuffle_probability: float = 0.5  # of objects
    # The other families change the picture by up to so many of 255 grey levels, drawn log-uniformly.
    contrast_min_levels: float = 8.0
    contrast_max_levels: float = 128.0
    # Above 0: where grain is coarse, more; up to so many of its standard deviations, drawn uniformly.
    contrast_max_grains: float = 0.0
    dark_probability: float = 0.5  # of a change that darkens, in the families beyond the paper
    # Takes those pixels out of the paper's mask that the paste changed by less than 2 of 255 levels.
    visible_only: bool = False
    # Above 0: parts of a defect that stand out from the texture around them by less are taken back.
    visible_sigma: float = 0.0
    # Above 0: plain defects first. The limit starts here and falls to `visible_sigma` over `easy_samples`.
    visible_sigma_start: float = 0.0
    easy_samples: int = 0
    # On grey pictures the foreign textures turn grey, lest colour alone give every defect away.
    grey_follows_picture: bool = False

    def __post_init__(self) -> None:
        for name in ("probability", "self_shuffle_probability", "dark_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must lie between 0 and 1")
        if self.kind not in KINDS:
            raise ValueError(f"`kind` is {self.kind!r}; it must be one of {', '.join(KINDS)}")
        if isinstance(self.families, str) or not self.families or not set(self.families) <= set(FAMILIES):
            raise ValueError(f"`families` is {self.families!r}; list one or more of {', '.join(FAMILIES)}")
        if not 0 <= self.opacity_min <= self.opacity_max < 1:
            raise ValueError(
                f"`opacity_min` ({self.opacity_min}) and `opacity_max` ({self.opacity_max}) must be ordered, "
                "from 0 (only the paste is seen) to less than 1 (nothing of it would be)"
            )
        for name in ("visible_sigma", "visible_sigma_start", "contrast_max_grains"):
            if not 0 <= getattr(self, name) <= 100:
                raise ValueError(f"`{name}` is {getattr(self, name)}; it must lie between 0 and 100")
        if 0 < self.visible_sigma_start < self.visible_sigma or self.easy_samples < 0:
            raise ValueError(
                f"`visible_sigma_start` ({self.visible_sigma_start}) must be 0 or at least `visible_sigma` "
                f"({self.visible_sigma}), `easy_samples` ({self.easy_samples}) at least 0: defects become "
                "harder to see, not easier"
            )
        if not 0 <= self.perlin_scale_log2_max <= 8:
            raise ValueError(
                f"`perlin_scale_log2_max` is {self.perlin_scale_log2_max}; it must lie between 0 and 8"
            )
        if not -1 < self.perlin_threshold < 1:
            raise ValueError(f"`perlin_threshold` is {self.perlin_threshold}; it must lie between -1 and 1")
        if not 2 <= self.contrast_min_levels <= self.contrast_max_levels <= 255:
            raise ValueError(
                f"`contrast_min_levels` ({self.contrast_min_levels}) and `contrast_max_levels` "
                f"({self.contrast_max_levels}) must be ordered, between 2 and 255 grey levels"
            )

    def after(self, samples: int) -> "SynthesisConfig":
        """What defects look like once so many samples have been seen: easy ones first."""
        if self.visible_sigma_start == 0 or samples >= self.easy_samples:
            return self
        left = 1 - samples / self.easy_samples
        sigma = self.visible_sigma + left * (self.visible_sigma_start - self.visible_sigma)
        return replace(self, visible_sigma=sigma, visible_sigma_start=0.0)


@dataclass
class SyntheticSample:
    """One training sample.

    Attributes:
        image: the picture, damaged or not, float32 [H,W,3] in [0, 1].
        mask: 1 where it is damaged, else 0, float32 [H,W].
        label: 1 for a damaged picture, whose mask is never empty; 0 for a normal one.
        family: the kind of defect, one of `FAMILIES`, or "blot" where none of those would be seen; None for
            a normal picture.
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
    """A training sample from a normal picture; it depends on the arguments and the state of `rng` alone.

    Args:
        image: a normal picture, float32 [H,W,3] in [0, 1]; it is not changed.
        foreground: where the object is, bool [H,W]; None when that is not known. Where it has no pixel, as
            in a crop beside the object, there is nothing to damage and the sample is normal.
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

    # A family that finds no place leaves it to the next; the paper's finds one on nearly every picture.
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
    """The change that a family beyond the paper's aims at, in [-1, 1], negative where it darkens."""
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
    """The paper's defect: a foreign texture or shuffled tiles, mixed in within Perlin mask x region.

    None only under `visible_only`, where nothing of it is seen.
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
    """I_a = (1 - M) I + beta M I + (1 - beta) M A; DiffusionAD, anomaly synthesis, as in its released code.

    beta is the share of the ORIGINAL that shows through: 0 is an opaque paste, 1 would change nothing.

    Args:
        image: I, float32 [H,W,3] in [0, 1].
        source: A, uint8 [H,W,3].
        mask: M, bool [H,W].
    """
    inside = np.flatnonzero(mask)
    blended = image.copy(order="C")
    pixels, source_pixels = blended.reshape(-1, 3), source.reshape(-1, 3)
    pixels[inside] = np.float32(beta) * pixels[inside] + np.float32((1 - beta) / 255) * source_pixels[inside]
    return blended


def shuffle_tiles(picture: np.ndarray, rng: np.random.Generator, tiles: int = 8) -> np.ndarray:
    """The picture, its 8 x 8 tiles in random order; a rest of less than 8 rows or columns stays in place."""
    height, width = picture.shape[0] // tiles, picture.shape[1] // tiles
    rows, columns = tiles * height, tiles * width
    grid = picture[:rows, :columns].reshape(tiles, height, tiles, width, 3).swapaxes(1, 2)
    grid = grid.reshape(tiles * tiles, height, width, 3)[rng.permutation(tiles * tiles)]  # [64,h,w,3]
    shuffled = picture.copy()
    grid = grid.reshape(tiles, tiles, height, width, 3).swapaxes(1, 2)
    shuffled[:rows, :columns] = grid.reshape(rows, columns, 3)
    return shuffled


def _random_part(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A random ellipse, half-axes 0.3 to 1 of the sides: what a texture has instead of a foreground."""
    row, column = np.ogrid[:height, :width]
    y = (row - height * rng.random()) / (height * rng.uniform(0.3, 1))
    x = (column - width * rng.random()) / (width * rng.uniform(0.3, 1))
    return y**2 + x**2 <= 1


def _island(region: np.ndarray, config: SynthesisConfig, rng: np.random.Generator) -> np.ndarray:
    """Perlin mask x region, drawn again until it is not empty; in the end a blob at a pixel of the region."""
    for _ in range(MASK_TRIES):
        mask = perlin_mask(*region.shape, rng, config.perlin_scale_log2_max, config.perlin_threshold)
        mask &= region
        if mask.any():
            return mask
    return _blob(region, rng)


def _blob(region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The part of the region within a random radius of one of its pixels, never empty, bool [H,W]."""
    y, x = np.nonzero(region)
    centre = rng.integers(y.size)
    row, column = np.ogrid[: region.shape[0], : region.shape[1]]
    radius = min(region.shape) * rng.uniform(0.03, 0.12)
    return region & (np.hypot(row - y[centre], column - x[centre]) <= radius)


def blot(image: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The last resort, seen on every picture: a blob a quarter of the range lighter, or darker on light."""
    mask = _blob(region, rng)
    shift = np.where(image < 0.5, np.float32(0.25), np.float32(-0.25))
    return np.where(mask[..., None], image + shift, image), mask
