"""The memory of good parts in pretrained features: an optional component of the pipeline.

PatchCore (Roth et al., 2022): what is far from every patch of the good parts is odd. The pipeline joins these
distances with the segmenter's map and with the residual of the reconstruction. `diffusionad.learn_features`
fills the memory; its weights travel with the model, so loading one needs no package of weights and no
download.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from diffusionad.images.tiling import TiledPicture
from diffusionad.models.efficientnet_lite0 import STAGES, Lite0, channels_of, load_lite0
from diffusionad.postprocessing.fusion import (
    LOGIT_MAX,
    LOGIT_MIN,
    MAPS,
    join,
    maps_of,
    smooth_distances,
    view_size,
)

PATCHES_MAX = 50_000  # in a memory
QUERIES = 1024  # patches that are compared with the memory at a time


class FeatureMemory(ModelMixin, ConfigMixin):
    """Patches of good parts in the features of EfficientNet-Lite0, and how far others may be from them.

    Three maps are added, each in units of good parts: 0 is the median of their pixels, 1 the median of their
    peaks.

    Args:
        blocks: numbers of the network's blocks whose outputs describe a patch, ascending; 4 has stride 8 and
            10 stride 16.
        shorter_side: pixels to which pictures are scaled before the network sees them as a whole.
        num_patches: patches in the memory.
        neighbourhood: side of the square of features that are averaged to describe a patch, odd.
        distance_range: distance at 0 and at 1.
        segmenter_range: logit of the segmenter's map at 0 and at 1.
        residual_range: smoothed |picture - reconstruction| at 0 and at 1.
        weights: of distances, segmenter and residual; at least 0, and not all of them 0.

    Raises:
        ValueError: a value out of range.
    """

    @register_to_config
    def __init__(
        self,
        blocks: tuple[int, ...] = (4, 10),
        shorter_side: int = 256,
        num_patches: int = 0,
        neighbourhood: int = 3,
        distance_range: tuple[float, ...] = (0.0, 1.0),
        segmenter_range: tuple[float, ...] = (LOGIT_MIN, LOGIT_MAX),
        residual_range: tuple[float, ...] = (0.0, 1.0),
        weights: tuple[float, ...] = (0.5, 0.25, 0.25),
    ):
        super().__init__()
        _check(locals())
        self.backbone = Lite0(last_block=max(blocks)).eval()
        self.register_buffer("patches", torch.zeros(num_patches, sum(map(channels_of, blocks))))

    @classmethod
    def with_pretrained_features(cls, **config: Any) -> "FeatureMemory":
        """Return an empty memory whose network has its ImageNet weights.

        Raises:
            ValueError: the package with the weights is not installed.
        """
        memory = cls(**config)
        memory.backbone.load_state_dict(load_lite0().state_dict(), strict=False)  # without the classifier
        return memory.requires_grad_(False)

    def describe(self, picture: Tensor) -> Tensor:
        """Describe each patch of pictures [N,3,H,W] in [0, 1]: [N,C,H/8,W/8], rounded up."""
        found = self.backbone.features(picture.to(self.dtype), self.config.blocks)
        side = self.config.neighbourhood
        found = [F.avg_pool2d(f, side, stride=1, padding=side // 2, count_include_pad=True) for f in found]
        size = found[0].shape[-2:]
        return torch.cat([F.interpolate(f, size, mode="bilinear", align_corners=False) for f in found], dim=1)

    def forward(self, picture: Tensor) -> Tensor:
        """Return the distance of each patch to the nearest one in the memory.

        Args:
            picture: [1,3,H,W] in [0, 1], at the size of `size_of`.

        Returns:
            [H/8,W/8], rounded up, float32.
        """
        described = self.describe(picture)[0]  # [C,h,w]
        queries = described.flatten(1).T.float()  # [P,C]
        known = self.patches.float()
        nearest = [torch.cdist(some, known).amin(dim=1) for some in queries.split(QUERIES)]
        return torch.cat(nearest).view(described.shape[1:])

    def size_of(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the size at which the network sees a picture of `size` (H, W): 4 megapixels at most."""
        return view_size(self.config.shorter_side, size)

    def distances(self, view: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Return smoothed distances, float32 [H',W'].

        Args:
            view: a picture at the size of `size_of`, [H,W,3] in [0, 1].
            size: (H', W') of the result.
        """
        picture = torch.from_numpy(view).permute(2, 0, 1)[None]
        if self.device.type != "meta":  # offloaded weights: hooks move both
            picture = picture.to(self.device)
        return smooth_distances(self(picture).cpu().numpy(), size)

    def fuse(self, tiled: TiledPicture, view: np.ndarray) -> np.ndarray:
        """Join the segmenter's map, the residual and the distances of a picture: [H',W'] in [0, 1).

        One half is what the highest pixel of a good part typically reaches.

        Args:
            tiled: the picture with its reconstruction and the segmenter's map, at the model's size.
            view: the picture at the size of `size_of`, [H,W,3] in [0, 1].
        """
        return join(self.maps(tiled, view), self.config)

    def maps(self, tiled: TiledPicture, view: np.ndarray) -> dict[str, np.ndarray]:
        """Return what `fuse` joins, by name, [H',W'] each: "distance", "segmenter" (a logit), "residual"."""
        tiled.distance = self.distances(view, tiled.picture.shape[:2])
        return maps_of(tiled)


def greedy_coreset(points: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose points greedily, each the farthest from the ones before (k-centre).

    Distances are computed in a random projection to 64 dimensions, as in PatchCore.

    Args:
        points: [M,C].
        count: number of points; a count above M chooses all M.
        generator: random generator of the projection and the first point.

    Returns:
        Indices of the chosen points, in the order of the choice.
    """
    width = min(64, points.shape[1])
    projection = torch.randn(points.shape[1], width, generator=generator) / width**0.5
    projected = points @ projection  # [M,64]
    squares = projected.square().sum(dim=1)
    chosen = torch.empty(min(count, len(points)), dtype=torch.long)
    current = int(torch.randint(len(points), (1,), generator=generator))
    nearest = torch.full((len(points),), torch.inf)
    for i in range(len(chosen)):
        chosen[i] = current
        distance = squares + squares[current] - 2 * (projected @ projected[current])
        nearest = torch.minimum(nearest, distance)
        current = int(nearest.argmax())
    return chosen


def _check(config: dict[str, Any]) -> None:
    """Raise a ValueError that names the first value out of range."""
    last = sum(stage[0] for stage in STAGES) - 1
    blocks = list(config["blocks"])
    if not blocks or blocks != sorted(set(blocks)) or not all(b in range(last + 1) for b in blocks):
        raise ValueError(f"`blocks` is {config['blocks']!r}; list ascending numbers in 0..{last}.")
    limits = {"shorter_side": (32, 4096), "num_patches": (0, PATCHES_MAX), "neighbourhood": (1, 15)}
    for name, (low, high) in limits.items():
        if type(config[name]) is not int or not low <= config[name] <= high:
            raise ValueError(f"`{name}` is {config[name]!r}; give an integer in {low}..{high}.")
    if config["neighbourhood"] % 2 == 0:
        raise ValueError(f"`neighbourhood` is {config['neighbourhood']}; give an odd number.")
    for name in (f"{name}_range" for name in MAPS):
        pair = config[name]
        if len(pair) != 2 or not np.isfinite(pair).all() or not pair[0] < pair[1]:
            raise ValueError(f"`{name}` is {pair!r}; give two numbers, the smaller one first.")
    weights = config["weights"]
    if len(weights) != len(MAPS) or not np.isfinite(weights).all() or min(weights) < 0 or not any(weights):
        raise ValueError(f"`weights` is {weights!r}; give three numbers of at least 0, one of them above 0.")


# A file format: model_index.json names the memory as ["diffusionad", "FeatureMemory"].
FeatureMemory.__module__ = "diffusionad"
