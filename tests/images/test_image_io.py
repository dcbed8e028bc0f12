"""Files, PIL images and arrays of every kind become the same float32 RGB; what cannot is refused clearly."""

import logging
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusionad.images.image_io import ImageError, find_images, read_image, resize

ORIENTATION = 0x0112


@pytest.fixture
def rgb() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (10, 14, 3), dtype=np.uint8)


def test_the_same_picture_reads_alike_from_every_kind_of_source(tmp_path, rgb):
    expected = rgb.astype(np.float32) / 255
    path = tmp_path / "picture.png"
    Image.fromarray(rgb).save(path)
    opaque = np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])
    sources = {
        "path": path,
        "str": str(path),
        "PIL": Image.fromarray(rgb),
        "RGBA": Image.fromarray(opaque),
        "uint8": rgb,
        "uint8 RGBA": opaque,
        "uint16": rgb.astype(np.uint16) * 257,
        "float32": expected,
        "not contiguous": expected[::-1, ::-1].copy()[::-1, ::-1],
    }
    for kind, source in sources.items():
        image = read_image(source)
        assert image.dtype == np.float32, kind
        np.testing.assert_array_equal(image, expected, err_msg=kind)


def test_grey_becomes_three_equal_channels(rgb):
    grey = rgb[:, :, 0]
    expected = np.repeat(grey[:, :, None].astype(np.float32) / 255, 3, axis=2)
    for source in (grey, grey[:, :, None], Image.fromarray(grey), grey.astype(np.float32) / 255):
        np.testing.assert_array_equal(read_image(source), expected)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey_keeps_its_depth(tmp_path, suffix):
    grey = np.random.default_rng(0).integers(0, 65536, (9, 11), dtype=np.uint16)
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(grey).save(path)
    expected = (grey.astype(np.float32) / 65535)[:, :, None].repeat(3, axis=2)
    np.testing.assert_array_equal(read_image(path), expected)
    np.testing.assert_array_equal(read_image(Image.fromarray(grey.astype(np.int32))), expected)


def test_palette_and_black_and_white_pictures_read_as_what_they_show(rgb):
    palette = Image.fromarray(rgb).quantize(16)
    np.testing.assert_array_equal(read_image(palette), read_image(palette.convert("RGB")))
    bilevel = Image.fromarray(rgb).convert("1")
    assert set(np.unique(read_image(bilevel))) == {0.0, 1.0}


def test_transparency_is_laid_over_white():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, 4:, 3] = 255  # right half black, left half transparent
    palette = Image.fromarray(pixels[:, :, 0]).convert("P")
    palette.info["transparency"] = palette.getpixel((0, 0))
    for source in (Image.fromarray(pixels), pixels, pixels.astype(np.float32) / 255):
        image = read_image(source)
        assert (image[:, :4] == 1).all() and (image[:, 4:] == 0).all()
    assert (read_image(palette) == 1).all()


def test_exif_rotation_is_applied(tmp_path, rgb):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # shown after a quarter turn clockwise
    path = tmp_path / "turned.png"
    Image.fromarray(rgb).transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    np.testing.assert_array_equal(read_image(path), read_image(rgb))


