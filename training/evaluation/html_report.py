"""report.html: metrics, figures and provenance of an evaluation in one file that opens offline."""

import base64
import json
import shutil
from pathlib import Path
from typing import Any

import jinja2

from diffusionad.metric_labels import DETECTION, RATES, RECONSTRUCTION
from diffusionad.postprocessing.verdict import score_text

from .metrics import METRICS

TEMPLATES = Path(__file__).parent / "templates"
CAPTIONS = {
    "roc": "ROC of the image scores; the dot marks the threshold.",
    "scores": "Scores of the test pictures.",
    "per_defect": "Each kind of defect against all good pictures.",
    "cases_worst": "The worst cases: defective pictures with the lowest scores, good ones with the highest.",
    "certificate_rates": "Synthetic defects, found and missed, and the sizes found at 50 % and 95 %.",
    "certificate_where": "Where small synthetic defects are found.",
    "cases_best": "The best cases: defective pictures with the highest scores, good ones with the lowest.",
}


def write_report(output: Path, metrics: dict[str, Any]) -> None:
    """Write `output`/report.html with the figures from `output`/figures."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=True,
    )
    defect_head, defect_rows = _defect_rows(metrics["per_defect"])
    provenance = {
        k: v for k, v in metrics.items() if k not in (*METRICS, "per_defect", "absent", "certificate")
    }
    page = environment.get_template("report.html.jinja").render(
        category=metrics["category"],
        summary=summary(metrics),
        warning=metrics.get("warning", ""),
        reconstruction_rows=_reconstruction_rows(metrics.get("reconstruction", {})),
        metric_head=["metric", "value", "95 % interval", *_own_head(metrics)],
        metric_rows=_metric_rows(metrics),
        certificate=metrics.get("certificate", {}),
        defect_head=defect_head,
        defect_rows=defect_rows,
        figures=_figures(output / "figures"),
        provenance=json.dumps(provenance, indent=2),
    )
    (output / "report.html").write_text(page, encoding="utf-8")


def copy_certificate_figures(certificate: Path, figures: Path) -> None:
    """Copy the figures of a run's certificate to those of a report, as far as they exist."""
    for name in ("rates", "where"):
        if (certificate / f"{name}.png").is_file():
            shutil.copyfile(certificate / f"{name}.png", figures / f"certificate_{name}.png")


def summary(metrics: dict[str, Any]) -> str:
    """Return two sentences: the size of the test split, and the error rates at the threshold."""
    text = (
        f"{metrics['n_test']} test pictures, {metrics['n_good']} good and {metrics['n_defective']} defective."
    )
    text += f" At the threshold {score_text(metrics['threshold'])}"
    if "calibration" in metrics:
        calibration = metrics["calibration"]
        text += f" (calibrated for a false-alarm rate of {calibration['rate']:.2%}, n = {calibration['n']})"
    found = []
    if "detection_rate" in metrics:
        found.append(f"{metrics['detection_rate']:.1%} of the defective pictures are found")
    if "false_alarm_rate" in metrics:
        found.append(f"{metrics['false_alarm_rate']:.1%} of the good ones raise a false alarm")
    return f"{text} {' and '.join(found)}."


def _metric_rows(metrics: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name in METRICS:
        title = DETECTION[name].spelled_out
        if name in metrics:
            low, high = metrics[name]["interval"]
            rows.append([title, f"{metrics[name]['value']:.4f}", f"{low:.4f} to {high:.4f}"])
            if "from_scratch" in metrics:
                rows[-1].append(f"{metrics['from_scratch'][name]['value']:.4f}")
        else:
            rows.append([title, "absent", metrics["absent"][name], *[""] * len(_own_head(metrics))])
    return rows


def _own_head(metrics: dict[str, Any]) -> list[str]:
    return ["without pretrained features"] if "from_scratch" in metrics else []


def _reconstruction_rows(reconstruction: dict[str, float]) -> list[list[str]]:
    return [
        [label.spelled_out, f"{reconstruction[name]:.{min(label.decimals, 3)}f}"]
        for name, label in RECONSTRUCTION.items()
        if name in reconstruction
    ]


def _defect_rows(per_defect: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows; the last column is dropped where no defect has a residue."""
    rows = []
    for name, entry in per_defect.items():
        auroc = entry.get("image_auroc")
        value = f"{auroc['value']:.4f}" if auroc else ""
        interval = "{:.4f} to {:.4f}".format(*auroc["interval"]) if auroc else ""
        residue = f"{entry['defect_residue']:.0%}" if "defect_residue" in entry else ""
        rows.append([name, str(entry["n"]), value, interval, f"{entry['detection_rate']:.1%}", residue])
    heads = [
        "defect",
        "pictures",
        DETECTION["image_auroc"].label,
        "95 % interval",
        RATES["detection_rate"].label,
        RECONSTRUCTION["defect_residue"].label,
    ]
    if not any(row[-1] for row in rows):
        return heads[:-1], [row[:-1] for row in rows]
    return heads, rows


def _figures(folder: Path) -> list[tuple[str, str]]:
    """Return caption and base64 PNG of each figure that was drawn."""
    paths = {caption: folder / f"{name}.png" for name, caption in CAPTIONS.items()}
    return [
        (caption, base64.b64encode(path.read_bytes()).decode())
        for caption, path in paths.items()
        if path.is_file()
    ]
