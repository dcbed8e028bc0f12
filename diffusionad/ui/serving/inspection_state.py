"""One inspection: run the model once, then judge and draw again at any threshold without it."""

import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diffusionad.images.bit_depth import smallest_depth
from diffusionad.images.blank import read_to_inspect
from diffusionad.images.image_io import highest_value, read_image, resize
from diffusionad.images.preparation import to_rgb_image
from diffusionad.inspection.visualize import DEFAULT_COLORMAP, colorize, draw_contours, overlay
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.known_marks import KnownMark
from diffusionad.postprocessing.regions import Region, find_defects
from diffusionad.postprocessing.repair import repair
from diffusionad.postprocessing.roi import encode_roi
from diffusionad.postprocessing.verdict import Verdict, verdict_of
from diffusionad.settings import SCORE_SETTINGS
from diffusionad.ui.serving.drawing import darken_outside, number_regions
from diffusionad.ui.serving.model_registry import Model

VIEWS = ("Overlay", "Contours", "Heat map", "Mask", "Reconstruction")
ENLARGED_SIDE = 480  # pixels, of a region that is looked at closely
MIN_ENLARGED_SIDE = 24  # pixels of the picture: less is a blur


@dataclass(frozen=True)
class Inspection:
    """One inspected picture, as the page shows it.

    Attributes:
        path: of the picture, on the server.
        bit_depth: of the model, at which the picture is read again.
        used_bits: of a 16-bit file that the model sees nearly black, as it names no `bit_depth`; else None.
        picture: RGB, at the size that is shown.
        reconstruction: RGB, of the same size, everything as the networks draw it.
        anomaly_map: float32 [H,W] in [0, 1], of the inspected picture's size.
        inside: bool [H',W'] at the model's size, the region of interest; None is the whole picture.
        score: in [0, 1].
        own_threshold: the model's own, or that of the user's calibration.
        calibration: None where it does not hold for these settings.
        settings: of the pipeline's call, as far as the user has set them.
        seed: of the noise.
        model, device, seconds: its name, what ran it, and the time to read the picture and inspect it.
        known_marks: peaks that were taken off the map, since good parts carry them.
        min_region_area: smaller regions are no anomaly, pixels.
        mask: bool [H,W], at the threshold in force.
        regions: of the mask, highest peak first.
        verdict: at the threshold in force.
        appearance: float64 [K], statistics of the whole picture.
    """

    path: str
    bit_depth: int | None
    used_bits: int | None
    picture: Image.Image
    reconstruction: Image.Image
    anomaly_map: np.ndarray
    inside: np.ndarray | None
    score: float
    own_threshold: float
    calibration: Calibration | None
    settings: dict[str, Any]
    seed: int
    model: str
    device: str
    seconds: float
    known_marks: tuple[KnownMark, ...]
    min_region_area: int
    mask: np.ndarray
    regions: tuple[Region, ...]
    verdict: Verdict
    appearance: np.ndarray

    def at_threshold(self, threshold: float, min_region_area: int | None = None) -> "Inspection":
        """Return the same inspection judged at another threshold; no network runs."""
        min_area = self.min_region_area if min_region_area is None else min_region_area
        judged = self.anomaly_map, self.score, threshold, self.calibration, min_area, len(self.known_marks)
        mask, regions, verdict = judge(*judged, self.appearance)
        return replace(self, min_region_area=min_area, mask=mask, regions=regions, verdict=verdict)

    def with_calibration(self, calibration: Calibration) -> "Inspection":
        """Return the same inspection judged by another calibration of the model, at its threshold."""
        fits = None if self.calibration is None else calibration
        changed = replace(self, calibration=fits, own_threshold=calibration.threshold)
        return changed.at_threshold(calibration.threshold)

    def expected_false_alarms(self) -> float | None:
        """Return the share of good parts above the threshold in force; None without a calibration."""
        if self.calibration is None:
            return None
        return float(self.calibration.p_values(np.array([self.verdict.threshold]))[0])

    def peak(self) -> tuple[float, float]:
        """Return the position of the map's maximum, (y, x) as shares of height and width."""
        height, width = self.anomaly_map.shape
        y, x = divmod(int(self.anomaly_map.argmax()), width)
        return (y + 0.5) / height, (x + 0.5) / width

    @cached_property
    def repaired(self) -> Image.Image:
        """The part as it should look, at the size that is shown; the picture unless it is defective."""
        if self.verdict.word != "defective":
            return self.picture
        threshold = self.verdict.threshold
        level = self.calibration.pixel_threshold_at(threshold) if self.calibration else threshold
        return repair(self.picture, self.reconstruction, *self.shown(self.picture), level)

    def shown(self, picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
        """Return map and mask at the size of a picture; regions below one of its pixels stay."""
        size = picture.height, picture.width
        mask = resize(self.mask.astype(np.float32), size) > 0
        return resize(self.anomaly_map, size).clip(0, 1), mask

    def enlarge_region(self, number: int) -> tuple[Image.Image, Image.Image]:
        """Return a region with some of its surroundings, and the same crop of the repaired part."""
        height, width = self.anomaly_map.shape
        left, top, right, bottom = self.regions[number].box
        margin = max(right - left, bottom - top, MIN_ENLARGED_SIDE) // 2
        corner = max(left - margin, 0), max(top - margin, 0)
        box = *corner, min(right + margin, width), min(bottom + margin, height)
        scale = ENLARGED_SIDE / max(box[2] - box[0], box[3] - box[1])
        size = max(1, round(scale * (box[2] - box[0]))), max(1, round(scale * (box[3] - box[1])))
        mask = Image.fromarray(self.mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR, box)
        crop = self.full_picture().resize(size, Image.Resampling.BICUBIC, box)
        shown = self.picture.width / width
        box_shown = shown * box[0], shown * box[1], shown * box[2], shown * box[3]
        repaired = self.repaired.resize(size, Image.Resampling.BICUBIC, box_shown)
        return draw_contours(crop, np.asarray(mask) > 0.5), repaired

    def json_settings(self) -> dict[str, Any]:
        """Return the user's settings as plain JSON types."""
        plain = {name: value for name, value in self.settings.items() if name != "roi"}
        roi = {"roi": encode_roi(self.settings["roi"])} if "roi" in self.settings else {}
        return {**plain, **roi, "seed": self.seed, "min_region_area": self.min_region_area}

    def draw(
        self, view: str = VIEWS[0], opacity: float = 0.5, colormap: str = DEFAULT_COLORMAP
    ) -> Image.Image:
        """Draw the picture as one of `VIEWS`, at the size that is shown."""
        return self._draw_on(self.picture, view, opacity, colormap)

    def draw_at_full_size(self, opacity: float, colormap: str) -> Image.Image:
        """Draw the overlay at the size of the uploaded picture, without numbers."""
        return replace(self, regions=())._draw_on(self.full_picture(), VIEWS[0], opacity, colormap)

    def full_picture(self) -> Image.Image:
        """Return the picture at its uploaded size, RGB; read the file again where a smaller one is shown."""
        height, width = self.anomaly_map.shape
        if self.picture.size == (width, height):
            return self.picture
        return to_rgb_image(read_image(self.path, bit_depth=self.bit_depth))

    def _draw_on(self, picture: Image.Image, view: str, opacity: float, colormap: str) -> Image.Image:
        (shown_map, shown_mask), threshold = self.shown(picture), self.verdict.threshold
        if view == "Heat map":
            return Image.fromarray(colorize(shown_map, colormap, threshold))
        if view == "Reconstruction":
            return self.reconstruction.resize(picture.size, Image.Resampling.BICUBIC)
        if view == "Mask":
            return Image.fromarray(shown_mask)
        if self.inside is not None:
            picture = darken_outside(picture, self.inside)
        if view == "Overlay":
            picture = overlay(picture, shown_map, opacity, colormap, threshold)
        return number_regions(draw_contours(picture, shown_mask), self.regions, self.anomaly_map.shape[1])


def judge(
    anomaly_map: np.ndarray,
    score: float,
    threshold: float,
    calibration: Calibration | None,
    min_region_area: int = 0,
    marks_left_out: int = 0,
    appearance: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[Region, ...], Verdict]:
    """Judge a picture at a threshold, as the pipeline does.

    Args:
        anomaly_map: float32 [H,W] in [0, 1].
        score: of the map, in [0, 1].
        threshold: in [0, 1].
        calibration: None where none holds for this score.
        min_region_area: smaller regions are no anomaly, pixels.
        marks_left_out: number of known marks that were taken off the map.
        appearance: float64 [K], statistics of the whole picture; None where it is not to be judged.

    Returns:
        Mask, bool [H,W]; its regions, highest peak first; the verdict.
    """
    pixel_threshold = calibration.pixel_threshold_at(threshold) if calibration else threshold
    is_high = score > threshold
    mask, regions = find_defects(anomaly_map, pixel_threshold, min_region_area, score if is_high else None)
    is_anomalous = is_high and (bool(regions) or not min_region_area)
    verdict = verdict_of(is_anomalous, score, threshold, calibration, marks_left_out, appearance)
    return mask, tuple(regions), verdict


def inspect_picture(
    model: Model,
    path: str,
    threshold: float | None = None,
    seed: int | None = None,
    max_side: int | None = None,
    calibration: Calibration | None = None,
    **settings: Any,
) -> Inspection:
    """Run the model on a picture.

    Args:
        model: loaded.
        path: of the picture.
        threshold: None is that of the calibration, or the model's own.
        seed: of the noise; None is the model's own.
        max_side: longest side of the shown picture, pixels; None is the picture's own size.
        calibration: the user's, in place of the model's own.
        settings: of the pipeline's call; None is the model's own.

    Raises:
        ValueError: the picture or a setting cannot be used.
        FileNotFoundError: no such picture.
        RuntimeError: the networks produced NaN.
    """
    started, config = time.perf_counter(), model.pipeline.config
    picture = read_to_inspect(path, config.bit_depth)  # [H,W,3] in [0,1]; its errors end no call of others
    seed = config.seed if seed is None else seed
    settings = {name: value for name, value in settings.items() if value is not None}
    own = calibration.threshold if calibration else config.threshold
    output = model.run(picture, seed, {**settings, "threshold": own if threshold is None else threshold})
    calibration = _calibration_for(model, calibration, seed, settings)
    min_area = settings.get("min_region_area", config.min_region_area)
    anomaly_map, score, marks = output.anomaly_map[0], float(output.score[0]), tuple(output.known_marks[0])
    judged = anomaly_map, score, output.threshold, calibration, min_area, len(marks), output.appearance[0]
    mask, regions, verdict = judge(*judged)
    shown, reconstruction = _fit(picture, output.reconstruction[0], max_side)
    return Inspection(
        path=path,
        bit_depth=config.bit_depth,
        used_bits=_used_bits(path) if config.bit_depth is None else None,
        picture=shown,
        reconstruction=reconstruction,
        anomaly_map=anomaly_map,
        inside=_inside(model, settings, picture.shape[:2]),
        score=score,
        own_threshold=own,
        calibration=calibration,
        settings=settings,
        seed=seed,
        model=model.name,
        device=model.device,
        seconds=time.perf_counter() - started,
        known_marks=marks,
        min_region_area=min_area,
        mask=mask,
        regions=regions,
        verdict=verdict,
        appearance=output.appearance[0],
    )


def _used_bits(path: str) -> int | None:
    """Return the bits that hold the values of a 16-bit file; None where it takes all, and for other files."""
    highest = highest_value(Path(path))
    bits = 16 if highest is None else smallest_depth(highest)
    return bits if bits < 16 else None


def _calibration_for(
    model: Model, calibration: Calibration | None, seed: int, settings: dict[str, Any]
) -> Calibration | None:
    """Return the user's calibration, else the model's own; None where these settings change the scores."""
    config = model.pipeline.config
    if seed != config.seed or "roi" in settings:
        return None
    if any(settings.get(name, config[name]) != config[name] for name in SCORE_SETTINGS if name != "roi"):
        return None
    return calibration or (Calibration.from_dict(config.calibration) if config.calibration else None)


def _fit(picture: np.ndarray, reconstruction: Any, max_side: int | None) -> tuple[Image.Image, Image.Image]:
    """Resize a picture, [H,W,3] in [0, 1], and its reconstruction, RGB, to the size that is shown."""
    height, width = picture.shape[:2]
    scale = min(1, max_side / max(height, width)) if max_side else 1
    height, width = max(1, round(height * scale)), max(1, round(width * scale))
    shown = to_rgb_image(resize(picture, (height, width)))  # rounding a large picture first takes seconds
    return shown, reconstruction.resize((width, height), Image.Resampling.BICUBIC)


def _inside(model: Model, settings: dict[str, Any], size: tuple[int, int]) -> np.ndarray | None:
    """Return where the model looks in a picture of this size, bool [H',W']; None is everywhere."""
    inside = model.pipeline.region_of_interest(size, settings.get("roi"), settings.get("ignore_border"))
    return None if inside.all() else inside
