"""From scores of normal pictures to a threshold that keeps a promise about false alarms. NumPy only.

Split-conformal prediction: if the pictures of tomorrow are drawn like the n held-out normal ones, a normal
picture scores above the threshold with a probability of at most `rate`, whatever the distribution of the
scores.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np

from diffusionad.postprocessing.familiarity import Familiarity, check_familiarity, learn_familiarity

DEFAULT_RATE = 0.01
MAX_STORED_SCORES = 1000
FEW_PICTURES = 20
MAX_PICTURES, MAX_DATE = 10**9, 40  # what a stored calibration may say: pictures, characters of the date

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Calibration:
    """A threshold and where it comes from; stored as JSON in the pipeline's config.

    Attributes:
        threshold: a picture is anomalous when its score is above this.
        rate: promised false-alarm rate, in (0, 1).
        n: number of normal pictures it was made from.
        scores: their scores, ascending; at most 1000, evenly spaced quantiles of them when n is larger.
        date: UTC day of the calibration, ISO 8601.
        pixel_threshold: pixels of the map above this are marked. A normal picture has any such pixel with a
            probability of at most `rate`: the same promise. None where only scores were at hand.
        familiarity: tells pictures of the part from others; None where only scores were at hand, or fewer
            than 20 pictures.
        left_out: number of pictures that a person left out as not good; the promise then rests on their word.
    """

    threshold: float
    rate: float
    n: int
    scores: tuple[float, ...]
    date: str
    pixel_threshold: float | None = None
    familiarity: Familiarity | None = None
    left_out: int = 0

    def to_dict(self) -> dict:
        """Plain JSON types."""
        values = {**asdict(self), "scores": list(self.scores)}
        values["familiarity"] = self.familiarity and self.familiarity.to_dict()
        # Earlier versions know no such fields.
        return {k: v for k, v in values.items() if v or k not in ("familiarity", "left_out")}

    @classmethod
    def from_dict(cls, values: Any) -> "Calibration":
        """Check what `to_dict` gave: it may come from anybody's model.

        Raises:
            ValueError: a field is missing, unknown, or has a value that no calibration has; the message names
                the field.
        """
        check_calibration(values)
        stored = values.get("familiarity")
        typed = {"familiarity": None if stored is None else Familiarity.from_dict(stored)}
        return cls(**{**values, "scores": tuple(values["scores"]), **typed})

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Probability that a normal picture scores at least this high, conservative at finite n.

        Args:
            scores: [N].

        Returns:
            [N] float64 in [1/(n+1), 1]; `score > threshold` implies `p_value <= rate`.
        """
        stored = np.asarray(self.scores)
        at_least = len(stored) - np.searchsorted(stored, scores, side="left")
        p_values = (1 + at_least) / (1 + len(stored))
        # Where there were more than 1000, the stored quantiles are coarser than the threshold.
        return np.where(np.asarray(scores) > self.threshold, np.minimum(p_values, self.rate), p_values)

    def pixel_threshold_at(self, threshold: float) -> float:
        """Return where to cut the map at `threshold`: there as well, if it was moved by hand."""
        if self.pixel_threshold is None or threshold != self.threshold:
            return threshold
        return self.pixel_threshold

    def deciding(self, scores: Sequence[float]) -> list[int]:
        """Return the places of those scores of the calibration that set its threshold, the highest first."""
        places = [i for i, score in enumerate(scores) if score >= self.threshold]
        return sorted(places, key=lambda i: -scores[i])

    def drift_p_value(self, scores: Sequence[float]) -> float:
        """Test whether recent scores are drawn like those of the calibration.

        Two-sample Kolmogorov-Smirnov test, new scores against those of the calibration: the p-values of new
        normal pictures are uniform only up to the luck of n calibration pictures.

        Args:
            scores: [M] of recent pictures.

        Returns:
            p-value in [0, 1] of the hypothesis that they are drawn like the calibration pictures.
        """
        from scipy import stats  # takes a while to import, and only a watch needs it

        return float(stats.ks_2samp(scores, self.scores, method="asymp").pvalue)


def check_calibration(values: Any) -> None:
    """Raise a ValueError that names the field of a stored calibration, its value and what it may be."""
    if not isinstance(values, dict):
        raise ValueError(f"`calibration` is {_short(values)}; give `Calibration.to_dict()`, or None.")
    needed = {"threshold", "rate", "n", "scores", "date"}
    wrong = sorted(
        map(str, needed.symmetric_difference(values) - {"pixel_threshold", "familiarity", "left_out"})
    )
    if wrong:
        problem = "lacks" if wrong[0] in needed else "does not know"
        raise ValueError(f"`calibration` {problem} {_short(wrong[0])}; calibrate again.")
    scores, n, rate = values["scores"], values["n"], values["rate"]
    if not isinstance(scores, list | tuple) or not scores or not all(map(_is_share, scores)):
        _refuse("scores", scores, "numbers in 0..1")
    if any(low > high for low, high in pairwise(scores)):
        _refuse("scores", scores, "ascending numbers")
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not len(scores) <= n <= MAX_PICTURES:
        _refuse("n", n, f"the number of pictures, {len(scores)}..{MAX_PICTURES}")
    if not _is_share(rate) or not 0 < rate < 1:
        _refuse("rate", rate, "a number between 0 and 1")
    if not _is_share(values["threshold"]):
        _refuse("threshold", values["threshold"], "a number in 0..1")
    if values.get("pixel_threshold") is not None and not _is_share(values["pixel_threshold"]):
        _refuse("pixel_threshold", values["pixel_threshold"], "a number in 0..1, or null")
    if not isinstance(values["date"], str) or len(values["date"]) > MAX_DATE:
        _refuse("date", values["date"], "a day such as 2024-12-31")
    left_out = values.get("left_out", 0)
    if type(left_out) is not int or not 0 <= left_out <= MAX_PICTURES:
        _refuse("left_out", left_out, f"the number of pictures that were left out, 0..{MAX_PICTURES}")
    if values.get("familiarity") is not None:
        check_familiarity(values["familiarity"])


