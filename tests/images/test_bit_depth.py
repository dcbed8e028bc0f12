"""16-bit pictures: their scale is named by the model, and doubts about it are said."""

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusionad.images import bit_depth
from diffusionad.images.bit_depth import smallest_depth
from diffusionad.images.image_io import ImageError, read_image
from diffusionad.postprocessing.roi import read_roi


@pytest.fixture(autouse=True)
def nothing_warned_of() -> None:
    bit_depth.WARNED.clear()


def values_of(bits: int) -> np.ndarray:
    """All from 0 to the highest of a camera, [32,32]."""
    return np.linspace(0, 2**bits - 1, 1024).round().astype(np.uint16).reshape(32, 32)


def write_png(path: Path, pixels: np.ndarray) -> Path:
    """A PNG with 16 bits of grey, grey and alpha, RGB or RGBA, which Pillow writes in grey only."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, channels = pixels.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    chunks = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0))
    chunks += chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def write_pnm(path: Path, pixels: np.ndarray, maximum: int) -> Path:
    """A PGM or PPM with a maximum in its header."""
    kind = "P5" if pixels.ndim == 2 else "P6"
    header = f"{kind}\n{pixels.shape[1]} {pixels.shape[0]}\n{maximum}\n"
    path.write_bytes(header.encode() + pixels.astype(">u2").tobytes())
    return path


def test_the_smallest_depth_holds_the_highest_value():
    highest = [0, 255, 256, 1023, 1024, 4095, 4096, 16383, 16384, 65535]
    assert [smallest_depth(value) for value in highest] == [8, 8, 10, 10, 12, 12, 14, 14, 16, 16]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_the_highest_value_of_the_camera_becomes_1_in_every_kind_of_source(tmp_path, caplog, bits):
    values = values_of(bits)
    for suffix in ("png", "tiff", "pgm"):
        Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    sources = [tmp_path / f"a.{suffix}" for suffix in ("png", "tiff", "pgm")]
    sources += [Image.fromarray(values), Image.fromarray(values.astype(np.int32)), values, values[:, :, None]]
    expected = np.repeat((values / (2**bits - 1)).astype(np.float32)[:, :, None], 3, axis=2)
    for source in sources:
        picture = read_image(source, bit_depth=bits)
        np.testing.assert_allclose(picture, expected, atol=1e-7)
        assert (picture.min(), picture.max()) == (0, 1)
    assert not caplog.records


@pytest.mark.parametrize("depth", [None, 8, 12, 16])
def test_pictures_of_8_bits_and_floats_read_alike_at_every_depth(tmp_path, depth, caplog):
    rgb = np.random.default_rng(0).integers(0, 40, (10, 14, 3), dtype=np.uint8)
    Image.fromarray(rgb).save(tmp_path / "a.png")
    for source in (rgb, tmp_path / "a.png", rgb.astype(np.float32) / 255):
        np.testing.assert_array_equal(
            read_image(source, bit_depth=depth), rgb.astype(np.float32) / np.float32(255)
        )
    assert not caplog.records


def test_values_above_the_depth_are_refused_by_name_with_both_numbers(tmp_path):
    values = values_of(12)
    path = tmp_path / "bright.png"
    Image.fromarray(values).save(path)
    words = r"values up to 4095, but the model's `bit_depth` is 10, up to 1023; save it at the scale"
    for source, name in ((path, r"bright\.png` has"), (values, r"`image` has")):
        with pytest.raises(ImageError, match=f"{name} {words}"):
            read_image(source, bit_depth=10)


def test_few_used_bits_are_warned_of_once_a_number_of_bits(tmp_path, caplog):
    for bits in (10, 12):
        for name in ("first", "second"):
            path = tmp_path / f"{name}_{bits}.png"
            Image.fromarray(values_of(bits)).save(path)
            full_range = (values_of(bits).astype(np.float32) / 65535)[:, :, None].repeat(3, axis=2)
            np.testing.assert_array_equal(read_image(path), full_range)  # as before there was a depth
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 2
    for bits, warning in zip((10, 12), warnings, strict=True):
        assert f"first_{bits}.png` has 16 bits, but its highest value is {2**bits - 1}" in warning
        assert f"set the model's `bit_depth` to {bits} (--bit-depth) and calibrate again" in warning


def test_no_warning_where_the_range_is_used_or_the_depth_is_named(caplog):
    read_image(values_of(16))
    read_image(values_of(12), bit_depth=16)
    assert not caplog.records


def test_a_maximum_in_the_header_of_a_pgm_is_its_scale_at_every_depth(tmp_path, caplog):
    values = values_of(10)
    binary = write_pnm(tmp_path / "binary.pgm", values, 1023)
    plain = tmp_path / "plain.pgm"
    plain.write_text(f"P2\n32 32\n1023\n{' '.join(map(str, values.ravel()))}\n")
    expected = np.repeat(values[:, :, None] / 1023, 3, axis=2)
    for path in (binary, plain):
        for depth in (None, 8, 12):
            np.testing.assert_allclose(read_image(path, bit_depth=depth), expected, atol=1e-5)
    assert not caplog.records
    silent = write_pnm(tmp_path / "silent.pgm", values, 65535)
    assert read_image(silent).max() < 0.02 and len(caplog.records) == 1
    assert read_image(silent, bit_depth=10).max() == 1


@pytest.fixture(params=["RGB", "RGBA", "grey with alpha", "ppm"])
def write_colour(request, tmp_path):
    """Function (grey values) -> path of a file with 16 bits in colour, of which Pillow keeps 8."""

    def write(values: np.ndarray) -> Path:
        grey, opaque = values[:, :, None], np.full((*values.shape, 1), 65535, np.uint16)
        rgb = grey.repeat(3, axis=2)
        if request.param == "ppm":
            return write_pnm(tmp_path / "a.ppm", rgb, 65535)
        parts = {"RGB": [rgb], "RGBA": [rgb, opaque], "grey with alpha": [grey, opaque]}[request.param]
        return write_png(tmp_path / "a.png", np.concatenate(parts, axis=2))

    return write


def test_dark_colour_of_16_bits_is_warned_of_and_refused_where_a_depth_is_named(write_colour, caplog):
    path = write_colour(values_of(12))
    read_image(path, bit_depth=16)
    assert not caplog.records
    for _ in range(2):
        assert read_image(path).max() < 0.07
    [warning] = caplog.records
    assert "16 bits in colour, of which only the upper 8 can be read" in warning.getMessage()
    with pytest.raises(ImageError, match=r"16 bits in colour.*`bit_depth` is 12; save it with 8 bits"):
        read_image(path, bit_depth=12)


def test_colour_that_uses_all_16_bits_reads_as_before(write_colour, caplog):
    values = values_of(16)
    expected = (values >> 8).astype(np.float32) / 255
    np.testing.assert_allclose(read_image(write_colour(values))[:, :, 0], expected, atol=1.01 / 255)
    assert not caplog.records


def test_a_mask_of_16_bits_is_no_dark_picture(tmp_path, caplog):
    mask = np.zeros((16, 16), np.uint16)
    mask[4:8, 4:8] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(read_roi(tmp_path / "mask.png"), mask > 0)
    assert not caplog.records
