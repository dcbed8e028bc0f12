"""The verdict on one picture, in words and figures."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusionad.postprocessing.calibration import Calibration

NOT_KNOWN = "not a part I know"


@dataclass(frozen=True)
class Verdict:
    """Good, defective or not a part that the model knows, and why.

    Attributes:
        is_anomalous: what the score says; it means nothing where `is_known` is False.
        score: in [0, 1].
        threshold: in [0, 1].
        p_value: probability that a good part scores this high; None without a fitting calibration.
        false_alarm_rate: promise of the calibration at this threshold; None without one.
        n: number of good pictures behind the p-value; None without one.
        marks_left_out: number of marks faded in the map, as good parts carry them.
        is_known: False for a picture that does not look like those of the calibration at all; None without a
            calibration that has learned it.
        familiarity_p_value: probability that a good picture looks this unusual as a whole; None likewise.
    """

    is_anomalous: bool
    score: float
    threshold: float
    p_value: float | None = None
    false_alarm_rate: float | None = None
    n: int | None = None
    marks_left_out: int = 0
    is_known: bool | None = None
    familiarity_p_value: float | None = None

    @property
    def word(self) -> str:
        """Return the verdict as reports name it: good, defective or unknown."""
        if self.is_known is False:
            return "unknown"
        return "defective" if self.is_anomalous else "good"

    @property
    def label(self) -> str:
        """Return the verdict as people read it."""
        return NOT_KNOWN if self.is_known is False else self.word

    @property
    def details(self) -> str:
        """Return why: `score 0.812 > 0.431, p = 0.004 (false-alarm rate 1 %, n = 999)`."""
        if self.is_known is False:
            return f"it looks like no good part of the calibration, p = {self.familiarity_p_value:.3f}"
        above = self.score > self.threshold
        digits = 3  # more where the two would look the same
        while digits < 9 and above and score_text(self.score, digits) == score_text(self.threshold, digits):
            digits += 1
        text = f"score {score_text(self.score, digits)} {'>' if above else '<='} "
        text += score_text(self.threshold, digits)
        if above and not self.is_anomalous:
            text += ", but every region is too small"
        if self.p_value is not None:
            promise = (
                ""
                if self.false_alarm_rate is None
                else f"false-alarm rate {percent(self.false_alarm_rate)}, "
            )
            text += f", p = {self.p_value:.3f} ({promise}n = {self.n})"
        if self.marks_left_out:
            text += f", {self.marks_left_out} known mark{'s' if self.marks_left_out > 1 else ''} left out"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types."""
        return {
            "verdict": self.word,
            "score": self.score,
            "threshold": self.threshold,
            "p_value": self.p_value,
            "false_alarm_rate": self.false_alarm_rate,
            "n": self.n,
            "is_known": self.is_known,
            "familiarity_p_value": self.familiarity_p_value,
        }

    def __str__(self) -> str:
        return f"{self.label.upper()} {self.details}"


def score_text(score: float, digits: int = 3) -> str:
    """Return a score, peak or threshold for a person to read.

    It is `0.413`; `0.9999` where `1.000` would claim that nothing can be above it; `1.000` where five
    decimals would not tell.
    """
    digits = next((n for n in range(digits, 6) if round(score, n) < 1), digits)
    return f"{score:.{digits}f}"


def left_out_note(left_out: int) -> str:
    """Return a note on pictures that a person left out of a calibration; empty where there are none."""
    return f" ({left_out} more left out by hand as not good)" if left_out else ""


def percent(rate: float) -> str:
    """Return a rate as `0.2 %`."""
    return f"{100 * rate:.3g} %"


def verdict_of(
    is_anomalous: bool,
    score: float,
    threshold: float,
    calibration: Calibration | None,
    marks: int = 0,
    appearance: np.ndarray | None = None,
) -> Verdict:
    """Return a verdict with what a calibration says of its score.

    Args:
        is_anomalous: the verdict.
        score: in [0, 1].
        threshold: in [0, 1]; the calibration's rate is promised only at its own.
        calibration: None where none holds for this score.
        marks: number of known marks that were faded in the map.
        appearance: float64 [K], statistics of the whole picture; None where it is not to be judged.
    """
    if calibration is None:
        return Verdict(is_anomalous, score, threshold, marks_left_out=marks)
    is_known, familiarity_p_value = None, None
    if calibration.familiarity is not None and appearance is not None:
        is_known, familiarity_p_value = calibration.familiarity.judge(appearance)
    return Verdict(
        is_anomalous=is_anomalous,
        score=score,
        threshold=threshold,
        p_value=float(calibration.p_values(np.array([score]))[0]),
        false_alarm_rate=calibration.rate if threshold == calibration.threshold else None,
        n=calibration.n,
        marks_left_out=marks,
        is_known=is_known,
        familiarity_p_value=familiarity_p_value,
    )
