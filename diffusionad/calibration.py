"""From scores of normal pictures to a threshold that keeps a promise about false alarms. NumPy only.

Split-conformal prediction: if the pictures of tomorrow are drawn like the n held-out normal ones, a normal
picture scores above the threshold with a probability of at most `rate`, whatever the distribution of the
scores.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np

DEFAULT_RATE = 0.01
MAX_STORED_SCORES = 1000


@dataclass(frozen=True)
class Calibration:
    """A threshold and where it comes from; stored as JSON in the pipeline's config.

    Attributes:
        threshold: a picture is anomalous when its score is above this.
        rate: promised false-alarm rate, in (0, 1).
        n: number of normal pictures it was made from.
        scores: their scores, ascending; at most 1000, evenly spaced quantiles of them when n is larger.
        date: UTC day of the calibration, ISO 8601.
    """

    threshold: float
    rate: float
    n: int
    scores: tuple[float, ...]
    date: str

    def to_dict(self) -> dict:
        """Plain JSON types."""
        return {**asdict(self), "scores": list(self.scores)}

    @classmethod
    def from_dict(cls, values: dict) -> "Calibration":
        """The inverse of `to_dict`."""
        return cls(**{**values, "scores": tuple(values["scores"])})

    def p_values(self, scores: np.ndarray) -> np.ndarray:
        """Probability that a normal picture scores at least this high, conservative at finite n.

        Args:
            scores: [N].

        Returns:
            [N] float64 in [1/(n+1), 1]; `score > threshold` implies `p_value <= rate` when all scores are
            stored.
        """
        stored = np.asarray(self.scores)
        at_least = len(stored) - np.searchsorted(stored, scores, side="left")
        return (1 + at_least) / (1 + len(stored))


def calibrate(scores: Sequence[float], rate: float | None = None) -> Calibration:
    """Threshold for a promised false-alarm rate from scores of normal pictures (split-conformal quantile).

    The threshold is the k-th smallest score with k = ceil((n + 1)(1 - rate)).

    Args:
        scores: [n] scores of normal pictures that neither trained the model nor chose its checkpoint.
        rate: promised false-alarm rate in (0, 1); None means the larger of 1 % and 1/(n+1).

    Returns:
        The calibration, ready to be stored with the pipeline.

    Raises:
        ValueError: no or non-finite scores, or a rate that n scores cannot promise.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    n = len(ordered)
    if n == 0:
        raise ValueError("`scores` is empty; calibrate with at least one normal picture, better 99 or more.")
    if not np.isfinite(ordered).all():
        raise ValueError(
            f"`scores` has {int((~np.isfinite(ordered)).sum())} NaN or infinite values; score again."
        )
    smallest_rate = 1 / (n + 1)
    rate = max(DEFAULT_RATE, smallest_rate) if rate is None else rate
    if not 0 < rate < 1:
        raise ValueError(f"`rate` is {rate}; give a false-alarm rate between 0 and 1, such as 0.01.")
    # The tiny slack keeps 1/(n+1) itself promisable after rounding.
    if rate < smallest_rate * (1 - 1e-9):
        raise ValueError(
            f"`rate` is {rate:g}, but {n} normal pictures support {smallest_rate:.4g} at best; "
            f"use that, or calibrate with at least {math.ceil(1 / rate) - 1} pictures."
        )
    k = min(math.ceil((n + 1) * (1 - rate) - 1e-9), n)
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
    )
