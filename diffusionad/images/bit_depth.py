"""The scale of 16-bit pictures: cameras of 8 to 14 bits save their values unchanged into files of 16.

A file does not say how many of its bits are used, so the model does: its setting `bit_depth`.
"""

import logging

from PIL import Image

BIT_DEPTHS = (8, 10, 12, 14, 16)  # of cameras

WARNED: set[int | str] = set()  # kinds of picture: a folder holds thousands of each

logger = logging.getLogger(__name__)


def smallest_depth(highest: int) -> int:
    """Return the fewest bits of `BIT_DEPTHS` that hold a value in 0..65535."""
    return next(bits for bits in BIT_DEPTHS if highest < 2**bits)


def is_deep(image: Image.Image) -> bool:
    """Say whether an opened picture has more than 8 bits a value: 16-bit grey, or floats."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def states_its_maximum(image: Image.Image) -> bool:
    """Say whether an opened picture is a PGM with a maximum such as 4095, which Pillow stretches to 65535."""
    return is_deep(image) and _maximum(image) not in (None, 65535)


def is_cut_to_8_bits(image: Image.Image) -> bool:
    """Say whether Pillow reads the upper 8 of an opened picture's 16 bits alone, as it does with colour."""
    in_file = [str(tile[3]) for tile in getattr(image, "tile", [])]
    has_16_bits = any(";16" in mode for mode in in_file) or _maximum(image) == 65535
    return has_16_bits and not is_deep(image)


def misfit(highest: int, bit_depth: int | None, name: str) -> str | None:
    """Return why the values of a 16-bit picture do not fit the model's depth, None where they do.

    Args:
        highest: of the values.
        bit_depth: of the model; None, which takes all 16 bits, warns where the values use few of them.
        name: of the picture.
    """
    bits = smallest_depth(highest)
    if bit_depth is None and bits < 16 and _is_new(bits):
        logger.warning(
            f"{name} has 16 bits, but its highest value is {highest}: the model sees it nearly black. If the "
            f"camera has {bits} bits, set the model's `bit_depth` to {bits} (--bit-depth) and calibrate "
            "again; if such dark pictures are meant, set it to 16."
        )
    if bit_depth is None or highest < 2**bit_depth:
        return None
    return (
        f"{name} has values up to {highest}, but the model's `bit_depth` is {bit_depth}, up to "
        f"{2**bit_depth - 1}; save it at the scale of the training pictures."
    )


def misfit_of_cut(highest: float, bit_depth: int | None, name: str) -> str | None:
    """Do as `misfit` for a picture of which the upper 8 of 16 bits were read; `highest` is in [0, 1]."""
    if bit_depth is None and highest < 0.25 and _is_new("colour"):
        logger.warning(
            f"{name} has 16 bits in colour, of which only the upper 8 can be read, and these are nearly "
            "black: save such pictures with 8 bits, scaled to the full range."
        )
    if bit_depth in (None, 16):
        return None
    return (
        f"{name} has 16 bits in colour, of which only the upper 8 can be read, but the model's `bit_depth` "
        f"is {bit_depth}; save it with 8 bits, scaled to the full range."
    )


def _maximum(image: Image.Image) -> int | None:
    """Return the maximum in the header of an opened PGM or PPM, as far as Pillow has to look at it."""
    if image.format != "PPM" or not getattr(image, "tile", []):
        return None
    arguments = image.tile[0][3]  # type: ignore[attr-defined]
    return arguments[-1] if isinstance(arguments, tuple) else None


def _is_new(kind: int | str) -> bool:
    is_new = kind not in WARNED
    WARNED.add(kind)
    return is_new
