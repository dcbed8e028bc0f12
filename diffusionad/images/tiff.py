"""What a TIFF holds beyond what Pillow shows: numbers that it misreads or cannot read, further pages."""

import struct
from pathlib import Path

from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

BITS_PER_SAMPLE, SAMPLE_FORMAT = 258, 339  # tags
KINDS = {1: "unsigned integers", 2: "signed integers", 3: "floats"}  # values of SAMPLE_FORMAT


def is_signed_8_bit(image: Image.Image) -> bool:
    """Say whether an opened picture has signed bytes: Pillow would read -1 as 255."""
    tags = getattr(image, "tag_v2", {})
    return 2 in _numbers(tags.get(SAMPLE_FORMAT)) and 8 in _numbers(tags.get(BITS_PER_SAMPLE))


def describe_samples(path: Path) -> str:
    """Return what the first page of a TIFF holds, such as "64-bit floats"; empty for another kind of file."""
    try:
        with path.open("rb") as file:
            tags = ImageFileDirectory_v2(file.read(8))
            file.seek(tags.next)
            tags.load(file)
            bits = _numbers(tags.get(BITS_PER_SAMPLE, 1))
            kind = KINDS.get(_numbers(tags.get(SAMPLE_FORMAT, 1))[0], "values of an unknown kind")
            return f"{bits[0]}-bit {kind}"
    except (OSError, SyntaxError, TypeError, ValueError, LookupError, EOFError, struct.error):
        return ""


def has_further_pages(image: Image.Image) -> bool:
    """Say whether an opened file holds pages or frames that nobody will look at.

    The further pictures in a camera's JPEG (MPO) are previews of the first.
    """
    return bool(getattr(image, "is_animated", False)) and image.format != "MPO"


def _numbers(value: object) -> tuple:
    return tuple(value) if isinstance(value, tuple | list) else (value,)
