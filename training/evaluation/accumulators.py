"""Metrics of a test split, accumulated picture by picture."""

from typing import Any

import numpy as np

from diffusionad.images.image_io import read_image, resize

from ..data.catalog import Record
from ..data.masks import read_mask, resize_mask
from .bootstrap import REPLICATES, Interval, image_intervals, pixel_intervals, resampled
from .fidelity import Fidelity, fidelity
from .localisation import LocalisationAccumulator, warning
from .metrics import IMAGE_METRICS, LOCALISATION_METRICS, PIXEL_METRICS, PixelMetrics, image_metrics


class MetricAccumulator:
    """Detection metrics of any method, DiffusionAD or a baseline, over a test split.

    Args:
        replicates: bootstrap replicates behind the intervals; 0 computes no intervals.
        seed: seed of the bootstrap.
    """

    def __init__(self, replicates: int = REPLICATES, seed: int = 0):
        self.replicates, self.seed = replicates, seed
        self.records: list[Record] = []
        self.rows: list[dict[str, Any]] = []
        self.pixels = PixelMetrics()
        self.localisation = LocalisationAccumulator()
        self.has_pixels: list[bool] = []  # a defective picture without a mask has no pixel metrics

    def add(
        self,
        record: Record,
        score: float,
        anomaly_map: np.ndarray,
        is_anomalous: bool,
        p_value: float | None = None,
    ) -> None:
        """Add one picture.

        Args:
            record: the picture with its label and mask.
            score: image score; higher is more anomalous.
            anomaly_map: [H,W] in [0, 1], as large as the picture.
            is_anomalous: the verdict.
            p_value: p-value of the score; None without a calibration.

        Raises:
            ValueError: the score is NaN or infinite, or the mask differs from the picture in size.
        """
        if not np.isfinite(score):
            raise ValueError(f"`{record.image}` has the score {score}; no metric is defined with it.")
        has_pixels = record.label == 0 or record.mask is not None
        if has_pixels:
            mask = read_mask(record.mask, anomaly_map.shape)
            self.pixels.add(anomaly_map, mask)
            self.localisation.add(anomaly_map, mask, record.label, is_anomalous)
        self.has_pixels.append(has_pixels)
        self.records.append(record)
        self.rows.append(
            {
                "file": f"{record.defect}/{record.image.name}",
                "label": record.label,
                "score": float(score),
                "is_anomalous": bool(is_anomalous),
                "p_value": p_value,
            }
        )

    def metrics(self) -> dict[str, Any]:
        """Return metrics as {"value", "interval"}, "absent" with reasons, "per_defect", rates and counts."""
        labels = np.array([record.label for record in self.records], dtype=int)
        scores = np.array([row["score"] for row in self.rows])
        verdicts = np.array([row["is_anomalous"] for row in self.rows], dtype=bool)
        counts = resampled(labels, self.replicates, self.seed)
        localised = self.localisation.compute()
        pointing_found = localised.pop("pointing_accuracy_found", None)
        values = {**image_metrics(labels, scores), **self.pixels.compute(), **localised}
        intervals: dict[str, Interval] = {}
        if self.replicates and "image_auroc" in values:
            intervals |= image_intervals(labels, scores, counts)
        if self.replicates and "pixel_auroc" in values:
            intervals |= pixel_intervals(self.pixels, counts[:, self.has_pixels])
        if self.replicates:
            intervals |= self.localisation.intervals(self.replicates, self.seed)
        n_good, n_defective = int((labels == 0).sum()), int((labels == 1).sum())
        reasons = self._reasons(n_good, n_defective)
        rates = {"false_alarm_rate": verdicts[labels == 0], "detection_rate": verdicts[labels == 1]}
        metrics: dict[str, Any] = {
            **{name: _with_interval(value, intervals.get(name)) for name, value in values.items()},
            "absent": {name: reason for name, reason in reasons.items() if name not in values},
            "per_defect": self._per_defect(labels, scores, verdicts),
            **{name: float(chosen.mean()) for name, chosen in rates.items() if len(chosen)},
            "n_test": len(labels),
            "n_good": n_good,
            "n_defective": n_defective,
        }
        if pointing_found is not None:
            metrics["pointing_accuracy_found"] = pointing_found
        if (sentence := warning(metrics)) is not None:
            metrics["warning"] = sentence
        return metrics

    def _reasons(self, n_good: int, n_defective: int) -> dict[str, str]:
        """Return why a metric may be undefined; the caller drops the metrics that have a value."""
        reasons: dict[str, str] = {}
        if n_good == 0:
            reasons |= dict.fromkeys((*IMAGE_METRICS, "false_alarm_rate"), "no good test picture")
        if n_defective == 0:
            reasons |= dict.fromkeys((*IMAGE_METRICS, "detection_rate"), "no defective test picture")
        has_masks = any(record.mask is not None for record in self.records)
        pixel_reason = "no defective pixel in any mask" if has_masks else "no masks"
        if has_masks and self.pixels.normal.sum() == 0:
            pixel_reason = "no good pixel"
        reasons |= dict.fromkeys((*PIXEL_METRICS, *LOCALISATION_METRICS), pixel_reason)
        if has_masks and n_good == 0:
            reasons["localised_image_auroc"] = "no good test picture"
        return reasons

    def _per_defect(self, labels: np.ndarray, scores: np.ndarray, verdicts: np.ndarray) -> dict[str, Any]:
        """Measure each kind of defect against all good pictures."""
        defects = np.array([record.defect for record in self.records])
        found = {}
        for defect in sorted(set(defects[labels == 1].tolist())):
            is_this = (defects == defect) & (labels == 1)
            chosen = (labels == 0) | is_this
            entry: dict[str, Any] = {
                "n": int(is_this.sum()),
                "detection_rate": float(verdicts[is_this].mean()),
            }
            metrics = image_metrics(labels[chosen], scores[chosen])
            if metrics:
                interval = None
                if self.replicates:
                    counts = resampled(labels[chosen], self.replicates, self.seed)
                    interval = image_intervals(labels[chosen], scores[chosen], counts)["image_auroc"]
                entry["image_auroc"] = _with_interval(metrics["image_auroc"], interval)
            found[defect] = entry
        return found


