"""Metrics of anomaly detection and localisation; memory does not grow with the number of pixels."""

import numpy as np
from scipy import ndimage
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

IMAGE_METRICS = ("image_auroc", "image_ap", "image_f1_max")
PIXEL_METRICS = ("pixel_auroc", "pixel_ap", "pixel_f1_max", "aupro")
LOCALISATION_METRICS = ("pointing_accuracy", "localised_image_auroc")
METRICS = IMAGE_METRICS + PIXEL_METRICS + LOCALISATION_METRICS

FPR_LIMIT = 0.3
BINS = 65_536
LOGITS = -24.0, 17.0  # float32 ends at 16.6 towards 1; towards 0 trained maps stay above -24
COARSE = 16  # fine bins in one coarse bin: 4096 bins a picture are enough for the width of an interval
EIGHT_NEIGHBOURS = np.ones((3, 3), dtype=bool)


def image_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """Return AUROC, AP and F1-max of image scores, by scikit-learn; empty when a class is missing.

    Args:
        labels: [N] in {0, 1}.
        scores: [N], higher is more anomalous.

    Raises:
        ValueError: a score is NaN or infinite.
    """
    if not np.isfinite(scores).all():
        raise ValueError(f"`scores` has {int((~np.isfinite(scores)).sum())} NaN or infinite values.")
    if len(np.unique(labels)) < 2:
        return {}
    precision, recall, _ = precision_recall_curve(labels, scores)
    return {
        "image_auroc": float(roc_auc_score(labels, scores)),
        "image_ap": float(average_precision_score(labels, scores)),
        "image_f1_max": float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))),
    }


def ranking_metrics(positives: np.ndarray, negatives: np.ndarray) -> dict[str, np.ndarray]:
    """Return AUROC, AP and F1-max from counts at each value, for any number of rankings at once.

    Args:
        positives: [...,B] number (or weight) of positives at each value, the HIGHEST value first.
        negatives: [...,B] the same for negatives.

    Returns:
        "auroc", "ap" and "f1_max", [...] each; NaN where a ranking lacks one of the classes.
    """
    tp, fp = np.cumsum(positives, axis=-1, dtype=np.float64), np.cumsum(negatives, axis=-1, dtype=np.float64)
    p, n = tp[..., -1:], fp[..., -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        tpr, fpr = tp / p, fp / n
        precision = tp / np.maximum(tp + fp, 1e-300)
        f1 = 2 * tp / (tp + fp + p)
    start = np.zeros_like(p)
    return {
        "auroc": np.trapezoid(np.concatenate([start, tpr], -1), np.concatenate([start, fpr], -1), axis=-1),
        "ap": np.sum(np.diff(tpr, axis=-1, prepend=0) * precision, axis=-1),
        "f1_max": np.max(f1, axis=-1),
    }


def area_under_pro(
    overlap: np.ndarray, negatives: np.ndarray, regions: float, fpr_limit: float = FPR_LIMIT
) -> float:
    """Return AUPRO, the area under the per-region overlap against the false-positive rate of normal pixels.

    The curve is integrated from 0 to `fpr_limit`, with a point interpolated at the limit, and divided by it.

    Args:
        overlap: [B] fraction of a region's pixels at each value, summed over the regions; the HIGHEST value
            first.
        negatives: [B] normal pixels at each value.
        regions: number (or weight) of the regions.
        fpr_limit: in (0, 1].
    """
    fpr = np.concatenate([[0], np.cumsum(negatives, dtype=np.float64)]) / negatives.sum()
    # Rounding may push the sum of fractions above the number of regions.
    pro = np.minimum(np.concatenate([[0], np.cumsum(overlap, dtype=np.float64)]) / regions, 1)
    inside = fpr <= fpr_limit
    at_limit = np.interp(fpr_limit, fpr, pro)
    area = np.trapezoid(np.append(pro[inside], at_limit), np.append(fpr[inside], fpr_limit))
    return float(area / fpr_limit)


class PixelMetrics:
    """Pixel AUROC, AP, F1-max and AUPRO from histograms of map values, added picture by picture.

    The 65,536 bins are evenly spaced in the logit of the value: trained maps lie close to 0 and 1, where bins
    of equal width would lose the ranking. A coarse histogram of each picture is kept for `bootstrap.py`.
    """

    def __init__(self) -> None:
        self.normal = np.zeros(BINS, dtype=np.int64)
        self.anomalous = np.zeros(BINS, dtype=np.int64)
        self.overlap = np.zeros(BINS)  # fraction of a region's pixels in each bin, summed over regions
        self.regions: list[int] = []  # of each picture
        self.rows: list[np.ndarray] = []  # of each picture: [3,BINS/COARSE] normal, anomalous, overlap

    def add(self, anomaly_map: np.ndarray, mask: np.ndarray) -> None:
        """Add one picture.

        Args:
            anomaly_map: [H,W] in [0, 1].
            mask: [H,W] bool, the ground truth.

        Raises:
            ValueError: the sizes differ, or the map has NaN or values outside [0, 1].
        """
        if anomaly_map.shape != mask.shape:
            raise ValueError(f"`mask` has shape {mask.shape}, `anomaly_map` {anomaly_map.shape}.")
        bins = logit_bins(anomaly_map)
        normal = np.bincount(bins[~mask], minlength=BINS)
        anomalous = np.bincount(bins[mask], minlength=BINS)
        labels, count = ndimage.label(mask, structure=EIGHT_NEIGHBOURS)
        owner = labels[mask]
        area = np.bincount(owner, minlength=count + 1)
        overlap = np.bincount(bins[mask], weights=1 / area[owner], minlength=BINS)
        self.normal += normal
        self.anomalous += anomalous
        self.overlap += overlap
        self.regions.append(count)
        row = np.stack([normal, anomalous, overlap]).reshape(3, -1, COARSE).sum(axis=-1)
        self.rows.append(row.astype(np.float32))

    def compute(self, fpr_limit: float = FPR_LIMIT) -> dict[str, float]:
        """Return metrics by name; empty without normal or without anomalous pixels."""
        if self.anomalous.sum() == 0 or self.normal.sum() == 0:
            return {}
        found = ranking_metrics(self.anomalous[::-1], self.normal[::-1])
        return {
            **{f"pixel_{name}": float(value) for name, value in found.items()},
            "aupro": area_under_pro(self.overlap[::-1], self.normal[::-1], sum(self.regions), fpr_limit),
        }


def logit_bins(anomaly_map: np.ndarray) -> np.ndarray:
    """Return the bin of each value, [H,W] integers below 65,536 in the order of the values."""
    values = np.asarray(anomaly_map, dtype=np.float32)
    if not (values.min(initial=0) >= 0 and values.max(initial=0) <= 1):  # NaN fails both
        raise ValueError(f"`anomaly_map` has values outside 0..1 or NaN: {values.min()} to {values.max()}.")
    values = values.clip(1e-12, 1 - 2**-24)
    low, high = LOGITS
    logits = np.log(values / (1 - values)).clip(low, high)
    return ((logits - low) * ((BINS - 1) / (high - low))).astype(np.int32)
