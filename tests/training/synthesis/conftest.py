"""A texture bank and a picture of an object, for all tests of the synthesis."""

import numpy as np
import pytest
from synthetic_parts import SIZE, disc

from training.synthesis.textures import TextureBank


@pytest.fixture(scope="module")
def bank() -> TextureBank:
    return TextureBank(None, SIZE)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A grained bright disc on a dark ground with a slope of light, so that its parts differ."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    image = 0.15 + 0.4 * disc() + 0.2 * x * disc() + 0.1 * (np.sin(40 * y) > 0) * disc()
    image = image[..., None] * [1.0, 0.9, 0.8] + rng.normal(0, 0.01, (SIZE, SIZE, 3))
    return np.clip(image, 0, 1).astype(np.float32)
