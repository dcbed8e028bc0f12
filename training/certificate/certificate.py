"""What a model will miss: graded defects on good pictures, a fit, a plot, a map and plain sentences."""

import csv
import json
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from diffusionad import DiffusionADPipeline

from .figures import rate_figure, where_figure
from .fit import fit_rate, resampled_fits, size_found
from .graded import SHAPES
from .trials import LEVELS, PLACES, SIDES, GoodPicture, Trial, agreement, run_trials

FEWEST_PICTURES = 3
FEWEST_DEFECTS = 30  # of a shape and tone, for a sentence: fewer cannot tell 95 in 100 from 90
GOOD_PICTURES = 12  # more would spend the time on their first inspection
# Shares of the time after which no further good picture is taken, and no further damaged one.
GOODS_UNTIL, TRIALS_UNTIL = 0.25, 0.9
SMALL = 0.05  # of the shorter side: defects that the map of places counts
RATES = (0.5, 0.95)
CAVEAT = (
    "The rates hold for these synthetic defects on pictures like these, if the pictures are of good parts of "
    "this kind: the model cannot know that. On real defects of three data sets such rates were off by up to "
    "42 points of 100, to either side: they rank defects better than they count them."
)


def certify(
    pipeline: DiffusionADPipeline,
    paths: Sequence[Path],
    output: Path,
    *,
    pictures: int = 1000,
    max_minutes: float = 5.0,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure what a model finds, and write certificate.json, trials.csv, rates.png and where.png.

    Args:
        pipeline: a calibrated model.
        paths: pictures of good parts that the model was not trained on.
        output: a folder that does not exist yet, or is empty.
        pictures: at most so many inspections of damaged pictures.
        max_minutes: time for all of it; the grid of sizes and contrasts is covered evenly wherever it ends.
        seed: the same seed gives the same certificate, as far as the time does not cut it short.

    Returns:
        What certificate.json holds.

    Raises:
        ValueError: too few pictures, no calibration, or an output with files.
    """
    check(pipeline, paths, output)
    start, seconds = time.monotonic(), 60 * max_minutes
    goods: list[GoodPicture] = []
    for index in np.random.default_rng(seed).permutation(len(paths))[:GOOD_PICTURES]:
        if len(goods) >= FEWEST_PICTURES and time.monotonic() > start + GOODS_UNTIL * seconds:
            break
        goods.append(GoodPicture(pipeline, paths[index]))
    side = min(goods[0].pixels.shape[:2])
    trials = run_trials(pipeline, goods, pictures, start + TRIALS_UNTIL * seconds, seed)
    if not trials:
        raise ValueError("no defect found a place on these pictures; give pictures with more of the part")
    same, compared = agreement(pipeline, goods, start + seconds, seed + 1)
    certificate = {
        "definition": "found: the map exceeds the pixel threshold within 2 % of the side around the defect",
        "caveat": CAVEAT,
        "seed": seed,
        "good_pictures": len(goods),
        "good_pictures_called_anomalous": sum(good.is_anomalous for good in goods),
        "defects": len(trials),
        "side_pixels": side,
        "grain_levels": float(np.median([good.grain for good in goods])),
        "agreement_with_verdict": {"same": same, "compared": compared},
        "families": families(trials, side, seed),
        "where": where(trials, side),
    }
    certificate["sentences"] = sentences_of(certificate)
    _write(output, certificate, trials)
    return certificate


def _write(output: Path, certificate: dict[str, Any], trials: list[Trial]) -> None:
    """Write all files; certificate.json comes last."""
    output.mkdir(parents=True, exist_ok=True)
    rate_figure(trials, certificate).savefig(output / "rates.png")
    where_figure(certificate["where"]).savefig(output / "where.png")
    with (output / "trials.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("picture", "shape", "size", "levels", "row", "column", "is_found"))
        writer.writerows((t.picture, *astuple(t.grade), t.row, t.column, t.is_found) for t in trials)
    text = json.dumps(certificate, indent=2, allow_nan=False)
    (output / "certificate.json").write_text(text + "\n", encoding="utf-8")


def check(pipeline: DiffusionADPipeline, paths: Sequence[Path], output: Path) -> None:
    """Raise ValueError where no certificate can be made."""
    if len(paths) < FEWEST_PICTURES:
        raise ValueError(
            f"a certificate needs {FEWEST_PICTURES} good pictures or more, not {len(paths)}; give more"
        )
    if pipeline.config.calibration is None:
        raise ValueError("the model is not calibrated; run `diffusionad calibrate` first")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`{output}` exists already; name another --output, or delete it")


def families(trials: list[Trial], side: int, seed: int) -> list[dict[str, Any]]:
    """Return, for dark and light defects of each shape, the fit and the smallest size found by contrast."""
    results = []
    for shape in SHAPES:
        for sign, tone in ((-1, "dark"), (1, "light")):
            of = [t for t in trials if t.grade.shape == shape and t.grade.levels * sign > 0]
            if not of:
                continue
            picture, size, levels = (
                np.array(column)
                for column in zip(*((t.picture, t.grade.size, abs(t.grade.levels)) for t in of), strict=True)
            )
            found = np.array([t.is_found for t in of])
            weights = fit_rate(size, levels, found)
            fits = resampled_fits(picture, size, levels, found, seed)
            lines = [
                _line(weights, fits, level, rate, SIDES[-1] * side) for rate in RATES for level in LEVELS
            ]
            results.append(
                {
                    "shape": shape,
                    "tone": tone,
                    "defects": len(of),
                    "found": int(found.sum()),
                    "fit": dict(
                        zip(("intercept", "log2_size", "log2_levels"), weights.tolist(), strict=True)
                    ),
                    "lines": lines,
                }
            )
    return results


def _line(
    weights: np.ndarray, fits: list[np.ndarray], levels: int, rate: float, largest: float
) -> dict[str, Any]:
    """Return the size found at a rate with its 95 % interval; None stands for more than was tried."""
    smallest = max(1.0, largest * SIDES[0] / SIDES[-1])  # nothing smaller was tried
    sizes = [size_found(weights, levels, rate)]
    # Ranks, not interpolated quantiles: some sizes are infinite.
    ranked = sorted(size_found(fit, levels, rate) for fit in fits)
    sizes += [ranked[round(q * (len(ranked) - 1))] for q in (0.025, 0.975)]
    size, low, high = (max(smallest, s) if s <= largest else None for s in sizes)
    return {"rate": rate, "levels": levels, "size": size, "interval": [low, high]}


def where(trials: list[Trial], side: int) -> dict[str, list[list[int]]]:
    """Count small defects and those found at each place; rows from the top."""
    tried, found = np.zeros((PLACES, PLACES), int), np.zeros((PLACES, PLACES), int)
    for trial in trials:
        if trial.grade.size <= SMALL * side:
            tried[trial.row, trial.column] += 1
            found[trial.row, trial.column] += trial.is_found
    return {"tried": tried.tolist(), "found": found.tolist()}


def sentences_of(certificate: dict[str, Any]) -> list[str]:
    """Say in three sentences how dots and scratches are found, and whether the rim of the picture differs."""
    texts = [_family_sentence(certificate, shape) for shape in ("dots", "scratches")]
    tried, found = (np.array(certificate["where"][name]) for name in ("tried", "found"))
    rim = np.ones_like(tried, bool)
    rim[1:-1, 1:-1] = False
    inside, outside = (
        f"{found[of].sum()} of {tried[of].sum()} are found" if tried[of].any() else "none was tried"
        for of in (~rim, rim)
    )
    small = f"{SMALL * certificate['side_pixels']:.0f}"
    texts.append(
        f"Of defects up to {small} pixels, {inside} inside the picture, {outside} in its outer eighth."
    )
    return texts


def _plainness(line: dict[str, Any], small: float) -> tuple[bool, bool, float]:
    is_small = line["size"] <= small
    return line["interval"][1] is None, not is_small, line["levels"] if is_small else line["size"]


def _family_sentence(certificate: dict[str, Any], shape: str) -> str:
    families = [family for family in certificate["families"] if family["shape"] == shape]
    enough = [family for family in families if family["defects"] >= FEWEST_DEFECTS]
    if not enough:
        tried = sum(family["defects"] for family in families)
        return f"{tried} {shape} were tried, too few to say which are found 95 times in 100."
    lines = [
        (line, family["tone"])
        for family in enough
        for line in family["lines"]
        if line["rate"] == RATES[-1] and line["size"] is not None
    ]
    largest = SIDES[-1] * certificate["side_pixels"]
    if not lines:
        return f"No {shape} up to {largest:.0f} pixels and {LEVELS[-1]} levels are found 95 times in 100."
    # The faintest contrast that is found while small says most; a line without an upper end says least.
    small = SMALL * certificate["side_pixels"]
    line, tone = min(lines, key=lambda pair: _plainness(pair[0], small))
    low, high = (f"{value:.0f}" if value else f"more than {largest:.0f}" for value in line["interval"])
    grains = line["levels"] / max(certificate["grain_levels"], 0.1)
    text = f"{tone.capitalize()} {shape} of {line['levels']} levels ({grains:.1f} times the grain)"
    return f"{text} are found 95 times in 100 from {line['size']:.0f} pixels on ({low} to {high})."
