"""Where to look: a region of interest as a mask, in a JSON config, and at the model's size."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from diffusionad.images.image_io import IMAGE_FORMATS, MAX_MEGAPIXELS, ImageError, read_image


def encode_roi(roi: np.ndarray) -> dict:
    """A bool mask as uncompressed COCO run lengths (column-major, zeros first): fits into a JSON config."""
    flat = np.asarray(roi, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat.astype(np.int8))) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return {"size": list(roi.shape), "counts": ([0] if flat.size and flat[0] else []) + counts}


def decode_roi(rle: Any) -> np.ndarray:
    """The inverse of `encode_roi`: [H,W] bool.

    Raises:
        ValueError: no run lengths, more than 89 megapixels, or counts that do not cover the size.
    """
    if not isinstance(rle, dict) or set(rle) != {"size", "counts"}:
        raise ValueError("run lengths are a `size` and `counts`")
    size, counts = rle["size"], rle["counts"]
    limit = int(MAX_MEGAPIXELS * 1e6)  # before any memory is taken: anybody may have written these numbers
    if not _are_counts(size, limit) or len(size) != 2 or min(size) < 1 or size[0] * size[1] > limit:
        raise ValueError(f"its `size` is no height and width of up to {MAX_MEGAPIXELS} megapixels")
    if not _are_counts(counts, limit) or sum(counts) != size[0] * size[1]:
        raise ValueError(f"its `counts` do not cover {size[0]} x {size[1]} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def _are_counts(values: Any, limit: int) -> bool:
    """Say whether `values` is a list of integers in 0..limit."""
    if not isinstance(values, list | tuple):
        return False
    return all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= limit for v in values)


def border_mask(size: tuple[int, int], ignore_border: int) -> np.ndarray:
    """[H,W] bool for a `size` of (H, W), False within `ignore_border` pixels of the edge."""
    inside = np.ones(size, dtype=bool)
    if ignore_border:
        inside[:] = False
        inside[ignore_border:-ignore_border, ignore_border:-ignore_border] = True
    return inside


def read_roi(roi: Any) -> np.ndarray:
    """Read any mask.

    Args:
        roi: path, PIL image, array or tensor [H,W]; non-zero pixels are inside, or opaque ones where some of
            it is transparent.

    Returns:
        [H,W] bool.

    Raises:
        ImageError: not a picture; the message says why.
        FileNotFoundError: no such file.
    """
    if hasattr(roi, "detach"):  # a tensor, named without importing torch
        try:
            roi = (roi.squeeze() != 0).cpu().numpy().astype(np.uint8)
        except (NotImplementedError, RuntimeError, TypeError, ValueError) as error:
            raise ImageError("`roi` is a sparse, nested or meta tensor; give a dense one.") from error
    elif isinstance(roi, np.ndarray) and roi.dtype.kind in "bi":
        roi = (roi != 0).astype(np.uint8)
    if not isinstance(roi, Image.Image | np.ndarray):
        read_image(roi, bit_depth=16)  # for its errors; a mask of 0 and 1 is no dark picture
        roi = Image.open(roi, formats=IMAGE_FORMATS)
    if isinstance(roi, Image.Image) and roi.has_transparency_data:
        alpha = np.asarray(roi.convert("RGBA"))[:, :, 3]
        if alpha.min() < 255:  # what drawing programs save
            roi = alpha
    return read_image(roi, "`roi`", bit_depth=16).max(axis=2) > 0


def region_of_interest(settings: Mapping[str, Any], size: tuple[int, int]) -> np.ndarray:
    """Return where the map counts, bool [H',W'] for a model's size of (H', W').

    Args:
        settings: `roi` (run lengths or None) and `ignore_border` of a pipeline.
        size: (H', W').

    Raises:
        ValueError: no pixel is left.
    """
    height, width = size
    inside = border_mask(size, settings["ignore_border"])
    if settings["roi"] is not None:
        roi = Image.fromarray(decode_roi(settings["roi"]))
        # Where it shrinks, any part of a pixel inside the region keeps the pixel.
        is_smaller = roi.width < width and roi.height < height
        method = Image.Resampling.NEAREST if is_smaller else Image.Resampling.BOX
        inside &= np.asarray(roi.convert("L").resize((width, height), method)) > 0
    if not inside.any():
        raise ValueError("`roi` leaves no pixel to look at; mark with non-zero pixels where to look.")
    return inside
