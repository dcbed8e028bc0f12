"""Tables and plots of an ablation's rows."""

import statistics
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from diffusionad.metric_labels import METRIC_LABELS

TITLES = {
    "steps": "One step against many",
    "guidance": "Guidance weight",
    "grid": "Timesteps and guidance weight",
    "noise": "Number of averaged noise draws",
    "seeds": "Seeds of the noise",
    "input": "Input of the segmenter",
    "dtype": "Data type of the networks",
    "synthesis": "Families of synthetic defects, trained again",
    "losses": "Losses of the segmenter, trained again",
}
COLUMNS = (
    "image_auroc",
    "image_ap",
    "pixel_auroc",
    "pixel_ap",
    "aupro",
    "psnr_normal_db",
    "defect_residue",
    "cpu_ms_per_picture",
)


def write_report(report: dict[str, Any], path: Path) -> str:
    """Write a Markdown table a study, with the standard deviation over the seeds, and return the text."""
    parts = [
        f"{report['n']} test pictures; {report['machine']}; by "
        + ", ".join(f"`{c}`" for c in report["commands"]),
        "Defect residue: the part of a defect that the reconstruction keeps, measured against the clean "
        "twin; 0 is a perfect repair, 1 none.",
    ]
    for study, title in TITLES.items():
        rows = [row for row in report["rows"] if row["study"] == study]
        if rows:
            spread = [_spread(rows)] if study == "seeds" and len(rows) > 1 else []
            parts += [f"## {title}", _table([*rows, *spread])]
    text = "\n\n".join(parts) + "\n"
    path.write_text(text, encoding="utf-8")
    return text


def write_plots(rows: list[dict[str, Any]], output: Path) -> None:
    """Write `output`_steps.png and `output`_grid.png where their studies were run."""
    steps = [row for row in rows if row["study"] == "steps"]
    if len(steps) > 1:
        _steps_figure(steps).savefig(output.with_name(f"{output.name}_steps.png"))
    grid = [row for row in rows if row["study"] == "grid"]
    if len(grid) > 1 and "psnr_normal_db" in grid[0]:
        _grid_figure(grid).savefig(output.with_name(f"{output.name}_grid.png"))


def _table(rows: list[dict[str, Any]]) -> str:
    names = [name for name in COLUMNS if any(name in row for row in rows)]
    lines = [["", *(METRIC_LABELS[name].label for name in names)], ["---"] + ["--:"] * len(names)]
    for row in rows:
        cells = [f"{row[name]:.{METRIC_LABELS[name].decimals}f}" if name in row else "-" for name in names]
        lines.append([row["label"], *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _spread(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = [name for name in COLUMNS if all(name in row for row in rows)]
    deviations = {name: statistics.stdev(row[name] for row in rows) for name in names}
    return {"label": "**standard deviation**", **deviations}


def _steps_figure(rows: list[dict[str, Any]]) -> Figure:
    """Plot each metric against CPU time; the first point is the single norm-guided step."""
    plotted = ("psnr_normal_db", "defect_residue", "image_auroc", "pixel_ap")
    names = [name for name in plotted if all(name in row for row in rows)]
    figure = Figure(figsize=(3.1 * len(names), 3.1), dpi=120, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        times = [row["cpu_ms_per_picture"] for row in rows]
        values = [row[name] for row in rows]
        axes.plot(times[1:], values[1:], "o-", color="#1f2933", label="DDPM steps")
        axes.plot(times[0], values[0], "s", color="#f06e28", label="one norm-guided step")
        axes.set(xscale="log", xlabel="CPU ms a picture", ylabel=METRIC_LABELS[name].label)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_xticks(times[1:], [f"{time:.0f}" for time in times[1:]], fontsize=7)
        axes.minorticks_off()
        axes.margins(0.12)
    axes.legend(frameon=False, fontsize=7)
    return figure


def _grid_figure(rows: list[dict[str, Any]]) -> Figure:
    """Plot repair against sharpness: defect residue (pixel AP without clean twins) against PSNR."""
    name = "defect_residue" if "defect_residue" in rows[0] else "pixel_ap"
    figure = Figure(figsize=(6.5, 4.5), dpi=120, layout="constrained")
    axes = figure.subplots()
    found = [row for row in rows if name in row]
    axes.plot([r["psnr_normal_db"] for r in found], [r[name] for r in found], "o", color="#26a69a")
    for row in found:
        place = (row["psnr_normal_db"], row[name])
        axes.annotate(row["label"], place, fontsize=6, xytext=(3, 3), textcoords="offset points")
    axes.set(
        xlabel=METRIC_LABELS["psnr_normal_db"].label,
        ylabel=METRIC_LABELS[name].label,
        title="t_fine, t_coarse, weight",
    )
    axes.spines[["top", "right"]].set_visible(False)
    return figure
