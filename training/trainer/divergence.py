"""When to stop: a loss that is no number, or that has left for good."""

import math
from typing import Any

WINDOW = 50  # steps; the noise level is drawn anew each step, so that single losses say little
FACTOR = 10.0


class TrainingError(RuntimeError):
    """Training cannot go on; the message says what happened and what is left."""


class DivergenceWatch:
    """Looks at every step before the weights move.

    A run has diverged when the mean loss of 50 steps is ten times the best one and above the very first:
    worse than knowing nothing.

    Attributes:
        good_until: with the weights of this step nothing was wrong yet.
    """

    def __init__(self) -> None:
        self.good_until = 0
        self.first = self.best = math.inf
        self.total, self.count = 0.0, 0

    def check(self, step: int, losses: dict[str, float], gradient_norm: float) -> None:
        """Look at the losses with the weights of `step`, and at the norm of their gradients.

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
        """Another loss is watched from now on."""
        self.first = self.best = math.inf
        self.total, self.count = 0.0, 0

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers."""
        return dict(vars(self))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The inverse of `state_dict`."""
        vars(self).update(state)
