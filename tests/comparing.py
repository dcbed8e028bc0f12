"""Outputs of the pipeline, compared bit for bit."""

import numpy as np

from diffusionad import DiffusionADOutput


def assert_same(a: DiffusionADOutput, b: DiffusionADOutput) -> None:
    np.testing.assert_array_equal(a.score, b.score)
    for one, other in zip(a.anomaly_map, b.anomaly_map, strict=True):
        np.testing.assert_array_equal(one, other)
