"""Baselines: three simple detectors that rest on public packages alone.

Each is fitted on pictures of good parts and maps a picture to distances: no upper bound, any map size.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter

from diffusionad import DiffusionADPipeline
from diffusionad.images.image_io import read_image, resize
from diffusionad.inspection.feature_learning import PATCHES, choose_patches
from diffusionad.models.feature_memory import FeatureMemory
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

    It is the pipeline's `FeatureMemory` alone, with the whole picture squeezed to a square. Differences from
    the paper: blocks 4 and 10 of EfficientNet-Lite0 (strides 8 and 16) in place of a WideResNet-50, the
    greedy choice among a random sample of the patches, no re-weighting of the score.

    Args:
        patches: number of patches in the memory.
        seed: seed of the sample and of the random projection.
        bit_depth: bits that the camera uses of 16-bit pictures.
    """

    def __init__(self, patches: int = PATCHES, seed: int = 0, bit_depth: int | None = None):
        self.patches, self.seed, self.bit_depth = patches, seed, bit_depth
        self.memory = FeatureMemory.with_pretrained_features()

    def fit(self, files: list[Path]) -> None:
        views = (square(read_image(file, bit_depth=self.bit_depth)) for file in files)
        self.memory.patches = choose_patches(self.memory, views, len(files), self.patches, self.seed)

    @torch.no_grad()
    def distances(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
        view = torch.from_numpy(square(picture)).permute(2, 0, 1)[None]
        nearest = self.memory(view)[None, None]  # [1,1,32,32]
        full = F.interpolate(nearest, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        return gaussian_filter(full[0, 0].numpy(), sigma=4, mode="nearest"), float(nearest.max())

    def megabytes(self) -> float:
        stored = self.memory.state_dict().values()
        return sum(tensor.numel() * tensor.element_size() for tensor in stored) / 1e6
