"""Curves of a run: curves.png from log.jsonl."""

from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from .validation import CRITERION, is_published


def write_curves(rows: list[dict[str, Any]], path: Path) -> None:
    """Plot the losses above; below, the criterion that chooses the checkpoint, with the chosen step."""
    figure = Figure(figsize=(8, 7), layout="constrained")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for name, label in (("noise", "noise loss, normal samples"), ("segmentation", "segmentation loss")):
        upper.plot(*_series(rows, name), label=label)
    upper.set_yscale("log")
    upper.legend()
    steps, criterion = _series(rows, "criterion")
    lower.plot(steps, criterion, marker="o", markersize=3, color="tab:green", label=CRITERION)
    for name in ("synthetic_image_ap", "synthetic_pixel_ap"):
        lower.plot(*_series(rows, name), linewidth=0.8, alpha=0.6, label=name.replace("_", " "))
    if steps:
        chosen = published_step(steps, criterion)
        lower.axvline(chosen, color="tab:red", linestyle=":", label=f"published weights: step {chosen}")
    lower.set_ylim(-0.02, 1.02)
    lower.set_xlabel("step")
    lower.legend(loc="lower right")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=100)


def published_step(steps: list[int], criterion: list[float]) -> int:
    """Return the validation after which the weights of `pipeline/` were saved."""
    best = max(criterion)
    return [step for step, found in zip(steps, criterion, strict=True) if is_published(found, best)][-1]


def _series(rows: list[dict[str, Any]], name: str) -> tuple[list[int], list[float]]:
    found = [row for row in rows if name in row]
    return [row["step"] for row in found], [row[name] for row in found]
