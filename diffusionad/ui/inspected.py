"""One inspection: run the model once, then redraw verdict, mask and regions at any threshold without it."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

from diffusionad.calibration import Calibration
from diffusionad.image_io import read_image, resize
from diffusionad.results import Verdict, verdicts_of
from diffusionad.scoring import Region, find_regions
from diffusionad.ui.models import Model
from diffusionad.visualize import DEFAULT_COLORMAP, colorize, draw_contours, overlay

VIEWS = ("Overlay", "Contours", "Heat map", "Mask")


@dataclass(frozen=True)
class Inspected:
    """What the page needs to show an inspection.

    Attributes:
        picture: RGB, at the size that is shown.
        reconstruction: RGB, of the same size.
        anomaly_map: float32 [H,W] in [0, 1], of the inspected picture's size.
        mask: bool [H,W].
        regions: the mask's regions, highest peak first.
        verdict: at the threshold in force.
        saved_threshold: the model's own.
        calibration: None where it says nothing about these settings.
        min_region_area: smaller regions are no anomaly, pixels.
        model: its name.
        device: where it ran.
        seconds: reading the picture and inspecting it.
    """

    picture: Image.Image
    reconstruction: Image.Image
    anomaly_map: np.ndarray
    mask: np.ndarray
    regions: list[Region]
    verdict: Verdict
    saved_threshold: float
    calibration: Calibration | None
    min_region_area: int
    model: str
    device: str
    seconds: float

    def at(self, threshold: float) -> "Inspected":
        """The same inspection judged at another threshold; no network runs."""
        known = self.calibration is not None
        pixel_threshold = self.calibration.pixel_threshold_at(threshold) if known else threshold
        mask, regions = find_regions(
            self.anomaly_map, self.anomaly_map > pixel_threshold, self.min_region_area
        )
        is_anomalous = self.verdict.score > threshold and (bool(regions) or not self.min_region_area)
        promises = known and threshold == self.calibration.threshold
        verdict = replace(
            self.verdict,
            is_anomalous=is_anomalous,
            threshold=threshold,
            false_alarm_rate=self.calibration.rate if promises else None,
        )
        return replace(self, mask=mask, regions=regions, verdict=verdict)

    def false_alarms(self) -> float | None:
        """Share of normal pictures above the threshold in force, as far as the calibration can tell."""
        if self.calibration is None:
            return None
        return float(self.calibration.p_values(np.array([self.verdict.threshold]))[0])

    def draw(
        self, view: str = VIEWS[0], opacity: float = 0.5, colormap: str = DEFAULT_COLORMAP
    ) -> Image.Image:
        """The picture as one of `VIEWS`, at the size that is shown."""
        width, height = self.picture.size
        shown_map = resize(self.anomaly_map, (height, width)).clip(0, 1)
        shown_mask = resize(self.mask.astype(np.float32), (height, width)) > 0  # no region gets lost
        threshold = self.verdict.threshold
        if view == "Contours":
            return draw_contours(self.picture, shown_mask)
        if view == "Heat map":
            return Image.fromarray(colorize(shown_map, colormap, threshold))
        if view == "Mask":
            return Image.fromarray(shown_mask)
        return draw_contours(overlay(self.picture, shown_map, opacity, colormap, threshold), shown_mask)


def inspect_picture(
    model: Model,
    path: str,
    threshold: float | None = None,
    seed: int | None = None,
    max_side: int | None = None,
    **settings: Any,
) -> Inspected:
    """Run the model on a picture.

    Args:
        model: loaded.
        path: of the picture.
        threshold: None is the model's own.
        seed: of the noise; None is the model's own.
        max_side: longest side of what is shown, pixels; None is the picture's own size.
        settings: of the pipeline's call.

    Raises:
        ValueError: the picture or a setting cannot be used.
        FileNotFoundError: no such picture.
        RuntimeError: the networks produced NaN.
    """
    started = time.perf_counter()
    picture = read_image(path)  # [H,W,3] in [0,1]
    config = model.pipeline.config
    is_own_seed = seed is None or seed == config.seed
    generator = None if is_own_seed else torch.Generator().manual_seed(seed)
    with model.lock:
        output = model.pipeline(picture, threshold=threshold, generator=generator, **settings)
    [verdict] = verdicts_of(output, config.calibration)
    height, width = picture.shape[:2]
    scale = min(1, max_side / max(height, width)) if max_side else 1
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = resize(picture, (size[1], size[0]))  # before the rounding: large pictures take seconds otherwise
    return Inspected(
        picture=Image.fromarray((shown * 255).round().clip(0, 255).astype(np.uint8)),
        reconstruction=output.reconstruction[0].resize(size, Image.Resampling.BICUBIC),
        anomaly_map=output.anomaly_map[0],
        mask=output.mask[0],
        regions=output.regions[0],
        verdict=verdict,
        saved_threshold=config.threshold,
        calibration=None if output.p_value is None else Calibration.from_dict(config.calibration),
        min_region_area=config.min_region_area,
        model=model.name,
        device=model.device,
        seconds=time.perf_counter() - started,
    )
