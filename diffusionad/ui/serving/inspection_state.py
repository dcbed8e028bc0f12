"""One inspection: run the model once, then judge and draw again at any threshold without it."""

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from diffusionad.images.image_io import read_image, resize
from diffusionad.inspection.results import Verdict
from diffusionad.inspection.visualize import CONTOUR, DEFAULT_COLORMAP, HALO, colorize, draw_contours, overlay
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.known_marks import KnownMark
from diffusionad.postprocessing.regions import Region, find_regions
from diffusionad.settings import SCORE_SETTINGS
from diffusionad.ui.serving.model_registry import Model

VIEWS = ("Overlay", "Contours", "Heat map", "Mask")
MAX_NUMBERED = 10  # regions that carry their number in the picture, as in the table
ENLARGED_SIDE = 480  # pixels, of a region that is looked at closely
MIN_ENLARGED_SIDE = 24  # pixels of the picture: less is a blur
BRIGHTNESS_OUTSIDE = 0.35  # brightness that is left where the model does not look


@dataclass(frozen=True)
class Inspection:
    """What the page needs to show an inspection.

    Attributes:
        path: of the picture, on the server.
        picture: RGB, at the size that is shown.
        reconstruction: RGB, of the same size.
        anomaly_map: float32 [H,W] in [0, 1], of the inspected picture's size.
        inside: bool [H',W'] at the model's size, where it looked; None is everywhere.
        score: in [0, 1].
        own_threshold: the model's own, or that of the visitor's calibration.
        calibration: None where it says nothing about these settings.
        settings: of the pipeline's call, as far as the visitor has set them.
        seed: of the noise.
        model: its name.
        device: where it ran.
        seconds: reading the picture and inspecting it.
        known_marks: what was taken off the map, as good parts carry it.
        min_region_area: smaller regions are no anomaly, pixels.
        mask: bool [H,W], at the threshold in force.
        regions: the mask's regions, highest peak first.
        verdict: at the threshold in force.
    """

    path: str
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
    known_marks: tuple[KnownMark, ...] = ()
    min_region_area: int = 0
    mask: np.ndarray | None = None
    regions: tuple[Region, ...] = ()
    verdict: Verdict | None = None

    def at_threshold(self, threshold: float, min_region_area: int | None = None) -> "Inspection":
        """The same inspection judged at another threshold; no network runs."""
        min_area = self.min_region_area if min_region_area is None else min_region_area
        calibration = self.calibration
        pixel_threshold = calibration.pixel_threshold_at(threshold) if calibration else threshold
        mask, regions = find_regions(self.anomaly_map, self.anomaly_map > pixel_threshold, min_area)
        verdict = Verdict(
            is_anomalous=self.score > threshold and (bool(regions) or not min_area),
            score=self.score,
            threshold=threshold,
            p_value=calibration and float(calibration.p_values(np.array([self.score]))[0]),
            false_alarm_rate=calibration.rate if calibration and threshold == calibration.threshold else None,
            n=calibration and calibration.n,
            marks_left_out=len(self.known_marks),
        )
        return replace(self, min_region_area=min_area, mask=mask, regions=tuple(regions), verdict=verdict)

    def with_calibration(self, calibration: Calibration) -> "Inspection":
        """The same inspection with another calibration of the model, at its threshold."""
        fits = None if self.calibration is None else calibration
        changed = replace(self, calibration=fits, own_threshold=calibration.threshold)
        return changed.at_threshold(calibration.threshold)

    def expected_false_alarms(self) -> float | None:
        """Share of normal pictures above the threshold in force, as far as the calibration can tell."""
        if self.calibration is None:
            return None
        return float(self.calibration.p_values(np.array([self.verdict.threshold]))[0])

    def peak(self) -> tuple[float, float]:
        """Where the map is highest, (y, x) as shares of height and width."""
        height, width = self.anomaly_map.shape
        y, x = divmod(int(self.anomaly_map.argmax()), width)
        return (y + 0.5) / height, (x + 0.5) / width

    def enlarge_region(self, number: int) -> tuple[Image.Image, Image.Image]:
        """A region with some of its surroundings, and the same piece of the reconstruction."""
        height, width = self.anomaly_map.shape
        left, top, right, bottom = self.regions[number].box
        margin = max(right - left, bottom - top, MIN_ENLARGED_SIDE) // 2
        box = (
            max(left - margin, 0),
            max(top - margin, 0),
            min(right + margin, width),
            min(bottom + margin, height),
        )
        scale = ENLARGED_SIDE / max(box[2] - box[0], box[3] - box[1])
        size = max(1, round(scale * (box[2] - box[0]))), max(1, round(scale * (box[3] - box[1])))
        mask = Image.fromarray(self.mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR, box)
        piece = self.full_picture().resize(size, Image.Resampling.BICUBIC, box)
        shown = self.picture.width / width
        repaired = self.reconstruction.resize(size, Image.Resampling.BICUBIC, [shown * edge for edge in box])
        return draw_contours(piece, np.asarray(mask) > 0.5), repaired

    def json_settings(self) -> dict[str, Any]:
        """What the visitor has set, for JSON."""
        plain = {name: value for name, value in self.settings.items() if name != "roi"}
        roi = {"roi": encode_roi(self.settings["roi"])} if "roi" in self.settings else {}
        return {**plain, **roi, "seed": self.seed, "min_region_area": self.min_region_area}

    def draw(
        self, view: str = VIEWS[0], opacity: float = 0.5, colormap: str = DEFAULT_COLORMAP
    ) -> Image.Image:
        """The picture as one of `VIEWS`, at the size that is shown."""
        return self._draw_on(self.picture, view, opacity, colormap)

    def draw_at_full_size(self, opacity: float, colormap: str) -> Image.Image:
        """The overlay on the picture as it was checked_upload, without numbers."""
        numberless = replace(self, regions=())
        return numberless._draw_on(self.full_picture(), VIEWS[0], opacity, colormap)

    def full_picture(self) -> Image.Image:
        """RGB of the checked_upload size; read again where a smaller one is shown."""
        height, width = self.anomaly_map.shape
        return self.picture if self.picture.size == (width, height) else _to_pil(read_image(self.path))

    def _draw_on(self, picture: Image.Image, view: str, opacity: float, colormap: str) -> Image.Image:
        size = picture.height, picture.width
        shown_map = resize(self.anomaly_map, size).clip(0, 1)
        shown_mask = resize(self.mask.astype(np.float32), size) > 0  # no region gets lost
        threshold = self.verdict.threshold
        if view == "Heat map":
            return Image.fromarray(colorize(shown_map, colormap, threshold))
        if view == "Mask":
            return Image.fromarray(shown_mask)
        picture = self._dim(picture)
        if view == "Overlay":
            picture = overlay(picture, shown_map, opacity, colormap, threshold)
        return self._number(draw_contours(picture, shown_mask))

    def _dim(self, picture: Image.Image) -> Image.Image:
        """Dark where the model did not look."""
        if self.inside is None:
            return picture
        seen = Image.fromarray(self.inside).resize(picture.size, Image.Resampling.NEAREST)
        return Image.composite(picture, picture.point(lambda value: value * BRIGHTNESS_OUTSIDE), seen)

    def _number(self, drawn: Image.Image) -> Image.Image:
        """With the number of each region beside it, where there are several."""
        if len(self.regions) < 2:
            return drawn
        scale = drawn.width / self.anomaly_map.shape[1]
        size = max(10, round(max(drawn.size) / 40))
        font, draw = ImageFont.load_default(size=size), ImageDraw.Draw(drawn)
        for number, region in enumerate(self.regions[:MAX_NUMBERED], 1):
            left, top, right, bottom = (scale * edge for edge in region.box)
            width = font.getlength(str(number)) + size / 2
            x = min(right + size / 3, drawn.width - width) if right + width < drawn.width else left - width
            x, y = max(x, 0), min(max((top + bottom - size) / 2, 0), drawn.height - 1.2 * size)
            draw.rounded_rectangle((x, y, x + width, y + 1.2 * size), size / 4, HALO)
            draw.text((x + width / 2, y + 0.6 * size), str(number), CONTOUR, font, "mm")
        return drawn


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
        max_side: longest side of what is shown, pixels; None is the picture's own size.
        calibration: the visitor's, in place of the model's own.
        settings: of the pipeline's call; None is the model's own.

    Raises:
        ValueError: the picture or a setting cannot be used.
        FileNotFoundError: no such picture.
        RuntimeError: the networks produced NaN.
    """
    started = time.perf_counter()
    picture = read_image(path)  # [H,W,3] in [0,1]
    config = model.pipeline.config
    seed = config.seed if seed is None else seed
    settings = {name: value for name, value in settings.items() if value is not None}
    own_threshold = calibration.threshold if calibration else config.threshold
    threshold = own_threshold if threshold is None else threshold
    output = model.run(picture, seed, {**settings, "threshold": threshold})
    if calibration is None and config.calibration is not None:
        calibration = Calibration.from_dict(config.calibration)
    if any(settings.get(name, config[name]) != config[name] for name in SCORE_SETTINGS if name != "roi"):
        calibration = None
    if seed != config.seed or "roi" in settings:
        calibration = None
    height, width = picture.shape[:2]
    scale = min(1, max_side / max(height, width)) if max_side else 1
    size = max(1, round(width * scale)), max(1, round(height * scale))
    shown = resize(picture, (size[1], size[0]))  # before the rounding: large pictures take seconds otherwise
    inspected = Inspection(
        path=path,
        picture=_to_pil(shown),
        reconstruction=output.reconstruction[0].resize(size, Image.Resampling.BICUBIC),
        anomaly_map=output.anomaly_map[0],
        inside=_inside(model, settings, picture.shape[:2]),
        score=float(output.score[0]),
        own_threshold=own_threshold,
        calibration=calibration,
        settings=settings,
        seed=seed,
        model=model.name,
        device=model.device,
        seconds=time.perf_counter() - started,
        known_marks=tuple(output.known_marks[0]),
        min_region_area=settings.get("min_region_area", config.min_region_area),
    )
    return inspected.at_threshold(threshold)


def _inside(model: Model, settings: dict[str, Any], size: tuple[int, int]) -> np.ndarray | None:
    """Return where the model looks in a picture of this size, bool [H',W']; None is everywhere."""
    inside = model.pipeline.region_of_interest(size, settings.get("roi"), settings.get("ignore_border"))
    return None if inside.all() else inside


def _to_pil(picture: np.ndarray) -> Image.Image:
    return Image.fromarray((picture * 255).round().clip(0, 255).astype(np.uint8))
