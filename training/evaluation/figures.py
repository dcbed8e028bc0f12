"""Figures of an evaluation: ROC, scores with the threshold, bars per defect, best and worst cases."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from sklearn.metrics import roc_curve

from diffusionad import DiffusionADPipeline
from diffusionad.images.image_io import read_image
from diffusionad.inspection.visualize import DEFECTIVE, GOOD, colorize, draw_contours
from diffusionad.metric_labels import DETECTION
from diffusionad.postprocessing.verdict import score_text

from ..data.catalog import Record
from ..data.masks import read_mask

CASES = 5  # rows in each of the two figures of cases
CASE_SIDE = 320  # pixels of the longer side of a picture in them
COLORS = {
    0: "#{:02x}{:02x}{:02x}".format(*GOOD),
    1: "#{:02x}{:02x}{:02x}".format(*DEFECTIVE),
}
NAMES = {0: "good", 1: "defective"}


def write_figures(
    pipeline: DiffusionADPipeline,
    records: list[Record],
    metrics: dict[str, Any],
    rows: list[dict[str, Any]],
    folder: Path,
) -> None:
    """Write each figure that the test split allows as PNG.

    Args:
        pipeline: the measured pipeline; it inspects the shown cases again.
        records: pictures of the test split.
        metrics: metrics from `evaluate`.
        rows: rows from `evaluate`, in the order of `records`.
        folder: created where it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.array([row["label"] for row in rows])
    scores = np.array([row["score"] for row in rows])
    if "image_auroc" in metrics:
        roc_figure(labels, scores, metrics).savefig(folder / "roc.png")
    score_figure(labels, scores, metrics["threshold"]).savefig(folder / "scores.png")
    per_defect = {k: v for k, v in metrics["per_defect"].items() if "image_auroc" in v}
    if per_defect:
        per_defect_figure(per_defect).savefig(folder / "per_defect.png")
    for name, chosen in choose_cases(labels, scores).items():
        picked = [(records[i], scores[i]) for i in chosen]
        cases_figure(pipeline, picked).savefig(folder / f"cases_{name}.png")


def roc_figure(labels: np.ndarray, scores: np.ndarray, metrics: dict[str, Any]) -> Figure:
    """Draw the ROC of the image scores, and the threshold on it."""
    figure, axes = _axes((4.6, 4.4))
    fpr, tpr, _ = roc_curve(labels, scores)
    value, (low, high) = metrics["image_auroc"]["value"], metrics["image_auroc"]["interval"]
    axes.plot(fpr, tpr, color="#1f2933", lw=1.8, label=f"AUROC {value:.4f} ({low:.4f} to {high:.4f})")
    axes.plot([0, 1], [0, 1], color="#9aa5b1", lw=0.8, ls="--")
    axes.plot(
        metrics["false_alarm_rate"],
        metrics["detection_rate"],
        "o",
        color=COLORS[1],
        label=f"threshold {score_text(metrics['threshold'])}",
    )
    axes.set(xlabel="false alarms among good pictures", ylabel="defective pictures found")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(loc="lower right", frameon=False, fontsize=8)
    return figure


def score_figure(labels: np.ndarray, scores: np.ndarray, threshold: float) -> Figure:
    """Draw histograms of the scores of good and defective pictures, and the threshold."""
    figure, axes = _axes((6.2, 3.4))
    bins = np.linspace(min(scores.min(), threshold), max(scores.max(), threshold) + 1e-9, 41)
    for label in np.unique(labels):
        chosen = scores[labels == label]
        name = f"{NAMES[int(label)]} (n = {len(chosen)})"
        axes.hist(chosen, bins, color=COLORS[int(label)], alpha=0.75, label=name)
    axes.axvline(threshold, color="#1f2933", lw=1.2, ls="--", label=f"threshold {score_text(threshold)}")
    axes.set(xlabel="score", ylabel="pictures")
    axes.legend(frameon=False, fontsize=8)
    return figure


