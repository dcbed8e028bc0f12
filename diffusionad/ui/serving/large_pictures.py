"""Memory of the app: pictures above its limit are refused, and large ones are worked on one at a time."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from diffusionad.images.image_io import IMAGE_FORMATS, MAX_MEGAPIXELS, ImageError

LIMIT_VARIABLE = "DIFFUSIONAD_MAX_MEGAPIXELS"
DEFAULT_LIMIT = 20  # megapixels; a picture takes about 30 bytes a pixel while it is inspected and drawn
LARGE = 4  # megapixels: as many such pictures as there are slots may be worked on at once

_turn = threading.RLock()  # reentrant: reading, inspecting and drawing are nested


def max_megapixels() -> float:
    """Return the limit that `DIFFUSIONAD_MAX_MEGAPIXELS` sets.

    Raises:
        ValueError: that is no number above 0, or above what the package reads.
    """
    value = os.environ.get(LIMIT_VARIABLE, "")
    try:
        limit = float(value or DEFAULT_LIMIT)
    except ValueError:
        limit = 0.0
    if not 0 < limit <= MAX_MEGAPIXELS:
        raise ValueError(f"{LIMIT_VARIABLE} is {value!r}; give megapixels, at most {MAX_MEGAPIXELS}.")
    return limit


@contextmanager
def turn_for(path: str | os.PathLike) -> Iterator[None]:
    """Work on the picture of a file at its own size; wait while another large one is worked on.

    Args:
        path: of the picture. One that cannot be opened is left to its reader, who says why.

    Raises:
        ImageError: the picture is above the limit; nothing of it has been decoded.
    """
    megapixels, limit = _megapixels(path), max_megapixels()
    if megapixels > limit:
        raise ImageError(
            f"`{path}` is {megapixels:.1f} megapixels; the limit of this app is {limit:g}: crop or shrink it "
            "first."
        )
    if megapixels <= LARGE:
        yield
    else:
        with _turn:
            yield


def _megapixels(path: str | os.PathLike) -> float:
    """Return the size from the header of a picture; 0 where it cannot be opened."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            return image.width * image.height / 1e6
    except Exception:
        # Pillow raises nearly anything on damaged files; the reader that follows has a sentence for each.
        return 0.0
