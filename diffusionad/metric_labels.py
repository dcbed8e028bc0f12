"""Labels of the metrics in metrics.json, written once for the page, tables, reports and cards."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricLabel:
    """The wordings of one metric.

    Attributes:
        label: in a sentence or at an axis ("image AUROC").
        short: in the head of a wide table ("I-AUROC").
        spelled_out: where there is room ("image average precision").
        decimals: of a value in a table.
    """

    label: str
    short: str
    spelled_out: str
    decimals: int = 4

    @property
    def heading(self) -> str:
        """The label as a heading ("Image AUROC")."""
        return _capitalized(self.label)

    @property
    def spelled_out_heading(self) -> str:
        """The long form as a heading ("Image average precision")."""
        return _capitalized(self.spelled_out)


def _capitalized(words: str) -> str:
    return words[:1].upper() + words[1:]


WEAK_AUROC = 0.6  # image AUROC below which a model is hardly better than chance, 0.5

# In the order in which tables show them.
DETECTION = {
    "image_auroc": MetricLabel("image AUROC", "I-AUROC", "image AUROC"),
    "image_ap": MetricLabel("image AP", "I-AP", "image average precision"),
    "image_f1_max": MetricLabel("image F1-max", "I-F1max", "image F1, best threshold"),
    "pixel_auroc": MetricLabel("pixel AUROC", "P-AUROC", "pixel AUROC"),
    "pixel_ap": MetricLabel("pixel AP", "P-AP", "pixel average precision"),
    "pixel_f1_max": MetricLabel("pixel F1-max", "P-F1max", "pixel F1, best threshold"),
    "aupro": MetricLabel("AUPRO", "AUPRO", "AUPRO (false-positive rate up to 0.3)"),
    "pointing_accuracy": MetricLabel(
        "pointing accuracy", "pointing", "pointing accuracy: peak in the defect"
    ),
    "localised_image_auroc": MetricLabel(
        "localised image AUROC", "I-AUROC loc.", "image AUROC, scores taken at the defects"
    ),
}
RATES = {
    "detection_rate": MetricLabel("found", "found", "defective parts found"),
    "false_alarm_rate": MetricLabel("false alarms", "false alarms", "good parts called defective"),
}
RECONSTRUCTION = {
    "psnr_normal_db": MetricLabel("PSNR on good parts, dB", "PSNR, dB", "PSNR on good parts, dB", decimals=2),
    "psnr_part_db": MetricLabel(
        "PSNR on the part, dB", "part PSNR", "PSNR on the part, background left out, dB", decimals=2
    ),
    "gradient_correlation": MetricLabel(
        "gradient correlation", "gradients", "gradient correlation on the part"
    ),
    "defect_residue": MetricLabel("defect residue", "residue", "defect residue after the repair"),
}
COST = {
    "cpu_ms_per_picture": MetricLabel("CPU ms a picture", "CPU ms", "CPU milliseconds a picture", decimals=0),
}

METRIC_LABELS = {**DETECTION, **RATES, **RECONSTRUCTION, **COST}
