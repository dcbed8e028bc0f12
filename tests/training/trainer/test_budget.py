"""Minutes become steps, and steps phases, without a clock."""

import math
from collections.abc import Callable

import pytest

from training.config.schema import OptimConfig, TrainConfig, with_optim
from training.trainer.budget import Pace, Phase, phase_at, second_phase, steps_that_fit
from training.trainer.schedule import validates

MINUTES = 3.0


def seconds_of_training(
    cost: Callable[[float, Phase], float], validation: float = 2.0, count: int = 10, **optim: float
) -> tuple[float, OptimConfig]:
    """Run the loop's arithmetic on made-up seconds: (seconds of the whole run, settings at its end).

    `cost` says what a step takes at a time and in a phase.
    """
    config = with_optim(TrainConfig(), max_steps=0, max_minutes=MINUTES, **optim)
    now, step, entered, last_validation = 0.0, 0, None, -math.inf
    while step < (config.optim.max_steps or math.inf):
        phase = phase_at(step, config.optim)
        if entered != (phase.unet_learns, phase.segmenter_learns):
            entered, pace = (phase.unet_learns, phase.segmenter_learns), Pace(step, now)
        now += cost(now, phase)
        step += 1
        is_validation = validates(step, phase.start, phase.end, count, last_validation)
        if is_validation:
            now, last_validation = now + validation, step
        if step < phase.end and (seconds := pace.measure(step, now, is_validation)) is not None:
            end = steps_that_fit(config.optim, phase, step, now, seconds)
            config = with_optim(config, **{phase.setting: end})
    return now, config.optim


@pytest.mark.parametrize("later", [1.0, 4.0])
def test_minutes_hold_when_the_pace_changes(later: float) -> None:
    seconds, optim = seconds_of_training(lambda now, phase: 2.0 if now < 60 else later)
    assert 0.93 < seconds / (60 * MINUTES) < 1.07  # 1.7 where the first minute decided and steps took 4 s
    assert optim.max_steps > 25


def test_slow_first_steps_do_not_shorten_a_training() -> None:
    seconds, _ = seconds_of_training(lambda now, phase: 8.0 if now < 40 else 0.5)
    assert 0.93 < seconds / (60 * MINUTES) < 1.07


def test_each_phase_gets_its_share_of_the_minutes() -> None:
    spent = {True: 0.0, False: 0.0}

    def cost(now: float, phase: Phase) -> float:
        seconds = 1.0 if phase.unet_learns else 0.25
        spent[phase.unet_learns] += seconds
        return seconds

    seconds, optim = seconds_of_training(cost, validation=0.1, unet_share=0.25)
    assert 0.93 < seconds / (60 * MINUTES) < 1.07
    assert 0.2 < spent[True] / sum(spent.values()) < 0.3
    assert 0 < optim.unet_steps < optim.max_steps


def test_a_budget_that_is_spent_still_ends_with_a_step() -> None:
    optim = OptimConfig(max_steps=0, max_minutes=1.0)
    phase = phase_at(7, optim)
    assert steps_that_fit(optim, phase, 7, seconds=30.0, pace=1.0) == 37
    assert steps_that_fit(optim, phase, 7, seconds=61.0, pace=1.0) == 8


def test_the_pace_leaves_out_the_first_steps_and_counts_at_least_twenty() -> None:
    pace = Pace(step=100, now=0.0)
    measured = {}
    for done in range(1, 60):
        now = 50.0 + done if done > 5 else 10.0 * done  # five slow steps of 10 s, then 1 s each
        if done == 5:
            now = 55.0
        measured[done] = pace.measure(100 + done, now, is_validation=done in (10, 30, 50))
    assert {done: seconds for done, seconds in measured.items() if seconds} == {25: 1.0, 50: 1.0}


def test_joint_training_is_one_phase() -> None:
    for step in (0, 99):
        assert phase_at(step, OptimConfig(max_steps=100)) == Phase(True, True, 0, 100)
    assert phase_at(5, OptimConfig(max_steps=0)).end == math.inf


def test_two_phases_follow_each_other_and_the_first_has_no_end_while_it_is_unknown() -> None:
    optim = OptimConfig(max_steps=100, unet_share=0.3, unet_steps=30)
    assert phase_at(29, optim) == Phase(True, False, 0, 30)
    assert phase_at(30, optim) == Phase(False, True, 30, 100)
    assert phase_at(29, optim).setting == "unet_steps" and phase_at(30, optim).setting == "max_steps"
    unknown = OptimConfig(max_steps=0, max_minutes=5.0, unet_share=0.3)
    assert phase_at(1000, unknown) == Phase(True, False, 0, math.inf)


def test_validations_are_spread_over_a_phase_and_end_it() -> None:
    def found(start: int, end: float, count: int) -> list[int]:
        last, steps = -math.inf, []
        for step in range(start + 1, int(min(end, start + 100)) + 1):
            if validates(step, start, end, count, last):
                last = step
                steps.append(step)
        return steps

    assert found(0, 8, 2) == [4, 8]
    assert found(10, 35, 2) == [22, 34, 35]
    assert found(0, 3, 10) == [1, 2, 3]
    assert found(0, math.inf, 10) == []
    assert not validates(50, 0, 100, 2, last_validation=30)  # a new pace has moved the multiple too near
    assert validates(50, 0, 100, 2, last_validation=20)


def test_the_second_phase_is_announced_in_the_words_of_the_budget() -> None:
    assert second_phase(OptimConfig(max_steps=100, unet_steps=30)) == "70 steps of the segmenter"
    minutes = OptimConfig(max_steps=0, max_minutes=60.0, unet_share=0.25)
    assert second_phase(minutes) == "45 min of the segmenter"
