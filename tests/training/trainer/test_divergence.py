"""When a run stops by itself."""

import math

import pytest

from training.trainer.divergence import WINDOW, DivergenceWatch, TrainingError


def feed(watch: DivergenceWatch, start: int, losses: list[float]) -> None:
    for i, loss in enumerate(losses):
        watch.check(start + i, {"noise": loss}, 1.0)


def test_a_loss_that_is_no_number_stops_and_names_its_part() -> None:
    watch = DivergenceWatch()
    feed(watch, 0, [1.0] * 7)
    with pytest.raises(TrainingError, match=r"the loss became nan at step 7 \(noise nan, segmentation 0.5\)"):
        watch.check(7, {"noise": math.nan, "segmentation": 0.5}, 1.0)
    assert watch.good_until == 6


def test_gradients_that_are_no_numbers_stop_before_the_weights_are_lost() -> None:
    with pytest.raises(TrainingError, match="the gradients became inf at step 3"):
        DivergenceWatch().check(3, {"noise": 1.0}, math.inf)


def test_a_loss_that_has_left_stops_and_tells_where_it_was_good() -> None:
    watch = DivergenceWatch()
    feed(watch, 0, [1.0] * WINDOW + [0.1] * WINDOW)
    with pytest.raises(TrainingError, match=r"diverged: 5 on average .* 0.1 at its best and 1 at the start"):
        feed(watch, 2 * WINDOW, [5.0] * WINDOW)
    assert watch.good_until == 2 * WINDOW - 1


def test_single_peaks_and_losses_below_the_start_are_no_divergence() -> None:
    watch = DivergenceWatch()
    peaks = [0.02] * WINDOW
    peaks[10] = 20.0
    feed(watch, 0, [1.0] * WINDOW + [0.02] * WINDOW + peaks + [0.9] * WINDOW)
    assert watch.good_until == 4 * WINDOW - 1


def test_a_resumed_watch_judges_as_one_that_never_stopped() -> None:
    straight, first, second = DivergenceWatch(), DivergenceWatch(), DivergenceWatch()
    losses = [1.0] * WINDOW + [0.1] * 20
    feed(straight, 0, losses)
    feed(first, 0, losses[:60])
    second.load_state_dict(first.state_dict())
    feed(second, 60, losses[60:])
    assert second.state_dict() == straight.state_dict()
