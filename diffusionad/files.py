"""Figures that may be written down and published: finite ones."""

import math
from typing import Any


def check_finite(value: Any, name: str) -> None:
    """Raise a ValueError that names the first number in nested figures that is NaN or infinite."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"`{name}` is {value}; only finite figures are kept and published.")
    if isinstance(value, dict):
        for key, inner in value.items():
            check_finite(inner, f"{name}: {key}")
    if isinstance(value, list):
        for i, inner in enumerate(value):
            check_finite(inner, f"{name}: {i}")