class ReconstructionAccumulator:
    """Distance of reconstructions from their clean twins, at the model's resolution.

    A clean twin is the same picture without its defect; a normal picture is its own twin.

    Args:
        bit_depth: of the pipeline.
    """

    def __init__(self, bit_depth: int | None = None) -> None:
        self.bit_depth = bit_depth
        # By kind of defect: sums of |picture - twin| and |reconstruction - twin| inside the mask.
        self.inside: dict[str, tuple[float, float]] = {}
        self.squared, self.normal_pixels = 0.0, 0
        self.on_part: list[Fidelity] = []  # of normal pictures

    def add(self, record: Record, reconstruction: np.ndarray) -> None:
        """Add one reconstruction, [H',W',3] in [0, 1]."""
        size = reconstruction.shape[:2]
        image = resize(read_image(record.image, bit_depth=self.bit_depth), size)
        if record.label == 0:
            self.squared += float(np.square(reconstruction - image).sum(dtype=np.float64))
            self.normal_pixels += image.size
            self.on_part.append(fidelity(reconstruction, image))
        elif record.clean is not None and record.mask is not None:
            clean = resize(read_image(record.clean, bit_depth=self.bit_depth), size)
            mask = resize_mask(read_mask(record.mask), size)
            before, after = self.inside.get(record.defect, (0.0, 0.0))
            before += float(np.abs(image - clean)[mask].sum(dtype=np.float64))
            after += float(np.abs(reconstruction - clean)[mask].sum(dtype=np.float64))
            self.inside[record.defect] = before, after

    def compute(self) -> dict[str, float]:
        """Return the metrics of the reconstruction that are defined, by name.

        `psnr_normal_db` is over all pixels of normal pictures, `psnr_part_db` over their parts only, with
        `gradient_correlation` (1 keeps every edge) beside it; `defect_residue` is 0 for a perfect repair, 1
        for none.
        """
        found: dict[str, float] = {}
        if self.squared > 0:
            found["psnr_normal_db"] = float(-10 * np.log10(self.squared / self.normal_pixels))
        error = float(np.mean([f.squared_error for f in self.on_part])) if self.on_part else 0.0
        if error > 0:
            found["psnr_part_db"] = float(-10 * np.log10(error))
            found["gradient_correlation"] = float(np.mean([f.gradient_correlation for f in self.on_part]))
        before, after = (sum(sums[i] for sums in self.inside.values()) for i in (0, 1))
        if before > 0:
            found["defect_residue"] = after / before
        return found

    def residues(self) -> dict[str, float]:
        """Return the `defect_residue` of each kind of defect with clean twins."""
        return {defect: after / before for defect, (before, after) in self.inside.items() if before > 0}


def _with_interval(value: float, interval: Interval | None) -> dict[str, Any]:
    return {"value": value} if interval is None else {"value": value, "interval": list(interval)}
