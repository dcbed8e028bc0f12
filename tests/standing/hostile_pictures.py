"""A corpus of pictures as they come from cameras, editors, broken disks and people who mean harm."""

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms

ORIENTATION = 0x0112
FORMATS = {"png": "PNG", "jpg": "JPEG", "tiff": "TIFF", "bmp": "BMP", "webp": "WEBP", "ppm": "PPM"}
MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
NAMES = (
    "with space.png",
    "ünïcødé-零件.png",
    "-rf.png",
    "%00.png",
    "a'b\"c`d.png",
    "two.dots.tar.png",
    "$(x).png",
)


def encode(image: Image.Image, suffix: str, **options: object) -> bytes | None:
    """Return the bytes of a file; None where the format cannot hold such a picture."""
    buffer = io.BytesIO()
    try:
        image.save(buffer, FORMATS[suffix], **options)
    except (OSError, ValueError, KeyError):
        return None
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that promises any number of pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def corpus(cuts: int, flips: int) -> Iterator[tuple[str, bytes]]:
    """Yield (name, bytes) of every kind.

    Args:
        cuts: truncations of each format.
        flips: files with flipped bytes of each format.
    """
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
    for suffix in FORMATS:
        whole = encode(rgb, suffix)
        assert whole is not None
        for number in range(cuts):
            yield f"cut-{number}.{suffix}", whole[: int(len(whole) * number / cuts)]
        for number in range(flips):
            damaged = bytearray(whole)
            for place in rng.integers(len(damaged), size=1 + number % 8):
                damaged[place] ^= 1 << int(rng.integers(8))
            yield f"flipped-{number}.{suffix}", bytes(damaged)
        for mode in MODES:
            grey = rgb.convert("L")
            image = grey.convert("I").convert(mode) if mode == "I;16" else _converted(rgb, mode)
            if (data := encode(image, suffix)) is not None:
                yield f"mode-{mode.replace(';', '')}.{suffix}", data
    yield from _tagged(rgb)
    yield from _sizes()
    whole = encode(rgb, "png")
    assert whole is not None
    yield from ((name, whole) for name in NAMES)


def _converted(rgb: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        to_lab = ImageCms.buildTransform(
            ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
        )
        return ImageCms.applyTransform(rgb, to_lab) or rgb
    return rgb.convert("L").convert(mode) if mode in ("LA", "I", "F") else rgb.convert(mode)


def _tagged(rgb: Image.Image) -> Iterator[tuple[str, bytes]]:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for suffix in ("png", "jpg", "tiff", "webp"):
        for orientation in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535):
            exif = Image.Exif()
            exif[ORIENTATION] = orientation
            yield f"exif-{orientation}.{suffix}", encode(rgb, suffix, exif=exif) or b""
        for name, icc in (("icc", profile), ("icc-cut", profile[:50]), ("icc-noise", b"\xff" * 300)):
            yield f"{name}.{suffix}", encode(rgb, suffix, icc_profile=icc) or b""
    for suffix in ("png", "tiff", "webp"):
        frames = [rgb.rotate(turn) for turn in (90, 180)]
        yield f"animated.{suffix}", encode(rgb, suffix, save_all=True, append_images=frames) or b""
    floats = np.linspace(-1, 2, 40 * 48, dtype=np.float32).reshape(40, 48)
    for name, values in (
        ("float", floats),
        ("nan", np.full_like(floats, np.nan)),
        ("infinite", np.full_like(floats, np.inf)),
    ):
        yield f"{name}.tiff", encode(Image.fromarray(values), "tiff") or b""
    yield "svg.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    yield "script.jpg", b"#!/bin/sh\nexit 1\n"


def _sizes() -> Iterator[tuple[str, bytes]]:
    for width, height in ((1, 1), (7, 8), (8, 8), (1, 400), (8, 4000), (4000, 9)):
        yield (
            f"size-{width}x{height}.png",
            encode(Image.linear_gradient("L").resize((width, height)), "png") or b"",
        )
    for width, height in ((0, 0), (20_000, 20_000), (2**31 - 1, 2**31 - 1), (8, 2**31 - 1), (9400, 9400)):
        yield f"bomb-{width}x{height}.png", bomb(width, height)


def write(folder: Path, cuts: int, flips: int) -> list[Path]:
    """Write the corpus into a folder; return the files."""
    paths = []
    for name, data in corpus(cuts, flips):
        path = folder / name
        path.write_bytes(data)
        paths.append(path)
    return paths
