"""Verdict and regions say the same."""

import numpy as np
import pytest

from diffusionad.images.tiling import TiledPicture
from diffusionad.postprocessing.calibration import calibrate
from diffusionad.postprocessing.postprocessor import Postprocessor

TILED = TiledPicture(np.zeros((32, 32, 3), np.float32), 32)
SETTINGS = {
    "image_size": 32,
    "contrast": 1.0,
    "top_fraction": 10 / 32**2,
    "min_region_area": 0,
    "roi": None,
    "ignore_border": 0,
}


@pytest.mark.parametrize("size", [(32, 32), (100, 70), (9, 13)])
@pytest.mark.parametrize("seed", range(20))
def test_no_defective_verdict_is_without_its_place(size, seed):
    rng = np.random.default_rng(seed)
    anomaly_map = rng.random((32, 32), dtype=np.float32) ** rng.integers(1, 9)
    # A pixel threshold that hardly a pixel reaches, as the peak of one good part may set it.
    calibration = calibrate([0.05, *rng.random(9) * 0.1], peaks=[1.0] * 10)
    threshold = calibration.threshold
    postprocess = Postprocessor({**SETTINGS, "threshold": threshold}, calibration)
    found = postprocess(anomaly_map, size, TILED)
    assert found.is_anomalous == (found.score > threshold)
    if found.is_anomalous:
        assert found.mask.any() and found.regions
        assert found.regions[0].peak == found.anomaly_map.max()
        assert found.mask.mean() < 0.5


def test_a_region_that_is_too_small_is_still_no_defect():
    anomaly_map = np.zeros((32, 32), np.float32)
    anomaly_map[4:6, 4:6] = 1.0
    settings = {**SETTINGS, "threshold": 0.1, "min_region_area": 50}
    found = Postprocessor(settings, None)(anomaly_map, (32, 32), TILED)
    assert not found.is_anomalous and not found.regions
