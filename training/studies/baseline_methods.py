"""Baselines: three simple detectors that rest on public packages alone.

Each is fitted on pictures of good parts and maps a picture to distances: no upper bound, any map size.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter
from torch import Tensor

from diffusionad import DiffusionADPipeline
from diffusionad.images.image_io import read_image, resize
from diffusionad.models.efficientnet_lite0 import load_lite0
from diffusionad.models.feature_memory import greedy_coreset
from diffusionad.postprocessing.scoring import top_mean

SIDE = 256
TOP_FRACTION = 50 / 256**2  # the score of a map, as in the paper


class Baseline(Protocol):
    """A detector that `training.studies.baselines` can measure."""

    def fit(self, files: list[Path]) -> None:
        """Fit the detector to good pictures."""

    def distances(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        """Return map (any size) and score of a picture, [H,W,3] in [0, 1]; higher is more anomalous."""

    def megabytes(self) -> float:
        """Return the size of everything that inspection needs stored."""


def square(picture: np.ndarray) -> np.ndarray:
    """Resize [H,W,3] to [256,256,3]."""
    return resize(picture, (SIDE, SIDE))


class PixelGaussian:
    """Per-pixel Gaussian of each channel; the distance is the largest |z| over the channels, smoothed.

    Args:
        bit_depth: bits that the camera uses of 16-bit pictures.
    """

    def __init__(self, bit_depth: int | None = None):
        self.bit_depth = bit_depth

    def fit(self, files: list[Path]) -> None:
        total, squares = np.zeros((SIDE, SIDE, 3)), np.zeros((SIDE, SIDE, 3))
        for file in files:
            picture = square(read_image(file, bit_depth=self.bit_depth)).astype(np.float64)
            total += picture
            squares += picture**2
        self.mean = (total / len(files)).astype(np.float32)
        # A spread below half a grey level is rounding.
        variance = np.maximum(squares / len(files) - (total / len(files)) ** 2, (0.5 / 255) ** 2)
        self.std = np.sqrt(variance).astype(np.float32)

    def distances(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        z = (np.abs(square(picture) - self.mean) / self.std).max(axis=2)
        smooth = gaussian_filter(z, sigma=2, mode="nearest")
        return smooth, top_mean(smooth, TOP_FRACTION)

    def megabytes(self) -> float:
        return (self.mean.nbytes + self.std.nbytes) / 1e6


class ReconstructionError:
    """Reconstruction error of a pipeline, without its segmenter: |x_0 - x_0_hat|, smoothed.

    Args:
        pipeline: a trained pipeline; `fit` does nothing.
    """

    def __init__(self, pipeline: DiffusionADPipeline):
        self.pipeline = pipeline

    def fit(self, files: list[Path]) -> None:
        pass

    def distances(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        output = self.pipeline(picture, output_type="np")
        reconstruction = np.asarray(output.reconstruction[0])  # [H',W',3]
        height, width = reconstruction.shape[:2]
        error = np.abs(resize(picture, (height, width)) - reconstruction).mean(axis=2)
        smooth = gaussian_filter(error, sigma=2, mode="nearest")
        return smooth, top_mean(smooth, TOP_FRACTION, area=self.pipeline.config.image_size**2)

    def megabytes(self) -> float:
        return sum(p.numel() * 4 for p in self.pipeline.unet.parameters()) / 1e6


class PatchMemory:
    """Patch memory in the style of PatchCore (Roth et al., 2022): nearest neighbours in a greedy coreset.

    The features come from blocks 4 and 10 of EfficientNet-Lite0 (strides 8 and 16), averaged over 3 x 3
    neighbours; the memory is a greedy k-centre coreset. Differences from the paper: Lite0 in place of a
    WideResNet-50, the greedy choice among a random sample of the patches, no re-weighting of the score.

    Args:
        patches: number of patches in the memory.
        candidates: number of patches that the coreset is chosen from.
        seed: seed of the sample and of the random projection.
        bit_depth: bits that the camera uses of 16-bit pictures.
    """

    BLOCKS = (4, 10)
    QUERY = 1024  # number of patches compared at a time

    def __init__(
        self, patches: int = 4096, candidates: int = 100_000, seed: int = 0, bit_depth: int | None = None
    ):
        self.patches, self.candidates, self.seed = patches, candidates, seed
        self.bit_depth = bit_depth
        self.network = load_lite0()

    @torch.no_grad()
    def fit(self, files: list[Path]) -> None:
        generator = torch.Generator().manual_seed(self.seed)
        each = -(-self.candidates // len(files))
        sample = []
        for file in files:
            patches = self._patches(read_image(file, bit_depth=self.bit_depth))
            sample.append(patches[torch.randperm(len(patches), generator=generator)[:each]])
        pool = torch.cat(sample)  # [M,C]
        self.memory = pool[greedy_coreset(pool, self.patches, generator)]

    @torch.no_grad()
    def distances(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        patches = self._patches(picture)
        nearest = torch.cat([torch.cdist(q, self.memory).amin(dim=1) for q in patches.split(self.QUERY)])
        side = round(len(nearest) ** 0.5)
        coarse = nearest.view(1, 1, side, side)
        full = F.interpolate(coarse, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        return gaussian_filter(full[0, 0].numpy(), sigma=4, mode="nearest"), float(nearest.max())

    def megabytes(self) -> float:
        network = sum(p.numel() for p in self.network.parameters())
        return (network + self.memory.numel()) * 4 / 1e6

    def _patches(self, picture: np.ndarray) -> Tensor:
        x = torch.from_numpy(square(picture)).permute(2, 0, 1)[None]
        fine, coarse = (
            F.avg_pool2d(f, 3, stride=1, padding=1) for f in self.network.features(x, self.BLOCKS)
        )
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([fine, coarse], dim=1)[0].flatten(1).T.contiguous()  # [P,152]
