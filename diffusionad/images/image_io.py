"""Pictures in, arrays out: any file, PIL image or array becomes float32 RGB in [0, 1]. NumPy and Pillow only.

What a person sees is what is inspected: EXIF rotation is applied, transparency is laid over white, grey
becomes three equal channels, 16-bit grey keeps its depth at the scale that the model names.
"""

import functools
import logging
import os
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from diffusionad.images.bit_depth import (
    is_cut_to_8_bits,
    is_deep,
    misfit,
    misfit_of_cut,
    states_its_maximum,
)
from diffusionad.images.tiff import describe_samples, has_further_pages, is_signed_8_bit

ImageSource = str | os.PathLike | Image.Image | np.ndarray

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)

# Kinds of file that are decoded, whatever a file is named. Pillow would start Ghostscript for PostScript, and
# decode an icon's pictures before it tells their size.
IMAGE_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")

# Beside names that begin with a dot: archives of macOS, trash of Windows, thumbnails of Synology.
SYSTEM_FOLDERS = frozenset({"__MACOSX", "$RECYCLE.BIN", "System Volume Information", "@eaDir", "#recycle"})

MIN_SIDE = 8  # below this there is nothing to compare, and the resize would invent the whole picture
MAX_MEGAPIXELS = 89  # Pillow's own limit against decompression bombs; 1.1 GB as float32 RGB

# What Pillow's decoders raise on damaged files, when opening or when decoding.
_BROKEN = (OSError, SyntaxError, TypeError, ValueError, EOFError)

SAVE_TIFF_AS = "save it with 8 or 16 unsigned bits, or as 32-bit floats in 0..1"

logger = logging.getLogger(__name__)


class ImageError(ValueError):
    """A picture that cannot be used; the message says which one, why, and what to do."""


def read_image(source: ImageSource, name: str = "`image`", bit_depth: int | None = None) -> np.ndarray:
    """One picture as float32 RGB.

    Args:
        source: path, PIL image, or array: [H,W,3], [H,W,4], [H,W,1] or [H,W]; uint8 0..255, uint16 0..65535
            or float 0..1.
        name: how to call the picture in errors, when it has no path.
        bit_depth: bits of 16-bit pictures that the camera uses, so that 2^bits - 1 becomes 1. None takes all
            16, and warns where the values would fit into fewer.

    Returns:
        [H,W,3] float32 in [0, 1].

    Raises:
        ImageError: not a picture, truncated, smaller than 8 x 8, larger than 89 megapixels, an array of
            another shape, dtype or range, values above `bit_depth`.
        FileNotFoundError: no such file.
    """
    if isinstance(source, np.ndarray):
        # A matrix would stay two-dimensional, whatever is done to it.
        return _from_array(np.asarray(source), name, bit_depth)
    if isinstance(source, Image.Image):
        return _from_pil(source, name, bit_depth)
    if isinstance(source, str | os.PathLike):
        return _from_file(Path(source), bit_depth)
    raise ImageError(f"{name} is a {type(source).__name__}; give a path, a PIL image, an array or a tensor.")


def highest_value(path: Path) -> int | None:
    """Return the highest value of a file with 16-bit grey; None for other pictures, and for broken files."""
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if image.mode == "F" or not is_deep(image) or states_its_maximum(image):
                return None
        return round(float(read_image(path, bit_depth=16).max()) * 65535)
    except (*_BROKEN, Image.DecompressionBombError):
        return None  # reading it as a picture says what is wrong with it


def _from_file(path: Path, bit_depth: int | None) -> np.ndarray:
    if path.is_dir():
        raise ImageError(f"`{path}` is a folder; give the pictures inside it.")
    if not path.exists():
        raise FileNotFoundError(f"`{path}` does not exist; check the path.")
    if not path.is_file():
        raise ImageError(f"`{path}` is a pipe or a device; give a regular file.")
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            if has_further_pages(image):
                _warn_of_pages(path)
            return _from_pil(image, f"`{path}`", bit_depth)
    except UnidentifiedImageError as error:
        samples = describe_samples(path)
        if samples:
            raise ImageError(
                f"`{path}` is a TIFF of {samples}, which cannot be read; {SAVE_TIFF_AS}."
            ) from error
        raise ImageError(f"`{path}` is no picture that Pillow can read; use PNG, JPEG or TIFF.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            f"`{path}` is too large, above {MAX_MEGAPIXELS} megapixels; crop or shrink it first."
        ) from error
    except (ImageError, PermissionError):
        raise
    except _BROKEN as error:
        raise ImageError(_broken(f"`{path}`", error)) from error


@functools.lru_cache(maxsize=10_000)  # once a file, however often a training reads it
def _warn_of_pages(path: Path) -> None:
    logger.warning(
        "`%s` holds further pages or frames, which are ignored: only its first picture is looked at.", path
    )


def _broken(name: str, error: Exception) -> str:
    return f"{name} cannot be read ({error}); copy it again."


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise ImageError(f"{name} is {width} x {height} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed.")
    if width * height > MAX_MEGAPIXELS * 1e6:
        raise ImageError(
            f"{name} is {width} x {height} = {width * height / 1e6:.0f} megapixels; the limit is "
            f"{MAX_MEGAPIXELS}: crop or shrink it first."
        )


def _from_pil(image: Image.Image, name: str, bit_depth: int | None) -> np.ndarray:
    _check_size(*image.size, name)  # before decoding: a bomb is refused by its header
    if is_signed_8_bit(image):
        raise ImageError(f"{name} is a TIFF of signed 8-bit integers, which cannot be read; {SAVE_TIFF_AS}.")
    is_cut = is_cut_to_8_bits(image)
    if states_its_maximum(image):
        bit_depth = 16
    try:
        image.load()
        image = ImageOps.exif_transpose(image)
    except _BROKEN as error:
        raise ImageError(_broken(name, error)) from error
    if image.mode.startswith("I;16"):
        return _from_array(np.asarray(image).astype(np.uint16), name, bit_depth)
    if image.mode == "I":  # 32-bit container, mostly of 16-bit grey
        return _from_array(_as_uint16(np.asarray(image), name), name, bit_depth)
    if image.mode == "F":
        return _from_array(np.asarray(image, dtype=np.float32), name, bit_depth)
    if image.mode == "La":  # the one kind of transparency without a way to RGBA
        image = image.convert("LA")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (255, 255, 255, 255)), rgba)
    rgb = np.asarray(image.convert("RGB"), dtype=np.float32)
    rgb /= 255  # in place: of a large picture a second copy would be hundreds of megabytes
    fault = misfit_of_cut(float(rgb.max()), bit_depth, name) if is_cut else None
    if fault is not None:
        raise ImageError(fault)
    return rgb


def _as_uint16(array: np.ndarray, name: str) -> np.ndarray:
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 65535:
        raise ImageError(
            f"{name} has integer values {low}..{high}; at most 16 bits (0..65535) are understood."
        )
    return array.astype(np.uint16)


def _from_array(array: np.ndarray, name: str, bit_depth: int | None) -> np.ndarray:
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        raise ImageError(
            f"{name} has shape {tuple(array.shape)}; give [H,W] or [H,W,C] with C = 1, 3 or 4, or [N,H,W,C]."
        )
    _check_size(array.shape[1], array.shape[0], name)
    if array.dtype == np.uint8:
        array = array.astype(np.float32) / 255
    elif array.dtype == np.uint16:
        fault = misfit(int(array.max()), bit_depth, name)
        if fault is not None:
            raise ImageError(fault)
        array = array.astype(np.float32) / (2 ** (bit_depth or 16) - 1)
    elif array.dtype.kind == "f":
        array = check_unit_range(array, name).astype(np.float32)
    else:
        raise ImageError(
            f"{name} has dtype {array.dtype}; give uint8 (0..255), uint16 (0..65535) or float (0..1)."
        )
    if array.shape[2] == 4:
        rgb, alpha = array[:, :, :3], array[:, :, 3:]
        return rgb * alpha + (1 - alpha)  # over white
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array


def check_unit_range(array: np.ndarray, name: str) -> np.ndarray:
    """Return `array` if all values are finite and in [0, 1], else an ImageError that names what was found."""
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise ImageError(f"{name} has {bad} NaN or infinite values; every pixel must be a number in 0..1.")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        hint = (
            "divide by 255"
            if 1 < high <= 255 and low >= 0
            else "rescale it: x = (x + 1) / 2 if it is in -1..1"
        )
        raise ImageError(f"{name} has values in {low:.4g}..{high:.4g}; floats must be in 0..1 ({hint}).")
    return array


def resize(image: np.ndarray, size: tuple[int, int], antialias: bool = True) -> np.ndarray:
    """Bilinear resize.

    Args:
        image: [H,W] or [H,W,C] float32.
        size: (height, width) of the result.
        antialias: average over the source pixels when shrinking (Pillow's way); False samples two neighbours
            per axis whatever the scale (OpenCV's INTER_LINEAR, what the authors' code does).

    Returns:
        [height,width] or [height,width,C] float32; `image` itself when it has that size.
    """
    if image.shape[:2] == tuple(size):
        return image
    if image.ndim == 3:
        return np.stack([resize(image[:, :, c], size, antialias) for c in range(image.shape[2])], axis=2)
    image = np.ascontiguousarray(image, dtype=np.float32)
    if antialias:
        return np.asarray(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    for axis, n_out in enumerate(size):
        n_in = image.shape[axis]
        position = ((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5).clip(0, n_in - 1)
        left = np.floor(position).astype(np.int64).clip(max=max(n_in - 2, 0))
        fraction = (position - left).astype(np.float32)
        fraction = fraction[:, None] if axis == 0 else fraction
        right = np.minimum(left + 1, n_in - 1)
        image = np.take(image, left, axis) * (1 - fraction) + np.take(image, right, axis) * fraction
    return image


def is_hidden(relative: PurePath) -> bool:
    """Return whether a path below a folder is none of the user's: a trash, a cache, the system's own files.

    Args:
        relative: path below the folder that the user named; the folder itself may be hidden.
    """
    parts = (part for part in relative.parts if part not in (".", ".."))
    return any(part.startswith(".") or part in SYSTEM_FOLDERS for part in parts)


def find_images(paths: Sequence[str | os.PathLike]) -> list[Path]:
    """All picture files named by files, folders (searched recursively) and globs, sorted within each.

    A file that several of them name counts once, under its first name. Hidden files and folders, such as the
    `._x.png` that macOS leaves on foreign disks and `.Trash-0`, are left out unless they are named.

    Raises:
        FileNotFoundError: for a path or glob that matches nothing.
    """
    found: dict[Path, Path] = {}
    for entry in map(str, paths):
        path = Path(entry)
        if path.is_dir():
            visible = (p for p in path.rglob("*") if not is_hidden(p.relative_to(path)))
            matches = [p for p in visible if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
            complaint = f"`{entry}` holds no picture ({', '.join(sorted(IMAGE_SUFFIXES))})"
        elif path.exists():
            matches, complaint = [path], ""
        else:
            pattern = Path(entry)
            anchor = Path(pattern.anchor) if pattern.is_absolute() else Path()
            relative = str(pattern.relative_to(pattern.anchor)) if pattern.is_absolute() else entry
            named = set(pattern.parts)  # hidden folders that the glob spells out are meant
            found_by_glob = (p for p in anchor.glob(relative) if p.is_file())
            matches = [
                p for p in found_by_glob if not is_hidden(Path(*(x for x in p.parts if x not in named)))
            ]
            complaint = f"`{entry}` matches no file"
        if not matches:
            raise FileNotFoundError(f"{complaint}; check the path.")
        for match in sorted(matches):
            found.setdefault(match.absolute(), match)
    return list(found.values())
