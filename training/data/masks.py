"""True masks as they are published: 0 and 255, 0 and small integers, palettes, 16 bits, one bit, JPEG."""

from pathlib import Path

import numpy as np
from PIL import Image

from diffusionad.images.image_io import ImageError, resize


def read_mask(path: Path | None, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Where a picture is anomalous, bool [H,W]; nowhere without a file.

    Whatever is not black counts: VisA numbers its defects 1, 2, 3, and in 8 bits these look black. In a JPEG
    black is not quite black, so half the range is needed there.

    Args:
        path: the mask's file, or None.
        shape: (height, width) of its picture; None not to compare.

    Raises:
        ImageError: the mask cannot be read, or has another size than its picture.
    """
    if path is None:
        assert shape is not None
        return np.zeros(shape, dtype=bool)
    try:
        with Image.open(path) as image:
            is_lossy = image.format == "JPEG"
            # A palette's entries are colours; other modes keep their numbers, lest 1 of 65535 become 0.
            values = np.asarray(image.convert("RGB") if image.mode == "P" else image)
            if image.mode in ("LA", "RGBA"):
                values = values[..., :-1]
    except (OSError, SyntaxError, TypeError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ImageError(f"`{path}` cannot be read as a mask ({error}); copy it again.") from error
    mask = values > (127 if is_lossy else 0)
    mask = mask.any(axis=2) if mask.ndim == 3 else mask
    if shape is not None and mask.shape != tuple(shape):
        raise ImageError(
            f"`{path}` is {mask.shape[1]} x {mask.shape[0]}, its picture {shape[1]} x {shape[0]}; "
            "a mask must have the size of its picture."
        )
    return mask


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A mask at another (height, width), positive wherever any of it falls: a thin crack stays whole."""
    return resize(mask.astype(np.float32), size) > 0
