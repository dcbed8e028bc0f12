"""The test that says when the line has drifted away from its calibration."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ks_2samp

from diffusionad.inspection.monitoring import monitored as monitored_results
from diffusionad.inspection.results import Result
from diffusionad.postprocessing.calibration import calibrate
from diffusionad.postprocessing.drift import LEVEL, WINDOW, DriftMonitor
from diffusionad.postprocessing.verdict import Verdict


@pytest.mark.parametrize("n", [30, 99, 999])
@pytest.mark.parametrize("shift", [0, 0.1, 0.25])
def test_the_p_value_is_that_of_the_two_sample_kolmogorov_smirnov_test(n, shift):
    generator = np.random.default_rng(n)
    for _ in range(5):
        normal, new = generator.random(n), generator.random(WINDOW) + shift
        exact = ks_2samp(normal, new).pvalue
        assert calibrate(normal).drift_p_value(new) == pytest.approx(exact, rel=0.1, abs=0.002)


@pytest.mark.parametrize("n", [30, 99, 999, 3000])
def test_an_unchanged_line_is_hardly_ever_said_to_drift(n):
    generator = np.random.default_rng(n)
    p_values = np.array(
        [calibrate(generator.random(n)).drift_p_value(generator.random(WINDOW)) for _ in range(500)]
    )
    assert (p_values < LEVEL).sum() <= 3
    assert (p_values < 0.1).mean() <= 0.14


def test_tied_scores_are_no_drift():
    generator = np.random.default_rng(0)
    normal, new = generator.integers(0, 4, 200) / 4, generator.integers(0, 4, WINDOW) / 4
    assert calibrate(normal).drift_p_value(new) > 0.05


def monitored(scores, n=200):
    monitor = DriftMonitor(calibrate(np.random.default_rng(1).random(n)))
    for score in scores:
        monitor.add(score)
    return monitor


def test_a_drifted_line_is_told_to_calibrate_again():
    generator = np.random.default_rng(0)
    assert monitored(generator.random(WINDOW)).warning() is None
    warning = monitored(generator.random(WINDOW) ** 0.4).warning()
    assert f"last {WINDOW} pictures are not uniform (KS test, p = " in warning
    assert "`diffusionad calibrate`" in warning


def test_scores_that_became_lower_are_drift_too():
    assert monitored(np.random.default_rng(0).random(WINDOW) / 2).warning() is not None


def test_only_the_last_200_count_and_fewer_say_nothing():
    generator = np.random.default_rng(0)
    assert monitored(np.ones(WINDOW - 1)).warning() is None
    assert monitored([*np.ones(WINDOW), *generator.random(WINDOW)]).warning() is None
    assert monitored([*generator.random(WINDOW), *np.ones(WINDOW)]).warning() is not None


def test_a_watch_is_warned_once_a_window_and_passes_every_result_on(capsys):
    results = [Result(Path(f"{i}.png"), Verdict(True, 0.99, 0.5)) for i in range(2 * WINDOW + 50)]
    results.insert(7, Result(Path("broken.png"), error="truncated"))
    monitor = DriftMonitor(calibrate(np.random.default_rng(1).random(99)))
    assert list(monitored_results(results, monitor, every=WINDOW)) == results
    assert capsys.readouterr().err.count("the line has drifted") == 2
    assert list(monitored_results(results, None, every=WINDOW)) == results