def test_other_colour_spaces_are_converted(tmp_path):
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path)
    red = read_image(path).mean(axis=(0, 1))
    assert red[0] > 0.9 and red[1:].max() < 0.1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_refused(bad):
    image = np.zeros((8, 8, 3), np.float32)
    image[3, 3, 1] = bad
    with pytest.raises(ImageError, match=r"`image` has 1 NaN or infinite"):
        read_image(image)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.full((8, 8, 3), 200.0), r"200\.\.200; floats must be in 0\.\.1 \(divide by 255\)"),
        (np.full((8, 8, 3), -1.0), r"-1\.\.-1.*\(x \+ 1\) / 2"),
        (np.zeros((8, 8, 3), np.int64), r"dtype int64; give uint8"),
        (np.zeros((8, 8, 3), bool), r"dtype bool; give uint8"),
        (np.zeros((8, 8, 2), np.uint8), r"shape \(8, 8, 2\).*C = 1, 3 or 4"),
        (np.zeros((2, 8, 8, 3), np.uint8), r"shape \(2, 8, 8, 3\)"),
        (np.zeros(8, np.uint8), r"shape \(8,\)"),
        (np.zeros((7, 9, 3), np.uint8), r"9 x 7 pixels; at least 8 x 8"),
        (np.zeros((1, 1), np.uint8), r"1 x 1 pixels; at least 8 x 8"),
        (np.zeros((0, 0, 3), np.uint8), r"0 x 0 pixels; at least 8 x 8"),
        (Image.fromarray(np.full((8, 8), 70000, np.int32)), r"70000\.\.70000; at most 16 bits"),
        (b"bytes", r"is a bytes; give a path"),
        (None, r"is a NoneType; give a path"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_reason(image, words):
    with pytest.raises(ImageError, match=words):
        read_image(image)


def test_the_errors_of_files_name_the_file(tmp_path, rgb):
    whole, cut, text, empty = (tmp_path / name for name in ("whole.png", "cut.png", "text.png", "empty.png"))
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (99, 99, 3), dtype=np.uint8)).save(whole)
    cut.write_bytes(whole.read_bytes()[:9999])
    text.write_text("no picture")
    empty.touch()
    for path, words in (
        (cut, r"cut\.png` cannot be read .*truncated.*copy it again"),
        (text, r"text\.png` is no picture that Pillow can read"),
        (empty, r"empty\.png` is no picture"),
        (tmp_path, r"is a folder; give the pictures inside"),
    ):
        with pytest.raises(ImageError, match=words):
            read_image(path)
    with pytest.raises(FileNotFoundError, match=r"absent\.png` does not exist"):
        read_image(tmp_path / "absent.png")


def test_every_cut_of_a_file_is_one_clear_error(tmp_path, rgb):
    for suffix in ("png", "jpg", "tiff", "bmp", "webp"):
        whole = tmp_path / f"whole.{suffix}"
        Image.fromarray(rgb).save(whole)
        data = whole.read_bytes()
        for length in {1, 8, 20, 40, len(data) // 3, len(data) // 2, 3 * len(data) // 4}:
            cut = tmp_path / f"cut.{suffix}"
            cut.write_bytes(data[: min(length, len(data) - 1)])
            with pytest.raises(ImageError, match=r"cut\."):
                read_image(cut)


def write_tiff(path: Path, pixels: np.ndarray) -> Path:
    """A grey TIFF of any NumPy dtype, which Pillow's own writer does not know all of."""
    height, width = pixels.shape
    sample_format = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    tags = [(256, width), (257, height), (258, pixels.itemsize * 8), (259, 1), (262, 1), (273, 8)]
    tags += [(277, 1), (278, height), (279, pixels.nbytes), (339, sample_format)]
    directory = struct.pack("<H", len(tags))
    directory += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    start = struct.pack("<2sHI", b"II", 42, 8 + pixels.nbytes)
    path.write_bytes(start + pixels.astype(pixels.dtype.newbyteorder("<")).tobytes() + directory + bytes(4))
    return path


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_tiffs_of_usual_numbers_are_read(tmp_path, dtype):
    full = 1 if dtype == np.float32 else np.iinfo(dtype).max
    path = write_tiff(tmp_path / "a.tif", np.full((9, 11), full, dtype))
    np.testing.assert_array_equal(read_image(path), np.ones((9, 11, 3), np.float32))


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        (np.int8, "signed 8-bit integers"),
        (np.float16, "16-bit floats"),
        (np.float64, "64-bit floats"),
        (np.int64, "64-bit signed integers"),
    ],
)
def test_tiffs_of_other_numbers_are_refused_by_their_kind(tmp_path, dtype, words):
    path = write_tiff(tmp_path / "a.tif", np.full((9, 11), -1 if dtype == np.int8 else 1, dtype))
    with pytest.raises(
        ImageError, match=rf"a\.tif` is a TIFF of {words}, which cannot be read; save it with"
    ):
        read_image(path)


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_a_matrix_reads_as_the_array_that_it_is(rgb):
    grey = rgb[:, :, 0]
    matrix = np.asmatrix(grey)
    np.testing.assert_array_equal(read_image(matrix), read_image(grey))
    np.testing.assert_array_equal(matrix, grey)


