"""Read true masks as published: 0 and 255, 0 and small integers, palettes, 16 bits, one bit, JPEG."""

from pathlib import Path

import numpy as np
from PIL import Image

from diffusionad.images.image_io import IMAGE_FORMATS, ImageError, resize

from .records import pictures


def read_mask(path: Path | None, shape: tuple[int, int] | None = None) -> np.ndarray:
    """Read a mask: True on anomalous pixels, bool [H,W]; False everywhere without a file.

    Every value above 0 counts: VisA numbers its defects 1, 2, 3, which look black in 8 bits. JPEG does not
    keep black exactly, so that a mask in JPEG counts from half the range on.

    Args:
        path: mask file, folder of several masks, which are joined, or None.
        shape: (height, width) of the picture; None skips the comparison.

    Returns:
        The mask, bool [H,W].

    Raises:
        ImageError: the mask cannot be read, or its size differs from that of the picture.
    """
    if path is None:
        assert shape is not None
        return np.zeros(shape, dtype=bool)
    if path.is_dir():
        first, *others = files_of(path)
        joined = read_mask(first, shape)
        for other in others:
            joined = joined | read_mask(other, joined.shape)
        return joined
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            is_lossy = image.format == "JPEG"
            # Entries of a palette are colours; other modes keep their numbers, or 1 of 65535 would become 0.
            values = np.asarray(image.convert("RGB") if image.mode == "P" else image)
            if image.mode in ("LA", "RGBA"):
                values = values[..., :-1]
    except (OSError, SyntaxError, TypeError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ImageError(f"`{path}` cannot be read as a mask ({error}); copy it again.") from error
    mask = np.asarray(values > (127 if is_lossy else 0))
    if mask.ndim == 3:
        mask = np.any(mask, axis=2)
    if shape is not None and mask.shape != tuple(shape):
        raise ImageError(
            f"`{path}` is {mask.shape[1]} x {mask.shape[0]}, its picture {shape[1]} x {shape[0]}; "
            "a mask must have the size of its picture."
        )
    return mask


def files_of(mask: Path) -> list[Path]:
    """List the files of a mask, which may be a folder of several."""
    return pictures(mask) if mask.is_dir() else [mask]


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a mask to (height, width); any touched pixel is positive, so that thin cracks stay whole."""
    return resize(mask.astype(np.float32), size) > 0
