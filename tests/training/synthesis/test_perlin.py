"""Perlin noise and its masks."""

import numpy as np
import pytest

from training.synthesis import perlin
from training.synthesis.perlin import perlin_mask, perlin_noise


def test_perlin_scales_are_the_six_powers_of_two_independently(monkeypatch):
    drawn = []

    def spy(height, width, scale_y, scale_x, rng):
        drawn.append((scale_y, scale_x))
        return perlin_noise(height, width, scale_y, scale_x, rng)

    monkeypatch.setattr(perlin, "perlin_noise", spy)
    rng = np.random.default_rng(0)
    for _ in range(600):
        perlin_mask(32, 32, rng)
    assert set(drawn) == {(2**y, 2**x) for y in range(6) for x in range(6)}


def test_perlin_noise_equals_its_definition():
    height, width, scale_y, scale_x = 12, 20, 3, 4
    noise = perlin_noise(height, width, scale_y, scale_x, np.random.default_rng(5))
    angle = np.random.default_rng(5).uniform(0, 2 * np.pi, (scale_y + 1, scale_x + 1))

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    for row, column in [(0, 0), (1, 3), (5, 7), (11, 19)]:
        y, x = row * scale_y / height, column * scale_x / width
        i, j = int(y), int(x)
        expected = 0.0
        for a in (0, 1):
            for b in (0, 1):
                ramp = np.sin(angle[i + a, j + b]) * (y - i - a) + np.cos(angle[i + a, j + b]) * (x - j - b)
                weight_y, weight_x = fade(y - i), fade(x - j)
                expected += (weight_y if a else 1 - weight_y) * (weight_x if b else 1 - weight_x) * ramp
        assert noise[row, column] == pytest.approx(np.sqrt(2) * expected, abs=1e-5)
    assert noise.dtype == np.float32
