"""When a run stops by itself: the loss is NaN or infinite, or it diverged."""

import math
from typing import Any

WINDOW = 50  # steps; the noise level is drawn anew each step, so that single losses say little
FACTOR = 10.0


class TrainingError(RuntimeError):
    """Raised when training cannot go on; the message says what happened and what is left."""


class DivergenceWatch:
    """Check of every step before the weights move.

    A run has diverged when the mean loss of 50 steps is ten times the best one and above the very first:
    worse than knowing nothing.

    Attributes:
        good_until: last step whose weights were good.
    """

    def __init__(self) -> None:
        self.good_until = 0
        self.first = self.best = math.inf
        self.total, self.count = 0.0, 0

    def check(self, step: int, losses: dict[str, float], gradient_norm: float) -> None:
        """Check the losses with the weights of `step`, and the norm of their gradients.

        Raises:
            TrainingError: not finite, or diverged; one sentence on what happened.
        """
        parts = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        loss = sum(losses.values())
        if not math.isfinite(loss + gradient_norm):
            self.good_until = max(self.good_until, step - 1)
        if not math.isfinite(loss):
            raise TrainingError(f"the loss became {loss} at step {step} ({parts})")
        if not math.isfinite(gradient_norm):
            raise TrainingError(f"the gradients became {gradient_norm} at step {step} ({parts})")
        self.total, self.count = self.total + loss, self.count + 1
        if self.count < WINDOW:
            return
        mean, self.total, self.count = self.total / self.count, 0.0, 0
        if self.first == math.inf:
            self.first = mean
        if mean > FACTOR * self.best and mean > self.first:
            raise TrainingError(
                f"the loss diverged: {mean:.4g} on average over the {WINDOW} steps up to {step}, "
                f"{self.best:.4g} at its best and {self.first:.4g} at the start"
            )
        self.best = min(self.best, mean)
        self.good_until = step

    def start_over(self) -> None:
        """Forget what was seen: another loss follows."""
        self.first = self.best = math.inf
        self.total, self.count = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Return plain numbers."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        vars(self).update(state)