@pytest.mark.parametrize("mode", ["LA", "La", "RGBA", "RGBa", "PA", "CMYK", "YCbCr", "HSV", "LAB", "1", "P"])
def test_every_mode_of_pillow_reads_as_rgb(mode):
    white = Image.new("LA" if mode == "La" else "RGBA" if mode == "RGBa" else "RGB", (9, 9), "white")
    if mode == "PA":
        white = white.convert("P")
    image = read_image(white.convert(mode))
    assert image.shape == (9, 9, 3) and image.min() >= 0.98


@pytest.mark.parametrize("suffix", ["tiff", "png", "webp"])
def test_further_pages_are_ignored_with_one_warning_that_names_the_file(tmp_path, rgb, caplog, suffix):
    path, other = tmp_path / f"pages.{suffix}", tmp_path / f"other.{suffix}"
    first, second = Image.fromarray(rgb), Image.fromarray(255 - rgb)
    lossless = {"lossless": True} if suffix == "webp" else {}
    first.save(path, save_all=True, append_images=[second], **lossless)
    first.save(other, **lossless)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            np.testing.assert_array_equal(read_image(path), read_image(other))
    [record] = caplog.records
    assert str(path) in record.getMessage() and "further pages" in record.getMessage()


def test_the_content_of_a_file_decides_how_it_is_read_not_its_name(tmp_path, rgb):
    for kind in ("EPS", "ICO", "GIF", "PDF", "ICNS"):
        path = tmp_path / f"{kind}.png"
        Image.fromarray(rgb).resize((32, 32)).save(path, kind)
        with pytest.raises(ImageError, match=rf"{kind}\.png` is no picture"):  # Ghostscript never starts
            read_image(path)
    path = tmp_path / "jpeg.png"
    Image.fromarray(rgb).save(path, "JPEG")
    assert read_image(path).shape == rgb.shape


def test_a_pipe_is_refused_without_waiting_for_its_other_end(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png` is a pipe or a device"):
        read_image(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"link\.png` is a pipe or a device"):
        read_image(tmp_path / "link.png")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("width", "height"), [(20_000, 20_000), (10_000, 9_000), (9_900, 9_000)])
def test_huge_pictures_are_refused_by_their_header(make_huge_png, width, height):
    with pytest.raises(ImageError, match=r"huge\.png`.*[Cc]rop or shrink it first"):
        read_image(make_huge_png(width, height))


def test_resize_with_antialias_averages_and_without_samples():
    stripes = np.tile(np.array([0.0, 1.0], np.float32), (64, 32))  # [64,64], every other column white
    averaged = resize(stripes, (16, 16), antialias=True)
    np.testing.assert_allclose(averaged[:, 2:-2], 0.5, atol=0.02)
    sampled = resize(stripes, (16, 16), antialias=False)
    np.testing.assert_allclose(sampled, 0.5)  # the two neighbours at 4 i + 1.5
    sparse = np.zeros((64, 64), np.float32)
    sparse[:, ::4] = 1  # no sample of 16 x 16 falls here
    assert resize(sparse, (16, 16), antialias=False).max() == 0
    np.testing.assert_allclose(resize(sparse, (16, 16), antialias=True)[:, 2:-2], 0.25, atol=0.02)


def test_resize_without_antialias_follows_opencvs_formula():
    image = np.random.default_rng(0).random((13, 7, 3), dtype=np.float32)
    small = resize(image, (5, 11), antialias=False)
    for y, x in np.ndindex(5, 11):
        v, u = (y + 0.5) * 13 / 5 - 0.5, (x + 0.5) * 7 / 11 - 0.5
        v, u = min(max(v, 0), 12), min(max(u, 0), 6)
        top, left = min(int(v), 11), min(int(u), 5)
        dv, du = v - top, u - left
        expected = (1 - dv) * ((1 - du) * image[top, left] + du * image[top, left + 1])
        expected += dv * ((1 - du) * image[top + 1, left] + du * image[top + 1, left + 1])
        np.testing.assert_allclose(small[y, x], expected, atol=1e-6)


@pytest.mark.parametrize("antialias", [True, False])
def test_resize_keeps_shape_dtype_range_and_constants(antialias):
    image = np.random.default_rng(0).random((33, 21, 3), dtype=np.float32)
    for size in ((8, 8), (64, 40), (33, 40)):
        resized = resize(image, size, antialias)
        assert resized.shape == (*size, 3) and resized.dtype == np.float32
        assert resized.min() >= 0 and resized.max() <= 1
        np.testing.assert_allclose(resize(np.full((33, 21), 0.25, np.float32), size, antialias), 0.25)
    assert resize(image, (33, 21), antialias) is image


def test_find_images_takes_files_folders_and_globs_in_order_without_doubles(tmp_path):
    names = ["b.PNG", "a.jpg", "deeper/c.tif", "notes.txt"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    expected = [tmp_path / name for name in ("a.jpg", "b.PNG", "deeper/c.tif")]
    assert find_images([tmp_path]) == expected
    assert find_images([f"{tmp_path}/*.PNG", tmp_path / "a.jpg", tmp_path]) == [
        tmp_path / "b.PNG",
        tmp_path / "a.jpg",
        tmp_path / "deeper/c.tif",
    ]


def test_find_images_understands_relative_globs(tmp_path, monkeypatch):
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "c.png").touch()
    monkeypatch.chdir(tmp_path)
    assert find_images(["**/*.png"]) == [Path("deeper/c.png")]
    assert find_images([os.path.join(".", "deeper")]) == [Path("deeper/c.png")]


def test_hidden_folders_and_those_of_systems_hold_no_pictures(tmp_path, monkeypatch):
    hidden = [
        ".Trash-0/files/a.png",
        ".ipynb_checkpoints/b.png",
        "line/@eaDir/c.png",
        "__MACOSX/d.png",
        "._e.png",
    ]
    for name in [*hidden, "line/good.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    good = tmp_path / "line" / "good.png"
    assert find_images([tmp_path]) == find_images([f"{tmp_path}/**/*.png"]) == [good]
    assert find_images([tmp_path / ".Trash-0"]) == [tmp_path / hidden[0]]  # named by the user, so meant
    assert find_images([f"{tmp_path}/.Trash-0/**/*.png"]) == [tmp_path / hidden[0]]
    monkeypatch.chdir(tmp_path / "line")
    assert find_images(["../line"]) == [Path("../line/good.png")]


def test_find_images_names_what_matches_nothing(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no picture"):
        find_images([tmp_path])
    with pytest.raises(FileNotFoundError, match=r"\*\.png` matches no file"):
        find_images([f"{tmp_path}/*.png"])
    with pytest.raises(FileNotFoundError, match=r"absent\.png` matches no file"):
        find_images([tmp_path / "absent.png"])


def test_hidden_files_in_a_folder_are_no_pictures(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "._a.png").write_bytes(b"what macOS leaves behind")
    assert find_images([tmp_path]) == [tmp_path / "a.png"]


def test_a_file_named_in_two_ways_counts_once(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    monkeypatch.chdir(tmp_path)
    assert find_images(["a.png", str(tmp_path)]) == [Path("a.png")]
