"""The bits that the camera uses of 16-bit pictures, found in the good pictures of a data set."""

from collections.abc import Iterable
from pathlib import Path

from PIL import Image

from diffusionad.images.bit_depth import is_deep, smallest_depth, states_its_maximum
from diffusionad.images.image_io import IMAGE_FORMATS, read_image


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


def highest_value(path: Path) -> int | None:
    """Return the highest value of a 16-bit picture; None for other pictures, and for broken files."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.mode == "F" or not is_deep(image) or states_its_maximum(image):
                return None
        return round(float(read_image(path, bit_depth=16).max()) * 65535)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None  # reading it as a picture says what is wrong with it
