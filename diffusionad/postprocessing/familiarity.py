"""Is this a picture of the part at all? A test of the whole picture, learned from good ones. NumPy only.

A few statistics that defects hardly move, medians and quantiles of the whole picture, are compared with those
of the n calibration pictures. How far a picture may lie from them comes from jackknife-minmax, a form of
conformal prediction that spends no picture on anything else (Barber, Candes, Ramdas and Tibshirani, 2021):
each calibration picture is compared with the n - 1 others, and a new one by whichever of these n comparisons
lets it seem most usual. A picture drawn like those of the calibration is refused with a probability of at
most `rate`, whatever their distribution.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from diffusionad.images.image_io import resize
from diffusionad.images.tiling import TiledPicture

FAMILIARITY_RATE = 0.01  # promised share of good pictures that are refused, where there are enough
MIN_PICTURES = 20  # fewer say too little of what is usual: every picture is known then
PICTURES_KEPT = 199  # that are looked at: enough for the rate, more add nothing

LAYOUT = 8  # cells a side
CELLS = LAYOUT * LAYOUT  # the first statistics
NAMES = ("dark", "middle", "bright", "red", "blue", "sharpness", "residual", "distance")  # the others
# A defect may cover this share of the cells, and no more, before the layout counts as another one.
LAYOUT_QUANTILE = 0.6
# Defective pictures, and good ones of tomorrow, may lie this much farther out than those of the calibration.
SPREAD_MARGIN = 2.0
FLOOR = 0.01  # least spread of a statistic: the rounding to 8 bits, and the light of a lamp
MAX_STATISTIC = 1e6

SAMPLED_SIDE = 256  # pixels a side that are enough for a quantile
# Gradients, residuals and distances count by their ratios: a tenth of a natural logarithm is as much as a
# hundredth of the range of the brightness.
LOG_SCALE, LOG_OFFSET = 0.1, 0.002


def appearance_of(tiled: TiledPicture, inside: np.ndarray) -> np.ndarray:
    """Return statistics of a whole picture that a defect hardly moves.

    Args:
        tiled: the picture, its reconstruction, and its distance to good parts where the model has one.
        inside: bool [H',W'], the region of interest; nothing outside of it counts.

    Returns:
        float64 [71], or [72] with a distance: the brightness of 8 x 8 cells, then those of `NAMES`.
    """
    gray = tiled.picture.mean(axis=2)  # [H',W']
    step = tuple(max(1, side // SAMPLED_SIDE) for side in gray.shape)
    sampled = (slice(None, None, step[0]), slice(None, None, step[1]))
    seen = inside[sampled] if inside[sampled].any() else np.ones_like(inside[sampled])
    red, green, blue = (tiled.picture[..., c][sampled][seen] for c in range(3))
    gradient = np.hypot(*np.gradient(gray))[sampled][seen]
    residual = np.abs(tiled.picture[sampled] - tiled.reconstruction[sampled]).mean(axis=2)[seen]
    values = [
        *np.quantile(gray[sampled][seen], (0.1, 0.5, 0.9)),
        np.median(red - green),
        np.median(blue - green),
        _log(np.median(gradient)),
        _log(np.median(residual)),
    ]
    if tiled.distance is not None:
        values.append(_log(np.median(tiled.distance[sampled][seen])))
    weight = resize(inside.astype(np.float32), (LAYOUT, LAYOUT))
    cells = resize(gray * inside, (LAYOUT, LAYOUT)) / np.maximum(weight, 1e-3)
    return np.concatenate([cells.ravel(), values]).astype(np.float64)


def _log(value: float) -> float:
    return LOG_SCALE * math.log(value + LOG_OFFSET)


@dataclass(frozen=True)
class Familiarity:
    """What good pictures look like as a whole; stored as JSON within a calibration.

    Attributes:
        low: [K] least median of a statistic that n - 1 of the n calibration pictures have.
        high: [K] greatest one; what lies between both is not unusual at all.
        spread: [K] greatest robust standard deviation that n - 1 of them have, at least 0.01.
        scores: how far each calibration picture lies from the others, ascending.
        rate: promised share of good pictures that are refused, in (0, 1).
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    spread: tuple[float, ...]
    scores: tuple[float, ...]
    rate: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Any) -> "Familiarity":
        """Check what `to_dict` gave.

        Raises:
            ValueError: a field is missing, unknown, or has a value that it cannot have.
        """
        check_familiarity(values)
        lists = {name: tuple(values[name]) for name in ("low", "high", "spread", "scores")}
        return cls(**lists, rate=values["rate"])

    def judge(self, appearance: np.ndarray) -> tuple[bool, float] | tuple[None, None]:
        """Say whether a picture is one of the part, and how probably a good one looks this unusual.

        Args:
            appearance: [K] of `appearance_of`.

        Returns:
            Whether it is known, and a conservative p-value in (0, 1]; None where the model has got or lost a
            statistic since.
        """
        if len(appearance) != len(self.spread):
            return None, None
        outside = np.maximum(np.asarray(self.low) - appearance, appearance - np.asarray(self.high))
        [distance] = _distances(outside.clip(0)[None] / np.asarray(self.spread)) / SPREAD_MARGIN
        at_least = len(self.scores) - int(np.searchsorted(self.scores, distance, side="left"))
        p_value = (1 + at_least) / (1 + len(self.scores))
        return p_value > self.rate * (1 + 1e-9), p_value  # the slack keeps 1/(n+1) refusable after rounding


