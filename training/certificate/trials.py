"""Paste graded defects on good pictures and look whether the map marks their place.

Several defects share a picture, half a side apart: found means that the map rises above the pixel
threshold at the defect, at a place that is not marked on the good picture. This tells where a defect is
missed, at a fraction of the price. A verdict needs a defect a picture; `agreement` compares both on a sample.
"""

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffusionad import DiffusionADPipeline, read_image

from ..evaluation.localisation import dilate
from ..synthesis.defects import grain_of, random_point
from ..synthesis.foreground import foreground_mask
from .graded import SHAPES, Grade, paste

SIDES = (0.01, 0.02, 0.03, 0.05, 0.08, 0.12, 0.2)  # sizes, as fractions of the shorter side
LEVELS = (6, 12, 24, 48, 96)
PLACES = 8  # rows and columns of the grid of places
APART = 0.5  # of the shorter side, between defects of a picture
DEFECTS = 6  # on a picture at most; a long one has room for them
TRIES = 40  # places for a defect
ON_PART = 0.5  # of the pixels of a defect at least; a thin part has no room for large ones
AGREEMENT_PICTURES = 12


@dataclass(frozen=True)
class Trial:
    """A pasted defect and what became of it.

    Attributes:
        picture: index of the good picture.
        grade: what was pasted.
        row: row of the grid of places, in [0, `PLACES`).
        column: its column.
        grain: standard deviation of the part's texture, in grey levels.
        is_found: the map marks it.
    """

    picture: int
    grade: Grade
    row: int
    column: int
    grain: float
    is_found: bool


class GoodPicture:
    """A good picture with what all trials on it share."""

    def __init__(self, pipeline: DiffusionADPipeline, path: Path) -> None:
        read = read_image(path, bit_depth=pipeline.config.bit_depth)
        self.pixels = np.rint(read * 255).astype(np.uint8)  # [H,W,3]: defects are whole grey levels
        unit = self.pixels.astype(np.float32) / 255
        part = foreground_mask(unit)
        self.part = np.ones(unit.shape[:2], bool) if part is None else part
        self.grain = grain_of(unit) * 255
        output = pipeline(self.pixels)
        self.marked = output.anomaly_map[0] > output.pixel_threshold
        self.is_anomalous = bool(output.is_anomalous[0])


def grades_of(side: int, rng: np.random.Generator) -> Iterator[Grade]:
    """Yield all grades in rounds, each in a new order: wherever time ends, all were tried equally often."""
    sizes = sorted({max(1, round(fraction * side)) for fraction in SIDES})
    signed = [sign * level for level in LEVELS for sign in (-1, 1)]
    grades = [Grade(*values) for values in itertools.product(SHAPES, sizes, signed)]
    while True:
        yield from (grades[i] for i in rng.permutation(len(grades)))


def _damage(
    good: GoodPicture, grades: Iterator[Grade], index: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, list[tuple[Trial, np.ndarray]]]:
    """Paste up to `count` defects on the part, apart; return the picture, and a mask with each defect."""
    pixels, pasted = good.pixels, []
    height, width = pixels.shape[:2]
    apart, centres = APART * min(height, width), np.empty((0, 2))
    for grade in itertools.islice(grades, count):
        # The grade waits for a place: dropping it would leave out the large and the strong ones.
        for _ in range(TRIES):
            y, x = random_point(good.part, rng)
            if (np.hypot(*(centres - (y, x)).T) < apart).any():
                continue
            done = paste(pixels, grade, (y, x), rng.uniform(0, math.pi))
            if done is None or good.part[done[1]].mean() < ON_PART or good.marked[dilate(done[1])].any():
                continue
            pixels, centres = done[0], np.vstack([centres, (y, x)])
            place = y * PLACES // height, x * PLACES // width
            pasted.append((Trial(index, grade, *place, good.grain, False), done[1]))
            break
    return pixels, pasted


def run_trials(
    pipeline: DiffusionADPipeline,
    goods: Sequence[GoodPicture],
    pictures: int,
    end: float,
    seed: int,
) -> list[Trial]:
    """Inspect damaged pictures until `pictures` are done or the time is over.

    The trials of a shorter time are the first ones of a longer time with the same seed.

    Args:
        pipeline: a calibrated model.
        goods: at least one good picture.
        pictures: at most so many inspections.
        end: of `time.monotonic`, after which no further inspection begins.
        seed: of places, order and directions.
    """
    rng = np.random.default_rng(seed)
    grades = grades_of(min(goods[0].pixels.shape[:2]), rng)
    trials: list[Trial] = []
    for i in range(pictures):
        index = i % len(goods)
        pixels, pasted = _damage(goods[index], grades, index, DEFECTS, rng)
        if pasted:
            output = pipeline(pixels)
            above = output.anomaly_map[0] > output.pixel_threshold
            for trial, mask in pasted:
                found = bool(above[dilate(mask)].any())
                trials.append(Trial(index, trial.grade, trial.row, trial.column, trial.grain, found))
        if time.monotonic() > end:
            break
    return trials


def agreement(
    pipeline: DiffusionADPipeline, goods: Sequence[GoodPicture], end: float, seed: int
) -> tuple[int, int]:
    """Return how often the verdict of a picture with one defect says the same as its place, of how many."""
    rng = np.random.default_rng(seed)
    calm = [good for good in goods if not good.is_anomalous]
    same = total = 0
    if not calm:
        return 0, 0
    grades = grades_of(min(calm[0].pixels.shape[:2]), rng)
    for i in range(AGREEMENT_PICTURES):
        pixels, pasted = _damage(calm[i % len(calm)], grades, i, 1, rng)
        if pasted:
            output = pipeline(pixels)
            found = bool((output.anomaly_map[0] > output.pixel_threshold)[dilate(pasted[0][1])].any())
            same, total = same + (found == bool(output.is_anomalous[0])), total + 1
        if time.monotonic() > end:
            break
    return same, total
