"""When the scores of the line are no longer those that the threshold was made from. NumPy only."""

from collections import deque

from diffusionad.postprocessing.calibration import Calibration

WINDOW = 200
LEVEL = 0.001  # of the test: on an unchanged line, one window in a thousand warns in vain


class DriftMonitor:
    """Remembers the last 200 scores and tests whether their p-values are uniform.

    Args:
        calibration: what the scores are compared with.
    """

    def __init__(self, calibration: Calibration):
        self.calibration = calibration
        self.scores: deque[float] = deque(maxlen=WINDOW)
        self.count = 0

    def add(self, score: float) -> None:
        self.scores.append(score)
        self.count += 1

    def p_value(self) -> float | None:
        """Return the p-value of the last 200 being like the calibration; None while they are fewer."""
        return self.calibration.drift_p_value(self.scores) if len(self.scores) == WINDOW else None

    def warning(self) -> str | None:
        """A sentence when the last 200 are unlike the calibration pictures; None while they are fewer."""
        p_value = self.p_value()
        if p_value is None or p_value >= LEVEL:
            return None
        return (
            f"The p-values of the last {WINDOW} pictures are not uniform (KS test, p = {p_value:.1g}): "
            "unless that many parts are defective, the line has drifted and the false-alarm rate no longer "
            "holds; calibrate again with `diffusionad calibrate`."
        )
