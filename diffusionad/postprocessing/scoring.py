"""From an anomaly map to an image score. NumPy only."""

import numpy as np


def top_mean(
    anomaly_map: np.ndarray, top_fraction: float, inside: np.ndarray | None = None, area: int | None = None
) -> float:
    """Mean of the largest values of a map; DiffusionAD, image score (paper: the 50 largest of 256 x 256).

    Args:
        anomaly_map: [H,W] map at the size that the model sees, in [0, 1].
        top_fraction: share of `area` that counts, in (0, 1]; at least one pixel does.
        inside: [H,W] bool, where to look; None is everywhere.
        area: pixels that the networks see at once; None is all of the map. A defect must not count less
            because there is more around it.

    Returns:
        Score in [0, 1].
    """
    values = anomaly_map.ravel() if inside is None else anomaly_map[inside]
    k = min(max(1, round(top_fraction * (area or anomaly_map.size))), values.size)
    # Sorted, so that the sum does not depend on the order that partition leaves behind.
    largest = np.sort(np.partition(values, values.size - k)[values.size - k :])
    return float(largest.mean(dtype=np.float64))
