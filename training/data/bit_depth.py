"""The bits that the camera uses of 16-bit pictures, found in the good pictures of a data set."""

from collections.abc import Iterable
from pathlib import Path

from diffusionad.images.bit_depth import smallest_depth
from diffusionad.images.image_io import highest_value


def find_bit_depth(good: Iterable[Path]) -> int | None:
    """Return the fewest bits that hold the values of all 16-bit pictures; None where there are none."""
    values = [value for path in good if (value := highest_value(path)) is not None]
    return smallest_depth(max(values)) if values else None


def check_bit_depth(paths: Iterable[Path], bit_depth: int) -> None:
    """Check before a training that every picture can be read with its depth.

    Raises:
        ValueError: values of some pictures do not fit.
    """
    values = {path: value for path in paths if (value := highest_value(path)) is not None}
    above = {path: value for path, value in values.items() if value >= 2**bit_depth}
    if above:
        path, value = max(above.items(), key=lambda item: item[1])
        raise ValueError(
            f"{len(above)} of {len(values)} pictures of 16 bits have values above {2**bit_depth - 1}, where "
            f"{bit_depth} bits end, such as `{path}` with {value}; set `data.bit_depth` to the camera's, "
            f"{smallest_depth(value)} or more, or remove them."
        )
