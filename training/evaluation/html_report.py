"""report.html: figures, tables and provenance of an evaluation in one file that opens offline."""

import base64
import html
import json
from pathlib import Path
from typing import Any

from diffusionad.inspection.results import score_text

from .metrics import METRICS

TITLES = {
    "image_auroc": "image AUROC",
    "image_ap": "image AP",
    "image_f1_max": "image F1-max",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "pixel_f1_max": "pixel F1-max",
    "aupro": "AUPRO (false-positive rate up to 0.3)",
}
CAPTIONS = {
    "roc": "ROC of the image scores; the dot is the threshold in force.",
    "scores": "Scores of the test pictures.",
    "per_defect": "Each kind of defect against all good pictures.",
    "cases_worst": "The worst cases: defective pictures with the lowest scores, good ones with the highest.",
    "cases_best": "The best cases: defective pictures with the highest scores, good ones with the lowest.",
}
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; margin: .5rem 0; }
td, th { padding: .25rem .9rem .25rem 0; text-align: left; border-bottom: 1px solid #8884; }
 td.n { font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } img { max-width: 100%; background: white; border-radius: 4px; }
figcaption { color: #808890; font-size: .9rem; } pre { white-space: pre-wrap; font-size: .8rem; }
"""


def write_report(output: Path, metrics: dict[str, Any]) -> None:
    """`output`/report.html from the figures that lie in `output`/figures."""
    parts = [
        f"<h1>DiffusionAD on {_text(metrics['category'])}</h1>",
        f"<p>{_text(summary(metrics))}</p>",
        "<h2>Metrics</h2>",
        _table(["metric", "value", "95 % interval"], _metric_rows(metrics)),
        "<p>Intervals: percentile bootstrap over pictures; a metric that is perfect on every picture gets an "
        "interval of width 0, which is no proof.</p>",
    ]
    if metrics["per_defect"]:
        parts += ["<h2>Kinds of defect</h2>", _table(*_defect_rows(metrics["per_defect"]))]
    parts += ["<h2>Figures</h2>", *_figures(output / "figures")]
    rest = {k: v for k, v in metrics.items() if k not in (*METRICS, "per_defect", "absent")}
    parts += ["<h2>How it was made</h2>", f"<pre>{_text(json.dumps(rest, indent=2))}</pre>"]
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{_text(metrics["category"])}</title><style>{STYLE}</style></head>'
        f"<body>{''.join(parts)}</body></html>\n"
    )
    (output / "report.html").write_text(page, encoding="utf-8")


def summary(metrics: dict[str, Any]) -> str:
    """What was tested and what the threshold does, in two sentences."""
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
        if name in metrics:
            low, high = metrics[name]["interval"]
            rows.append([TITLES[name], f"{metrics[name]['value']:.4f}", f"{low:.4f} to {high:.4f}"])
        else:
            rows.append([TITLES[name], "absent", metrics["absent"][name]])
    return rows


def _defect_rows(per_defect: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    rows = []
    for name, entry in per_defect.items():
        auroc = entry.get("image_auroc")
        value = f"{auroc['value']:.4f}" if auroc else ""
        interval = "{:.4f} to {:.4f}".format(*auroc["interval"]) if auroc else ""
        residue = f"{entry['defect_residue']:.0%}" if "defect_residue" in entry else ""
        rows.append([name, str(entry["n"]), value, interval, f"{entry['detection_rate']:.1%}", residue])
    heads = ["defect", "pictures", "image AUROC", "95 % interval", "found", "left by the repair"]
    if not any(row[-1] for row in rows):
        return heads[:-1], [row[:-1] for row in rows]
    return heads, rows


def _figures(folder: Path) -> list[str]:
    parts = []
    for name, caption in CAPTIONS.items():
        path = folder / f"{name}.png"
        if path.is_file():
            data = base64.b64encode(path.read_bytes()).decode()
            image = f'<img alt="{_text(caption)}" src="data:image/png;base64,{data}">'
            parts.append(f"<figure>{image}<figcaption>{_text(caption)}</figcaption></figure>")
    return parts


def _table(head: list[str], rows: list[list[str]]) -> str:
    header = "".join(f"<th>{_text(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f'<td class="n">{_text(cell)}</td>' for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{header}</tr>{body}</table>"


def _text(value: str) -> str:
    return html.escape(str(value))
