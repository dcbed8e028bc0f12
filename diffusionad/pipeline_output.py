"""What the pipeline returns: the verdicts of a call, and the steps that lead from one picture to its map."""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image
from torch import Tensor

from diffusionad.picture_result import ByPicture, columns_of
from diffusionad.postprocessing.known_marks import KnownMark
from diffusionad.postprocessing.postprocessor import Finding, Postprocessor
from diffusionad.postprocessing.regions import Region
from diffusionad.postprocessing.verdict import Verdict

STAGES = ("preprocess", "denoise", "segment", "score")


@dataclass(repr=False)
class DiffusionADOutput(ByPicture, BaseOutput):
    """Anomaly maps, scores, verdicts and reconstructions of N pictures.

    The networks see a picture at the model's size H'_i x W'_i: S x S when it is stretched, its own shape when
    it is cut into S x S tiles.

    Attributes:
        anomaly_map: list of N float32 [H_i,W_i] in [0, 1], at each picture's own size.
        score: float64 [N] in [0, 1], mean of the largest pixels of the map at the model's size; as many of
            them for a picture of many tiles as for one.
        is_anomalous: bool [N], score above the threshold (and a region left, when `min_region_area` is set).
        p_value: float64 [N] in (0, 1], probability that a normal picture scores this high; None without a
            calibration that fits the settings of this call.
        mask: list of N bool [H_i,W_i], map above `pixel_threshold`, regions that are too small left out; of a
            defective picture without such a pixel, those that made its score.
        reconstruction: the anomaly-free pictures at the model's size, by `output_type`: "pil" a list of N RGB
            images, "np" float32 [N,S,S,3] in [0, 1], "pt" float32 [N,3,S,S] in [0, 1]; in tiles, where sizes
            differ, "np" a list of N [H'_i,W'_i,3] and "pt" a list of N [3,H'_i,W'_i].
        regions: for each picture its connected anomalous regions, highest peak first, in its own pixels.
        known_marks: for each picture the peaks that looked like a mark of a good part and were faded; empty
            lists for a pipeline without a `mark_memory`.
        threshold: the threshold that was applied to scores, in [0, 1].
        pixel_threshold: the threshold that was applied to maps, in [0, 1]: the calibration's own at its
            threshold, else the same as `threshold`.
        timings: seconds of the whole call by stage: "preprocess", "denoise", "segment", "score", "total".
        picture: the N pictures as they were read, RGB at their own size.
        verdict: of each picture, with the words and the promise of its calibration.
        appearance: float64 [N,K], statistics of the whole pictures, which `calibrate` takes.
        is_known: bool [N], False for a picture that does not look like those of the calibration at all: its
            score and reconstruction mean nothing. None without a calibration that has learned it.
        familiarity_p_value: float64 [N] in (0, 1], probability that a good picture looks this unusual; None
            likewise.

    `result["score"]` and `result.score` are a field of all pictures. `result[0]` is everything about the
    first picture, a `PictureResult`; `len(result)` counts pictures, and a loop over the result yields them.
    A tuple of the fields comes from `return_dict=False`.
    """

    anomaly_map: list[np.ndarray]
    score: np.ndarray
    is_anomalous: np.ndarray
    p_value: np.ndarray | None
    mask: list[np.ndarray]
    reconstruction: list[Image.Image] | list[np.ndarray] | list[Tensor] | np.ndarray | Tensor
    regions: list[list[Region]]
    known_marks: list[list[KnownMark]]
    threshold: float
    pixel_threshold: float
    timings: dict[str, float]
    picture: list[Image.Image]
    verdict: list[Verdict]
    appearance: np.ndarray
    is_known: np.ndarray | None
    familiarity_p_value: np.ndarray | None


def build_output(
    results: list[tuple[Image.Image, Finding, list[KnownMark], Any]],
    postprocess: Postprocessor,
    timings: dict[str, float],
    output_type: str,
    is_one_size: bool,
) -> DiffusionADOutput:
    """Turn the results of N pictures into the output of a call.

    Args:
        results: of each picture: itself, what its map says, the marks that were faded, its reconstruction.
        postprocess: what judged the maps.
        timings: seconds by stage.
        output_type: form of the reconstructions, "pil", "np" or "pt".
        is_one_size: reconstructions are of one size; "np" and "pt" are stacked then.
    """
    pictures, findings, known_marks, reconstructions = (list(column) for column in zip(*results, strict=True))
    if is_one_size and output_type != "pil":
        reconstructions = (np if output_type == "np" else torch).stack(reconstructions)  # type: ignore[attr-defined]
    columns = columns_of(pictures, findings, known_marks, postprocess)
    return DiffusionADOutput(**columns, reconstruction=reconstructions, timings=timings)


@dataclass
class DenoisingSteps(BaseOutput):
    """Intermediate results for one tile of one picture and the first noise draw.

    Attributes:
        tile: float32 [S,S,3] in [0, 1], what the networks see.
        tile_count: number of tiles of the picture; 1 when it is stretched.
        x_t_fine: float32 [S,S,3], the tile noised to `t_fine`, clamped to [0, 1].
        x_0_hat: float32 [S,S,3] in [0, 1], the reconstruction: both predictions blended by norm guidance, or
            what a distilled model predicts at once.
        anomaly_map: float32 [S,S] in [0, 1].
        x_t_coarse: float32 [S,S,3], the tile noised to `t_coarse`, clamped to [0, 1]; None if distilled.
        x_0_fine: float32 [S,S,3], one-step prediction from `t_fine`, clamped to [0, 1]; None if distilled.
        x_0_coarse: likewise from `t_coarse`.
    """

    tile: np.ndarray
    tile_count: int
    x_t_fine: np.ndarray
    x_0_hat: np.ndarray
    anomaly_map: np.ndarray
    x_t_coarse: np.ndarray | None = None
    x_0_fine: np.ndarray | None = None
    x_0_coarse: np.ndarray | None = None


class StageTimer:
    """Seconds of a call by stage.

    Args:
        device: of the networks; what was begun there is waited for, so that the stage that gave the work is
            the one that it is counted for.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.started = self.since = time.perf_counter()
        self.seconds = dict.fromkeys(STAGES, 0.0)

    def lap(self, stage: str) -> None:
        """Count the time since the last lap for a stage."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[stage] += now - self.since
        self.since = now

    def timings(self) -> dict[str, float]:
        """Return seconds by stage, and of the whole call as "total"."""
        return {**self.seconds, "total": time.perf_counter() - self.started}
