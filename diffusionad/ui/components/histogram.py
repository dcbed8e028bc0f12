"""Histogram of scores around the threshold, as SVG: sharp at any size, readable in light and dark mode."""

from collections.abc import Sequence

import numpy as np

from diffusionad.postprocessing.verdict import score_text
from diffusionad.ui.components.markup import as_text

BINS = 25
WIDTH, HEIGHT = 640, 200  # units of the drawing, which is scaled to the width of the page
LEFT, RIGHT, TOP, BOTTOM = 34, 10, 26, 40  # margins


def histogram(scores: Sequence[float], thresholds: dict[str, float], unit: str = "pictures") -> str:
    """Return bars of scores from 0 to 1; bars above the first threshold have the colour of defects.

    Args:
        scores: at least one, each in [0, 1].
        thresholds: name to value; the first is in force, further ones are for comparison.
        unit: name of the counted things.
    """
    values = np.asarray(scores, dtype=np.float64)
    in_force = next(iter(thresholds.values()))
    edges = np.linspace(0, 1, BINS + 1)
    good, _ = np.histogram(values[values <= in_force], edges)
    defective, _ = np.histogram(values[values > in_force], edges)
    top = max(1, int((good + defective).max()))
    parts = [_axes(top, unit)]
    for i in range(BINS):
        # A threshold inside a bin splits its bar.
        parts += [_bar(i, 0, good[i], top, "good"), _bar(i, good[i], defective[i], top, "defective")]
    for number, (name, value) in enumerate(thresholds.items()):
        parts.append(_threshold(name, value, "in-force" if number == 0 else "other"))
    above = int((values > in_force).sum())
    summary = f"Histogram of {len(values)} scores: {above} above the threshold {score_text(in_force)}."
    return (
        f'<svg class="histogram" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{as_text(summary)}">'
        f"{''.join(parts)}</svg>"
    )


def _x(value: float) -> float:
    return LEFT + value * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)


def _axes(top: int, unit: str) -> str:
    base = _y(0)
    ticks = "".join(
        f'<text x="{_x(value):.1f}" y="{base + 18:.1f}" text-anchor="middle">{value:g}</text>'
        for value in (0, 0.25, 0.5, 0.75, 1)
    )
    return (
        f'<line class="axis" x1="{_x(0)}" x2="{_x(1)}" y1="{base}" y2="{base}" />{ticks}'
        f'<text x="{_x(0.5):.1f}" y="{base + 36:.1f}" text-anchor="middle">score</text>'
        f'<text x="{LEFT - 6}" y="{_y(1) + 10:.1f}" text-anchor="end">{top}</text>'
        f'<text x="{LEFT - 6}" y="{base:.1f}" text-anchor="end">0</text>'
        f'<text x="0" y="11">{as_text(unit)}</text>'
    )


def _bar(i: int, below: int, count: int, top: int, kind: str) -> str:
    if not count:
        return ""
    x, y = _x(i / BINS) + 1, _y((below + count) / top)
    width, height = (WIDTH - LEFT - RIGHT) / BINS - 2, _y(below / top) - y
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" />'


def _threshold(name: str, value: float, kind: str) -> str:
    x = _x(value)
    anchor, shift = ("end", -5) if value > 0.5 else ("start", 5)
    y = 11 if kind == "in-force" else 24
    return (
        f'<line class="threshold {kind}" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{_y(0)}" />'
        f'<text class="threshold {kind}" x="{x + shift:.1f}" y="{y}" text-anchor="{anchor}">'
        f"{as_text(name)} {score_text(value)}</text>"
    )
