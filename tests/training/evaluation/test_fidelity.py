"""Fidelity of reconstructions is measured on the part."""

import numpy as np
import pytest
from scipy import ndimage

from training.evaluation.fidelity import fidelity, part_mask


def screw() -> np.ndarray:
    """A striped bar on a plain background."""
    picture = np.full((120, 120, 3), 0.8, np.float32)
    stripes = 0.3 + 0.2 * (np.arange(80) // 4 % 2)
    picture[20:100, 50:70] = stripes[:, None, None]
    return picture


def texture() -> np.ndarray:
    noise = np.random.default_rng(0).normal(size=(120, 120))
    noise[:, :60] = 0
    return np.repeat((0.5 + 0.1 * noise)[..., None], 3, axis=2).clip(0, 1).astype(np.float32)


def test_the_part_is_the_object_on_a_plain_background():
    part = part_mask(screw())
    assert part[40:80, 55:65].all() and not part[:10].any()


def test_without_a_background_the_part_is_where_the_structure_is():
    part = part_mask(texture())
    assert part.mean() == pytest.approx(0.25, abs=0.01)
    assert part[:, 60:].sum() > 0.95 * part.sum()


def test_a_blur_loses_the_edges_of_the_part():
    picture = screw()
    blurred = ndimage.gaussian_filter(picture, (6, 6, 0))
    same, blur = fidelity(picture, picture), fidelity(blurred, picture)
    assert same.squared_error == 0 and same.gradient_correlation == pytest.approx(1)
    assert blur.gradient_correlation < 0.5 and blur.squared_error > 1e-3


def test_the_background_does_not_count():
    picture = screw()
    spoilt = picture.copy()
    spoilt[:15] = 0.0
    assert fidelity(spoilt, picture) == fidelity(picture, picture)
