"""Phases of a run, and minutes turned into steps: arithmetic on settings and seconds, without a clock."""

import math
from dataclasses import dataclass

from ..config.schema import OptimConfig
from .schedule import spoken

UNTIMED_STEPS = 5  # the first steps are slower: kernels are chosen, the texture bank is made
TIMED_STEPS = 20  # least number of steps that a pace is measured over


@dataclass(frozen=True)
class Phase:
    """Steps in which the same networks learn.

    Attributes:
        unet_learns: the UNet's weights move.
        segmenter_learns: the segmenter's weights move.
        start: step that the phase begins at.
        end: step that it ends at; infinite while it is not known.
    """

    unet_learns: bool
    segmenter_learns: bool
    start: int
    end: float

    @property
    def is_joint(self) -> bool:
        """Whether both networks learn at once."""
        return self.unet_learns and self.segmenter_learns

    @property
    def setting(self) -> str:
        """Name of the setting in `optim` that holds its end."""
        return "max_steps" if self.segmenter_learns else "unet_steps"


def phase_at(step: int, optim: OptimConfig) -> Phase:
    """Return the phase of a step: joint training, or one of two phases with `optim.unet_share` above 0."""
    max_steps = optim.max_steps or math.inf
    if optim.unet_share == 0:
        return Phase(True, True, 0, max_steps)
    if not optim.unet_steps or step < optim.unet_steps:
        return Phase(True, False, 0, optim.unet_steps or math.inf)
    return Phase(False, True, optim.unet_steps, max_steps)


def steps_that_fit(optim: OptimConfig, phase: Phase, step: int, seconds: float, pace: float) -> int:
    """Return the step at which a phase must end to keep within `optim.max_minutes`.

    Args:
        optim: settings of the run.
        phase: phase that is running.
        step: steps done so far.
        seconds: training time so far.
        pace: seconds that a step takes.

    Returns:
        At least `step` + 1.
    """
    share = 1.0 if phase.segmenter_learns else optim.unet_share
    left = optim.max_minutes * 60 * share - seconds
    return step + max(1, int(left / pace))


def second_phase(optim: OptimConfig) -> str:
    """Say how long the segmenter will learn alone."""
    if optim.max_steps:
        return f"{optim.max_steps - optim.unet_steps} steps of the segmenter"
    return f"{spoken(60 * (1 - optim.unet_share) * optim.max_minutes)} of the segmenter"


class Pace:
    """Seconds that a step takes, measured anew from time to time.

    Args:
        step: first step of the phase.
        now: seconds on any clock.
    """

    def __init__(self, step: int, now: float):
        self.first_step = self.timed_step = step
        self.timed_from = now

    def measure(self, step: int, now: float, is_validation: bool) -> float | None:
        """Return seconds a step since the last measurement, where one is due after `step`.

        The first measurement comes after the untimed and timed steps, further ones at every validation.
        """
        done = step - self.first_step
        if done == UNTIMED_STEPS:
            self.timed_step, self.timed_from = step, now
        is_due = is_validation or done == UNTIMED_STEPS + TIMED_STEPS
        if not is_due or step - self.timed_step < TIMED_STEPS:
            return None
        pace = (now - self.timed_from) / (step - self.timed_step)
        self.timed_step, self.timed_from = step, now
        return pace
