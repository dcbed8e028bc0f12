"""The networks of a pipeline as graphs: noise -> UNet -> blend -> segmenter -> map, and the distances."""

import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from diffusionad.guidance import NoiseDraw
from diffusionad.models.feature_memory import FeatureMemory
from diffusionad.pipeline import DiffusionADPipeline

BATCH_MAX = 16  # tiles that a graph takes at a time


class Networks(nn.Module):
    """What a pipeline computes between its pre- and its post-processing, with its saved settings and noise.

    Args:
        pipeline: on a CPU, in float32.
    """

    def __init__(self, pipeline: DiffusionADPipeline):
        super().__init__()
        self.unet, self.segmenter = pipeline.unet, pipeline.segmenter
        self._pipeline = [pipeline]  # in a list: not a module of this one
        self._noises = pipeline._draw_noise(pipeline.settings(), None)
        for i, noise in enumerate(self._noises):
            self.register_buffer(f"fine_{i}", noise.fine, persistent=False)
            self.register_buffer(f"coarse_{i}", noise.coarse, persistent=False)

    def forward(self, x_0: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map [M,1,S,S] in [0, 1] and x_0_hat [M,3,S,S], means over the noise draws."""
        [pipeline], count = self._pipeline, len(self._noises)
        settings = pipeline.settings()
        anomaly_map, x_0_hat = torch.zeros_like(x_0[:, :1]), torch.zeros_like(x_0)
        for i, noise in enumerate(self._noises):
            draw = NoiseDraw(getattr(self, f"fine_{i}"), getattr(self, f"coarse_{i}"), noise.state)
            x_0_hat_k = pipeline._denoise(x_0, draw, settings).x_0_hat
            anomaly_map = anomaly_map + pipeline._segment(x_0, x_0_hat_k) / count
            x_0_hat = x_0_hat + x_0_hat_k / count
        return anomaly_map, x_0_hat


class Distances(nn.Module):
    """The distance of each patch of a picture [1,3,H,W] in [0, 1] to good parts, [H/8,W/8]."""

    def __init__(self, memory: FeatureMemory):
        super().__init__()
        self.memory = memory

    def forward(self, picture: Tensor) -> Tensor:
        """Return distances of patches; the square is expanded, since ONNX has no `cdist`."""
        described = self.memory.describe(picture)[0]  # [C,h,w]
        queries, known = described.flatten(1).T, self.memory.patches  # [P,C], [K,C]
        squares = queries.square().sum(1, keepdim=True) + known.square().sum(1) - 2 * queries @ known.T
        return squares.amin(dim=1).clamp_min(0).sqrt().view(described.shape[1:])


def write_onnx(pipeline: DiffusionADPipeline, folder: Path) -> list[str]:
    """Write networks.onnx, and distances.onnx of a pipeline with a `FeatureMemory`; return their names."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own, about packages that are not needed
        _write_networks(pipeline, folder / "networks.onnx")
        if pipeline.feature_memory is None:
            return ["networks.onnx"]
        _write_distances(pipeline.feature_memory, folder / "distances.onnx")
        return ["networks.onnx", "distances.onnx"]


def _write_networks(pipeline: DiffusionADPipeline, path: Path) -> None:
    side = pipeline.config.image_size
    program = torch.onnx.export(
        Networks(pipeline).eval().requires_grad_(False),
        (torch.zeros(2, 3, side, side),),
        dynamo=True,
        input_names=["x"],
        output_names=["map", "x_0_hat"],
        dynamic_shapes=({0: torch.export.Dim("tiles", min=1, max=BATCH_MAX)},),
        verbose=False,
    )
    assert program is not None
    program.save(str(path), external_data=False)


def _write_distances(memory: FeatureMemory, path: Path) -> None:
    # Traced, at multiples of 16, where all sizes are padded alike: with a height and a width of their own,
    # the other exporter solves inequalities for minutes.
    torch.onnx.export(
        Distances(memory).eval().requires_grad_(False),
        (torch.zeros(1, 3, 256, 336),),
        str(path),
        dynamo=False,
        input_names=["x"],
        output_names=["distances"],
        dynamic_axes={"x": {2: "height", 3: "width"}, "distances": {0: "rows", 1: "columns"}},
        opset_version=18,
    )
