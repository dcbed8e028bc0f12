"""Figures of a certificate: size against contrast, and where small defects are missed."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .graded import SHAPES
from .trials import LEVELS, Trial

COLOURS = {"dark": "tab:blue", "light": "tab:orange"}
STYLES = {0.5: "--", 0.95: "-"}


def rate_figure(trials: list[Trial], certificate: dict[str, Any]) -> Figure:
    """Draw a panel a shape: defects found and missed, lines of 50 % and 95 %, and their intervals."""
    figure = Figure(figsize=(4 * len(SHAPES), 4.2))
    panels = figure.subplots(1, len(SHAPES), squeeze=False)[0]
    largest = max(trial.grade.size for trial in trials)
    for panel, shape in zip(panels, SHAPES, strict=True):
        _scatter(panel, [trial for trial in trials if trial.grade.shape == shape])
        for family in certificate["families"]:
            if family["shape"] == shape:
                _lines(panel, family)
        panel.set(xscale="log", yscale="log", xlim=(0.8, 1.25 * largest), ylim=(4, 140), title=shape)
        panel.set_xticks(ticks := [n for n in (1, 2, 5, 10, 20, 50, 100, 200) if n <= largest], ticks)
        # Both units at each tick: what hides a defect is the grain, what a camera reports are levels.
        grain = certificate["grain_levels"]
        panel.set_yticks(LEVELS, [f"{n} ({n / grain:.1f})" if grain else str(n) for n in LEVELS])
        panel.minorticks_off()
        panel.set_xlabel("size in pixels")
    panels[0].set_ylabel("contrast in grey levels (in grains)")
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.24, top=0.92, wspace=0.3)
    handles = {label: h for p in panels for h, label in zip(*p.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=6, frameon=False)
    return figure


def _scatter(panel: Axes, trials: list[Trial]) -> None:
    for is_found, marker, label in ((True, "o", "found"), (False, "x", "missed")):
        kept = [trial.grade for trial in trials if trial.is_found == is_found]
        panel.scatter(
            [grade.size for grade in kept],
            [abs(grade.levels) for grade in kept],
            c=[COLOURS["dark" if grade.levels < 0 else "light"] for grade in kept],
            s=12,
            alpha=0.5,
            marker=marker,
            label=label,
        )


def _lines(panel: Axes, family: dict[str, Any]) -> None:
    colour = COLOURS[family["tone"]]
    for rate, style in STYLES.items():
        lines = [line for line in family["lines"] if line["rate"] == rate and line["size"] is not None]
        sizes, levels = [line["size"] for line in lines], [line["levels"] for line in lines]
        panel.plot(sizes, levels, style, color=colour, label=f"{family['tone']}, {rate:.0%}")
        whole = [line for line in lines if None not in line["interval"]]
        if whole:
            low, high = zip(*(line["interval"] for line in whole), strict=True)
            panel.hlines([line["levels"] for line in whole], low, high, color=colour, linewidth=1)


def where_figure(where: dict[str, list[list[int]]]) -> Figure:
    """Draw the fraction of small defects that were found at each place; places without any stay white."""
    tried, found = np.array(where["tried"]), np.array(where["found"])
    figure = Figure(figsize=(5, 4))
    panel = figure.subplots()
    rate = np.where(tried > 0, found / np.maximum(tried, 1), np.nan)
    drawn = panel.imshow(rate, vmin=0, vmax=1, cmap="viridis")
    panel.set(xticks=[], yticks=[], title="small defects found, by place")
    figure.colorbar(drawn)
    return figure
