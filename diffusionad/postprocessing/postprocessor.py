"""From a map at the model's size to a verdict: score, mask, regions, threshold, p-value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusionad.images.image_io import resize
from diffusionad.images.tiling import TiledPicture
from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.contrast import spread
from diffusionad.postprocessing.familiarity import appearance_of
from diffusionad.postprocessing.regions import Region, find_defects
from diffusionad.postprocessing.roi import region_of_interest
from diffusionad.postprocessing.scoring import top_mean
from diffusionad.postprocessing.verdict import Verdict, verdict_of


@dataclass
class Finding:
    """What one picture's map says.

    Attributes:
        anomaly_map: float32 [H,W] in [0, 1], at the picture's own size.
        score: in [0, 1].
        mask: bool [H,W], map above the pixel threshold without regions that are too small; where nothing is,
            but the score is above its threshold, the pixels that made the score.
        regions: highest peak first, in the picture's own pixels.
        is_anomalous: score above the threshold, and a region left when `min_region_area` is set.
        appearance: float64 [K], statistics of the whole picture.
    """

    anomaly_map: np.ndarray
    score: float
    mask: np.ndarray
    regions: list[Region]
    is_anomalous: bool
    appearance: np.ndarray


class Postprocessor:
    """Turns anomaly maps into verdicts by the settings of one call.

    Args:
        settings: all settings of the call, as the pipeline's config names them.
        calibration: the stored one, if it holds for these settings.
    """

    def __init__(self, settings: Mapping[str, Any], calibration: Calibration | None):
        self.settings = settings
        self.calibration = calibration
        self.threshold = float(settings["threshold"])
        own = self.threshold if calibration is None else calibration.pixel_threshold_at(settings["threshold"])
        self.pixel_threshold = float(own)
        self._inside = np.ones((0, 0), dtype=bool)

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """Return where the map counts, bool [H',W']; made anew only where the size changes."""
        if self._inside.shape != size:
            self._inside = region_of_interest(self.settings, size)
        return self._inside

    def look_inside(self, anomaly_map: np.ndarray) -> np.ndarray:
        """Return the map [H',W'] with zeros outside of the region of interest."""
        return np.where(self.inside(anomaly_map.shape), anomaly_map, np.float32(0))

    def __call__(self, anomaly_map: np.ndarray, size: tuple[int, int], tiled: TiledPicture) -> Finding:
        """Score a map at the model's size, so that the camera's resolution does not matter; mask at `size`.

        Args:
            anomaly_map: float32 [H',W'] in [0, 1], zero outside of the region of interest.
            size: (H, W) of the picture.
            tiled: the picture with its reconstruction, for what it looks like as a whole.
        """
        area = self.settings["image_size"] ** 2
        inside = self.inside(anomaly_map.shape)
        contrast = self.settings["contrast"]
        # Each on its own: a mean of spread pixels would have another order.
        score = float(spread(top_mean(anomaly_map, self.settings["top_fraction"], inside, area), contrast))
        full = spread(resize(anomaly_map, size).clip(0, 1), contrast)
        min_area = self.settings["min_region_area"]
        is_high = score > self.settings["threshold"]
        mask, regions = find_defects(full, self.pixel_threshold, min_area, score if is_high else None)
        is_anomalous = is_high and (not min_area or len(regions) > 0)
        return Finding(full, score, mask, regions, is_anomalous, appearance_of(tiled, inside))

    def verdict(self, found: Finding, marks: int = 0) -> Verdict:
        """Return the verdict on a finding, of whose map `marks` known marks were faded."""
        judged = found.is_anomalous, found.score, self.threshold, self.calibration, marks
        return verdict_of(*judged, found.appearance)

    def p_values(self, score: np.ndarray) -> np.ndarray | None:
        """Return the p-value of each score [N], or None without a calibration."""
        return None if self.calibration is None else self.calibration.p_values(score)
