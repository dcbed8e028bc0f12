"""The maps of a model with a `FeatureMemory`, joined: distances to good parts, segmenter, residual.

Each is brought to units of good parts, 0 the median of their pixels and 1 the median of their peaks, and then
added.
It needs no torch, and serves exported models as well.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from diffusionad.images.image_io import resize
from diffusionad.images.tiling import TiledPicture

# Of a picture as the network sees it: a long strip at full scale would fill the memory.
VIEW_PIXELS = 4_000_000
VIEW_STEP = 16  # pixels
# Standard deviations of the Gaussians that smooth distances and residuals, as shares of the shorter side.
SMOOTHING, RESIDUAL_SMOOTHING = 4 / 256, 2 / 256
MAPS = ("distance", "segmenter", "residual")  # in the order of their weights
LOGIT_MIN, LOGIT_MAX = -12.0, 12.0  # of the segmenter's map; beyond, differences say nothing


def view_size(shorter_side: int, size: tuple[int, int]) -> tuple[int, int]:
    """Return the size at which features of a picture of `size` (H, W) are looked at.

    It has 4 megapixels at most, and multiples of 16 on each side: the network halves pictures four times, and
    an exported graph pads all of them alike.
    """
    scale = min(shorter_side / min(size), (VIEW_PIXELS / (size[0] * size[1])) ** 0.5)
    height, width = (VIEW_STEP * max(1, round(scale * side / VIEW_STEP)) for side in size)
    return height, width


def smooth_distances(coarse: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bring distances of patches, float32 [h,w], to `size` (H', W') and smooth them."""
    full = resize(np.repeat(coarse[..., None], 3, axis=2), size)[..., 0]
    return gaussian_filter(full, SMOOTHING * min(size), mode="nearest")


def maps_of(tiled: TiledPicture) -> dict[str, np.ndarray]:
    """Return what `join` adds, by name, [H',W'] each: "distance", "segmenter" (a logit), "residual"."""
    assert tiled.distance is not None
    residual = np.abs(tiled.picture - tiled.reconstruction).mean(axis=2)
    return {
        "distance": tiled.distance,
        "segmenter": to_logit(tiled.anomaly_map),
        "residual": gaussian_filter(residual, RESIDUAL_SMOOTHING * min(residual.shape), mode="nearest"),
    }


def join(maps: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> np.ndarray:
    """Join maps into one, float32 [H',W'] in [0, 1); one half is what good parts' peaks typically reach.

    Args:
        maps: as `maps_of` returns them.
        config: of the `FeatureMemory`: the units of each map, and their weights.
    """
    weights = np.divide(config["weights"], sum(config["weights"]))
    units = (config[f"{name}_range"] for name in MAPS)
    odd = sum(w * in_units(maps[n], u) for n, w, u in zip(MAPS, weights, units, strict=True))
    return (odd / (1 + odd)).astype(np.float32)


def to_logit(anomaly_map: np.ndarray) -> np.ndarray:
    """Return the logit of map values in [0, 1], within +-12."""
    p = anomaly_map.astype(np.float64).clip(1e-9, 1 - 1e-9)
    return np.log(p / (1 - p)).clip(LOGIT_MIN, LOGIT_MAX)


def in_units(values: np.ndarray, unit: Sequence[float]) -> np.ndarray:
    """Return values so that `unit` is 0 and 1; none is below 0."""
    zero, one = unit
    return ((values - zero) / (one - zero)).clip(0)
