"""Detection rate against size and contrast: a logistic fit that may only rise with both."""

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

RIDGE = 0.05  # keeps the slopes finite where every defect, or none, was found
RESAMPLINGS = 60


def fit_rate(size: np.ndarray, levels: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Fit rate = sigmoid(a + b log2(size) + c log2(levels)) with b, c >= 0; return a, b, c.

    Args:
        size: [N], pixels.
        levels: [N], absolute contrast in grey levels.
        found: bool [N].
    """
    measured = np.log2(np.stack([size, levels], axis=1))
    # Centred, or the ridge would pull the intercept, and with it flatten both slopes.
    centre = measured.mean(axis=0)
    terms = np.column_stack([np.ones(len(size)), measured - centre])
    sign = np.where(found, 1.0, -1.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (terms @ weights)
        gradient = -(sign * expit(-margin)) @ terms + RIDGE * weights
        return float(np.logaddexp(0, -margin).sum() + RIDGE / 2 * weights @ weights), gradient

    bounds = [(None, None), (0, None), (0, None)]
    weights = minimize(loss, np.zeros(3), jac=True, bounds=bounds, method="L-BFGS-B").x
    return np.array([weights[0] - weights[1:] @ centre, *weights[1:]])


def size_found(weights: np.ndarray, levels: float, rate: float) -> float:
    """Return the size in pixels from which on a contrast is found at `rate`; inf where no size is enough."""
    missing = float(logit(rate) - weights[0] - weights[2] * np.log2(levels))
    if weights[1] < 1e-6:
        return 0.0 if missing <= 0 else float("inf")
    return float(2 ** min(60.0, missing / weights[1]))


def resampled_fits(
    picture: np.ndarray, size: np.ndarray, levels: np.ndarray, found: np.ndarray, seed: int
) -> list[np.ndarray]:
    """Fit again on pictures drawn with replacement: defects of one picture share its luck.

    Args:
        picture: int [N], the picture that each defect lies on.
        size: [N], pixels.
        levels: [N], absolute contrast.
        found: bool [N].
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    names = np.unique(picture)
    members = {name: np.flatnonzero(picture == name) for name in names}
    fits = []
    for _ in range(RESAMPLINGS):
        drawn = np.concatenate([members[name] for name in rng.choice(names, len(names))])
        fits.append(fit_rate(size[drawn], levels[drawn], found[drawn]))
    return fits