def _is_share(value: Any) -> bool:
    """Say whether a value is a number in [0, 1], which neither NaN nor True is."""
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    return is_number and bool(0 <= value <= 1)


def _refuse(field: str, value: Any, allowed: str) -> None:
    raise ValueError(f"`calibration.{field}` is {_short(value)}; it must be {allowed}: calibrate again.")


def _short(value: Any) -> str:
    text = repr(value[:8] if isinstance(value, list | tuple | str) else value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def promised_rate(n: int, rate: float | None = None) -> float:
    """The false-alarm rate to promise with n normal pictures: the wanted one, or max(1 %, 1/(n+1)).

    Raises:
        ValueError: no picture, or a rate that n pictures cannot promise; the message says what they can.
    """
    if n == 0:
        raise ValueError("`scores` is empty; calibrate with at least one good picture, better 99 or more.")
    rate = max(DEFAULT_RATE, smallest_rate(n)) if rate is None else rate
    if not 0 < rate < 1:
        raise ValueError(f"`rate` is {rate}; give a false-alarm rate between 0 and 1, such as 0.01.")
    # The tiny slack keeps 1/(n+1) itself promisable after rounding.
    if rate < smallest_rate(n) * (1 - 1e-9):
        raise ValueError(
            f"`rate` is {rate:g}, but {n} good pictures support {smallest_rate(n):.4g} at best; "
            f"use that, or calibrate with at least {pictures_needed(rate)} pictures."
        )
    return rate


def smallest_rate(n: int) -> float:
    """The least false-alarm rate that n normal pictures can promise."""
    return 1 / (n + 1)


def pictures_needed(rate: float) -> int:
    """How many normal pictures it takes to promise a false-alarm rate, such as 99 for 0.01."""
    return math.ceil(1 / rate - 1e-9) - 1


def calibrate(
    scores: Sequence[float],
    rate: float | None = None,
    peaks: Sequence[float] | None = None,
    appearances: Sequence[np.ndarray] | np.ndarray | None = None,
    left_out: int = 0,
) -> Calibration:
    """Threshold for a promised false-alarm rate from scores of normal pictures (split-conformal quantile).

    The threshold is the k-th smallest score with k = ceil((n + 1)(1 - rate)).

    Args:
        scores: [n] scores of normal pictures that neither trained the model nor chose its checkpoint.
        rate: promised false-alarm rate in (0, 1); None means the larger of 1 % and 1/(n+1).
        peaks: [n] highest value of the anomaly map of each of them; gives the pixel threshold.
        appearances: [n,K], the output's `appearance` of each of them; tells pictures of the part from others.
        left_out: number of further pictures that a person left out as not good, for the record.

    Returns:
        The calibration, ready to be stored with the pipeline.

    Raises:
        ValueError: no or non-finite values, or a rate that n scores cannot promise.
    """
    ordered = _sorted(scores, "scores")
    n = len(ordered)
    rate = promised_rate(n, rate)
    if n < FEW_PICTURES:
        logger.warning(
            "Only %d good pictures: no false-alarm rate below %.2g %% can be promised; use 99 for 1 %%.",
            n,
            100 / (n + 1),
        )
    k = min(math.ceil((n + 1) * (1 - rate) - 1e-9), n)
    pixel_threshold = None
    if peaks is not None:
        ordered_peaks = _sorted(peaks, "peaks")
        if len(ordered_peaks) != n:
            raise ValueError(f"`peaks` has {len(ordered_peaks)} values for {n} scores; give one a picture.")
        pixel_threshold = float(ordered_peaks[k - 1])
    if n > MAX_STORED_SCORES:
        stored = np.quantile(ordered, np.linspace(0, 1, MAX_STORED_SCORES), method="higher")
    else:
        stored = ordered
    return Calibration(
        threshold=float(ordered[k - 1]),
        rate=float(rate),
        n=n,
        scores=tuple(float(s) for s in stored),
        date=datetime.now(UTC).date().isoformat(),
        pixel_threshold=pixel_threshold,
        familiarity=None if appearances is None else learn_familiarity(appearances),
        left_out=left_out,
    )


def _sorted(values: Sequence[float], name: str) -> np.ndarray:
    ordered = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not np.isfinite(ordered).all():
        raise ValueError(
            f"`{name}` has {int((~np.isfinite(ordered)).sum())} NaN or infinite values; score again."
        )
    return ordered
