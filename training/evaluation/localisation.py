"""Right for the right reason: whether a map peaks at the defect, and whether the score comes from there.

An image AUROC can be high although every map points at dust: pictures of defective parts may differ from good
ones as a whole. These metrics see that.
"""

from typing import Any

import numpy as np
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from diffusionad.postprocessing.scoring import top_mean

from .bootstrap import Interval, image_intervals, percentile_interval, resampled

MARGIN = 0.02  # of the shorter side, by which a true mask is dilated: masks are drawn by hand
TOP_FRACTION = 50 / 256**2  # of the map's pixels that make a score, as in the paper
HIGH_AUROC, LOW_POINTING, AUROC_LOSS = 0.8, 0.5, 0.1  # when to warn


class LocalisationAccumulator:
    """Pointing accuracy and localised image AUROC, accumulated picture by picture.

    A defective picture without a mask does not count.
    """

    def __init__(self) -> None:
        self.labels: list[int] = []
        self.scores: list[
            float
        ] = []  # of a defective picture inside its dilated mask, of a good one anywhere
        self.hits: list[bool] = []  # of defective pictures: the peak lies in the dilated mask
        self.found: list[bool] = []  # of defective pictures: called anomalous

    def add(self, anomaly_map: np.ndarray, mask: np.ndarray, label: int, is_anomalous: bool) -> None:
        """Add one picture.

        Args:
            anomaly_map: [H,W], higher is more anomalous.
            mask: [H,W] bool, the ground truth.
            label: 0 good, 1 defective.
            is_anomalous: the verdict.
        """
        if label == 0:
            self.labels.append(0)
            self.scores.append(top_mean(anomaly_map, TOP_FRACTION))
        elif mask.any():
            near = dilate(mask)
            self.labels.append(1)
            self.scores.append(top_mean(anomaly_map, TOP_FRACTION, near, anomaly_map.size))
            self.hits.append(bool(near[np.unravel_index(anomaly_map.argmax(), anomaly_map.shape)]))
            self.found.append(bool(is_anomalous))

    def compute(self) -> dict[str, float]:
        """Return the metrics that are defined, by name; higher is better.

        `pointing_accuracy` is the fraction of defective pictures whose peak lies in the dilated true mask,
        `pointing_accuracy_found` the same among those called anomalous. `localised_image_auroc` scores a
        defective picture inside its dilated mask only, a good one on all of its map.
        """
        result = {}
        hits, found = np.array(self.hits, dtype=bool), np.array(self.found, dtype=bool)
        if len(hits):
            result["pointing_accuracy"] = float(hits.mean())
        if found.any():
            result["pointing_accuracy_found"] = float(hits[found].mean())
        if len(set(self.labels)) == 2:
            result["localised_image_auroc"] = float(roc_auc_score(self.labels, self.scores))
        return result

    def intervals(self, replicates: int, seed: int = 0) -> dict[str, Interval]:
        """Return 95 % bootstrap intervals of the metrics, as far as they are defined."""
        labels, scores, hits = np.array(self.labels), np.array(self.scores), np.array(self.hits)
        result = {}
        if len(hits):
            counts = resampled(np.ones(len(hits)), replicates, seed)
            result["pointing_accuracy"] = percentile_interval(counts @ hits / len(hits))
        if len(set(self.labels)) == 2:
            counts = resampled(labels, replicates, seed)
            result["localised_image_auroc"] = image_intervals(labels, scores, counts)["image_auroc"]
        return result


def dilate(mask: np.ndarray) -> np.ndarray:
    """Dilate a mask by 2 % of its shorter side, bool [H,W]."""
    radius = max(1, round(MARGIN * min(mask.shape)))
    distance = ndimage.distance_transform_edt(~mask)
    return distance <= radius


def warning(metrics: dict[str, Any]) -> str | None:
    """Return a sentence where a high image AUROC is not earned at the defects; None where it is.

    Args:
        metrics: of metrics.json, {"value": ...} each; any may be absent.
    """
    if not {"image_auroc", "pointing_accuracy", "localised_image_auroc"} <= metrics.keys():
        return None
    auroc, pointing, localised = (
        metrics[name]["value"] for name in ("image_auroc", "pointing_accuracy", "localised_image_auroc")
    )
    if auroc < HIGH_AUROC or (pointing >= LOW_POINTING and localised >= auroc - AUROC_LOSS):
        return None
    return (
        f"Image AUROC is {auroc:.3f}, but the map's peak lies in the defect in {pointing:.0%} of the "
        f"defective pictures, and scores taken at the defects reach {localised:.3f}: the model may tell the "
        "pictures apart by something else than the defects."
    )
