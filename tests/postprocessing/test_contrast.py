"""Spread scores are told apart, and say the same."""

import numpy as np
import pytest

from diffusionad.postprocessing.calibration import Calibration
from diffusionad.postprocessing.contrast import calibrate_and_spread, contrast_for, spread


@pytest.mark.parametrize("contrast", [0.125, 0.5, 2.37, 8.0])
def test_order_and_limits_stay(contrast):
    values = np.linspace(0, 1, 1001)
    after = spread(values, contrast)
    assert (np.diff(after) >= 0).all() and (after[0], after[500], after[-1]) == (0, 0.5, 1)
    assert spread(values.astype(np.float32), contrast).dtype == np.float32


def test_a_contrast_of_one_changes_no_bit():
    values = np.random.default_rng(0).random(100, dtype=np.float32)
    assert (spread(values, 1.0) == values).all()


@pytest.mark.parametrize("deviation", [0.2, 3.0])
def test_good_parts_of_every_model_are_spread_alike(deviation):
    scores = 1 / (1 + np.exp(-np.random.default_rng(1).normal(-1, deviation, 400)))
    after = spread(scores, contrast_for(scores))
    assert np.std(np.log(after / (1 - after))) == pytest.approx(0.7, rel=0.1)


def test_without_a_spread_to_go_by_nothing_changes():
    assert contrast_for([0.1, 0.2] * 9) == contrast_for([0.3] * 50) == 1.0
    assert contrast_for([0.0, 1.0] * 20) > 0  # saturated scores have a logit, too


def test_a_pipeline_says_the_same_of_each_picture_before_and_after(fresh_pipeline, make_pictures):
    pictures = make_pictures(24)
    before = fresh_pipeline(pictures)
    peaks = [m.max() for m in before.anomaly_map]
    calibration, contrast = calibrate_and_spread(before.score.tolist(), 0.1, peaks, before.appearance)
    assert contrast != 1
    fresh_pipeline.configure(calibration=calibration, contrast=contrast)
    after = fresh_pipeline(pictures)
    assert Calibration.from_dict(fresh_pipeline.config.calibration) == calibration
    assert after.threshold in after.score and after.is_anomalous.sum() == 1
    assert (np.argsort(after.score) == np.argsort(before.score)).all()
    assert after.is_known.all()
