"""Metrics of anomaly detection and localisation, in memory that does not grow with the number of pictures."""

import numpy as np
from skimage.measure import label as connected_components
from sklearn.metrics import average_precision_score, roc_auc_score

BINS = 65_536


def image_metrics(labels: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """AUROC and AP of image scores; empty when one class is missing, since both are undefined then.

    Args:
        labels: [N] in {0, 1}.
        scores: [N], higher is more anomalous.
    """
    if len(np.unique(labels)) < 2:
        return {}
    return {
        "image_auroc": float(roc_auc_score(labels, scores)),
        "image_ap": float(average_precision_score(labels, scores)),
    }


class PixelMetrics:
    """Pixel AUROC, AP and AUPRO from histograms of map values, added picture by picture.

    Map values in [0, 1] fall into 65,536 bins, so that results are exact to about 1e-4 and memory stays flat.
    """

    def __init__(self) -> None:
        self.normal = np.zeros(BINS, dtype=np.int64)
        self.anomalous = np.zeros(BINS, dtype=np.int64)
        self.region_overlap = np.zeros(BINS)  # sum over regions of the share of the region in each bin
        self.regions = 0

    def add(self, anomaly_map: np.ndarray, mask: np.ndarray) -> None:
        """Count one picture.

        Args:
            anomaly_map: [H,W] in [0, 1].
            mask: [H,W] bool, the truth.
        """
        bins = np.minimum((anomaly_map * BINS).astype(np.int64), BINS - 1)
        self.normal += np.bincount(bins[~mask], minlength=BINS)
        if not mask.any():
            return
        self.anomalous += np.bincount(bins[mask], minlength=BINS)
        labels, count = connected_components(mask, return_num=True, connectivity=2)
        flat, owner = bins[mask], labels[mask]
        area = np.bincount(owner, minlength=count + 1)
        self.region_overlap += np.bincount(flat, weights=1 / area[owner], minlength=BINS)
        self.regions += count

    def compute(self, fpr_limit: float = 0.3) -> dict[str, float]:
        """Pixel AUROC, pixel AP and AUPRO up to `fpr_limit` (divided by it); empty without normal or
        anomalous pixels.

        AUPRO: mean over regions of the share that is found, against the false-positive rate of normal pixels,
        integrated with a point interpolated at the limit.
        """
        positives, negatives = self.anomalous.sum(), self.normal.sum()
        if positives == 0 or negatives == 0:
            return {}
        # Thresholds from above every value down to below all of them.
        tp = np.concatenate([[0], np.cumsum(self.anomalous[::-1])])
        fp = np.concatenate([[0], np.cumsum(self.normal[::-1])])
        tpr, fpr = tp / positives, fp / negatives
        pro = np.concatenate([[0], np.cumsum(self.region_overlap[::-1])]) / self.regions
        precision = tp[1:] / np.maximum(tp[1:] + fp[1:], 1)
        inside = fpr <= fpr_limit
        limit_pro = np.interp(fpr_limit, fpr, pro)
        aupro = np.trapezoid(np.append(pro[inside], limit_pro), np.append(fpr[inside], fpr_limit)) / fpr_limit
        return {
            "pixel_auroc": float(np.trapezoid(tpr, fpr)),
            "pixel_ap": float(np.sum(np.diff(tpr) * precision)),
            "aupro": float(min(aupro, 1.0)),
        }