def learn_familiarity(appearances: Sequence[np.ndarray] | np.ndarray) -> Familiarity | None:
    """Learn what good pictures look like as a whole.

    Args:
        appearances: [n,K] of calibration pictures.

    Returns:
        The test, or None with fewer than 20 pictures. It promises to refuse at most the larger of 1 % and
        1/(n+1) of good pictures.
    """
    values = np.asarray(appearances, dtype=np.float64)
    if len(values) < MIN_PICTURES:
        return None
    if len(values) > PICTURES_KEPT:
        values = values[np.linspace(0, len(values) - 1, PICTURES_KEPT).round().astype(int)]
    everyone = np.arange(len(values))
    fits = [_fit(values[everyone != i]) for i in everyone]
    centers, spreads = (np.stack(columns) for columns in zip(*fits, strict=True))  # [n,K]
    scores = np.sort(_distances(np.abs(values - centers) / spreads))
    return Familiarity(
        low=tuple(centers.min(axis=0).tolist()),
        high=tuple(centers.max(axis=0).tolist()),
        spread=tuple(spreads.max(axis=0).tolist()),
        scores=tuple(scores.tolist()),
        rate=max(FAMILIARITY_RATE, 1 / (len(values) + 1)),
    )


def _fit(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the median and the robust standard deviation of each statistic, [K] each."""
    center = np.median(values, axis=0)
    return center, np.maximum(1.4826 * np.median(np.abs(values - center), axis=0), FLOOR)


def _distances(z: np.ndarray) -> np.ndarray:
    """Return the largest z-score of each picture [N]; the layout counts as one, by a quantile of its cells.

    It falls with none of the z-scores [N,K], which jackknife-minmax rests on.
    """
    layout = np.quantile(z[:, :CELLS], LAYOUT_QUANTILE, axis=1)
    return np.maximum(layout, z[:, CELLS:].max(axis=1))


def check_familiarity(values: Any) -> None:
    """Raise a ValueError that names the field of a stored test, and what it may be."""
    fields = {"low", "high", "spread", "scores", "rate"}
    if not isinstance(values, dict) or set(values) != fields:
        raise ValueError(
            f"`calibration.familiarity` must have {', '.join(sorted(fields))}, or be null: calibrate again."
        )
    counts = range(CELLS + len(NAMES) - 1, CELLS + len(NAMES) + 1)
    lengths = dict.fromkeys(("low", "high", "spread"), counts)
    lengths["scores"] = range(MIN_PICTURES, PICTURES_KEPT + 1)
    for name, allowed in lengths.items():
        numbers, least = values[name], {"spread": FLOOR, "scores": 0.0}.get(name, -MAX_STATISTIC)
        is_right = isinstance(numbers, list | tuple) and len(numbers) in allowed
        if not is_right or not all(_is_finite(v) and least <= v <= MAX_STATISTIC for v in numbers):
            raise ValueError(
                f"`calibration.familiarity.{name}` must be {allowed.start}..{allowed.stop - 1} numbers in "
                f"{least:g}..{MAX_STATISTIC:g}: calibrate again."
            )
    if not len(values["low"]) == len(values["high"]) == len(values["spread"]):
        raise ValueError(
            "`calibration.familiarity` must have as many `low` as `high` and `spread`: calibrate again."
        )
    if any(low > high for low, high in zip(values["low"], values["high"], strict=True)):
        raise ValueError("`calibration.familiarity.low` must not be above `high`: calibrate again.")
    if list(values["scores"]) != sorted(values["scores"]):
        raise ValueError("`calibration.familiarity.scores` must be ascending: calibrate again.")
    if not _is_finite(values["rate"]) or not 0 < values["rate"] < 1:
        raise ValueError("`calibration.familiarity.rate` must be a number between 0 and 1: calibrate again.")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