def per_defect_figure(per_defect: dict[str, Any]) -> Figure:
    """Draw AUROC with its interval and detection rate of each kind of defect."""
    names = list(per_defect)
    figure, axes = _axes((6.2, 1.0 + 0.5 * len(names)))
    places = np.arange(len(names))
    values = np.array([per_defect[name]["image_auroc"]["value"] for name in names])
    low, high = np.array([per_defect[name]["image_auroc"]["interval"] for name in names]).T
    # A percentile interval may exclude the value itself, and an error bar must not be negative.
    errors = [np.maximum(values - low, 0), np.maximum(high - values, 0)]
    axes.barh(places - 0.18, values, 0.34, color=COLORS[0], xerr=errors, label=DETECTION["image_auroc"].label)
    rates = [per_defect[name]["detection_rate"] for name in names]
    axes.barh(places + 0.18, rates, 0.34, color=COLORS[1], label="found at the threshold")
    axes.set_yticks(places, [f"{name} (n = {per_defect[name]['n']})" for name in names])
    axes.set(xlim=(0, 1.02))
    axes.invert_yaxis()
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def choose_cases(labels: np.ndarray, scores: np.ndarray) -> dict[str, list[int]]:
    """Choose the worst cases (defective pictures scored lowest, good ones highest) and the best ones."""
    by_score = np.argsort(scores, kind="stable")
    low_first = {label: [int(i) for i in by_score if labels[i] == label] for label in (0, 1)}
    n_good = min(CASES // 2, len(low_first[0]))
    n_defective = min(CASES - n_good, len(low_first[1]))
    return {
        "worst": low_first[1][:n_defective] + low_first[0][::-1][:n_good],
        "best": low_first[1][::-1][:n_defective] + low_first[0][:n_good],
    }


def cases_figure(pipeline: DiffusionADPipeline, cases: list[tuple[Record, float]]) -> Figure:
    """Draw a row a picture: picture, ground truth, anomaly map, reconstruction."""
    titles = ("picture", "truth", "anomaly map", "reconstruction")
    rows = [_tiles(pipeline, record) for record, _ in cases]
    heights = [tiles[0].height / tiles[0].width for tiles in rows]
    figure = Figure(figsize=(9, 2.2 * sum(heights) + 0.2 * len(rows) + 0.3), dpi=110, layout="constrained")
    grid = figure.subplots(len(rows), len(titles), squeeze=False, height_ratios=heights)
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, fontsize=9)
    for line, tiles, (record, score) in zip(grid, rows, cases, strict=True):
        for axes, tile in zip(line, tiles, strict=True):
            axes.imshow(tile)
            axes.set_axis_off()
        name = f"{record.defect}/{record.image.name}"
        caption = f"{name}: score {score_text(score)}, threshold {score_text(pipeline.config.threshold)}"
        text = line[0].text(0, -0.03, caption, transform=line[0].transAxes, va="top", fontsize=7.5)
        text.set_in_layout(False)  # it may run on below the next picture
    return figure


def write_samples(pipeline: DiffusionADPipeline, records: list[Record], folder: Path, count: int) -> None:
    """Write panels of up to `count` test pictures, evenly spread over the kinds of defect."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = sorted({record.defect for record in records})
    by_kind = {kind: [r for r in records if r.defect == kind] for kind in kinds}
    for i in range(min(count, len(records))):
        kind = kinds[i % len(kinds)]
        if i // len(kinds) >= len(by_kind[kind]):
            continue
        record = by_kind[kind][i // len(kinds)]
        picture = pipeline(record.image)[0].panel(title=f"{kind}/{record.image.name}")
        picture.save(folder / f"{kind}_{record.image.stem}.png")


def _tiles(pipeline: DiffusionADPipeline, record: Record) -> list[Image.Image]:
    """Return picture, ground truth, map and reconstruction, at one size."""
    result = pipeline(record.image)
    reconstruction = result.reconstruction[0]
    assert isinstance(reconstruction, Image.Image)
    pixels = read_image(record.image, bit_depth=pipeline.config.bit_depth)
    picture = Image.fromarray((pixels * 255 + 0.5).astype(np.uint8))
    scale = min(1, CASE_SIDE / max(picture.size))
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    mask = read_mask(record.mask, (picture.height, picture.width))
    small = picture.resize(size, Image.Resampling.LANCZOS)
    covered = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, Image.Resampling.BOX))
    heat = Image.fromarray(colorize(result.anomaly_map[0], threshold=pipeline.config.threshold))
    return [
        small,
        draw_contours(small, covered > scale**2 / 5) if mask.any() else small,
        heat.resize(size, Image.Resampling.BILINEAR),
        reconstruction.resize(size, Image.Resampling.BICUBIC),
    ]


def _axes(size: tuple[float, float]) -> tuple[Figure, Any]:
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes
