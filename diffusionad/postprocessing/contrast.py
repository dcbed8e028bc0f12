"""Spread maps and scores over [0, 1], so that two of them can be told apart. NumPy only.

The odds m / (1 - m) of a map are raised to a power, which divides its logit by a temperature. The order of
all values stays, and with it every ranking and, with the thresholds moved alike, every verdict.
"""

from collections.abc import Sequence

import numpy as np

from diffusionad.postprocessing.calibration import Calibration, calibrate

EXPONENT_MIN, EXPONENT_MAX = 0.125, 8.0
# Robust standard deviation that the logits of good parts' scores get. Defects lie seven times as far out
# where the networks are sure, three times where they are not: three decimals tell both apart.
GOOD_SPREAD = 0.7
CONTRAST_PICTURES = 20  # with fewer, the spread is not known
LOGIT_LIMIT = 12.0


def spread(values: np.ndarray | float, contrast: float) -> np.ndarray:
    """Raise the odds of values in [0, 1] to a power; 0, 1/2 and 1 stay, and so does everything at 1."""
    values = np.asarray(values)
    if contrast == 1:
        return values
    high, low = values**contrast, (1 - values) ** contrast
    return high / (high + low)


def contrast_for(scores: Sequence[float]) -> float:
    """Return the contrast that suits a model, by the scores [n] of good parts at a contrast of 1.

    It is 1 for fewer than 20 scores, or where they do not differ.
    """
    if len(scores) < CONTRAST_PICTURES:
        return 1.0
    p = np.asarray(scores, dtype=np.float64)
    with np.errstate(divide="ignore"):
        logits = (np.log(p) - np.log1p(-p)).clip(-LOGIT_LIMIT, LOGIT_LIMIT)
    deviation = 1.4826 * float(np.median(np.abs(logits - np.median(logits))))
    if deviation == 0:
        return 1.0
    return float(np.clip(round(GOOD_SPREAD / deviation, 2), EXPONENT_MIN, EXPONENT_MAX))


def calibrate_and_spread(
    scores: Sequence[float],
    rate: float | None,
    peaks: Sequence[float],
    appearances: Sequence[np.ndarray],
    left_out: int = 0,
) -> tuple[Calibration, float]:
    """Choose the contrast of a model, and calibrate it at that.

    Args:
        scores: [n] of good parts, at a contrast of 1; and so on, as `calibrate` takes them.
        rate: promised false-alarm rate.
        peaks: [n] at a contrast of 1.
        appearances: [n,K].
        left_out: number of further pictures that a person left out.

    Returns:
        The calibration, and the contrast that it holds for.

    Raises:
        ValueError: as `calibrate`.
    """
    contrast = contrast_for(scores)
    scores, peaks = ([float(spread(v, contrast)) for v in values] for values in (scores, peaks))
    return calibrate(scores, rate, peaks, appearances, left_out), contrast
