"""Parts for tests of the synthesis: their side, a disc, and settings that always draw one family."""

import numpy as np

from training.config.schema import SynthesisConfig

SIZE = 96


def disc(size: int = SIZE, radius: float = 0.35) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size - 0.5
    return np.hypot(y, x) < radius


def defective(family: str, **options) -> SynthesisConfig:
    return SynthesisConfig(probability=1, families=(family,), **options)
