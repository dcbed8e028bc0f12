"""Masks of every kind that data sets are published with."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from training.data.masks import read_mask, resize_mask

TRUE = np.zeros((9, 12), bool)
TRUE[4, 2:9] = True


def palette(values: np.ndarray) -> Image.Image:
    picture = Image.fromarray(values.astype(np.uint8), mode="P")
    picture.putpalette([0, 0, 0, 128, 0, 0])
    return picture


def with_alpha(values: np.ndarray) -> Image.Image:
    grey = Image.fromarray((values * 255).astype(np.uint8))
    return Image.merge("RGBA", [grey, grey, grey, Image.new("L", grey.size, 255)])


@pytest.mark.parametrize(
    "make",
    [
        lambda m: Image.fromarray((m * 255).astype(np.uint8)),
        lambda m: Image.fromarray(m.astype(np.uint8)),  # VisA
        lambda m: Image.fromarray(m.astype(np.uint16)),
        lambda m: Image.fromarray(m),  # one bit
        palette,
        with_alpha,
    ],
    ids=["0 and 255", "0 and 1", "16 bits", "one bit", "palette", "opaque RGBA"],
)
def test_whatever_is_not_black_is_anomalous(tmp_path: Path, make) -> None:
    make(TRUE).save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), TRUE)


def test_the_ringing_of_a_jpeg_is_not_anomalous(tmp_path: Path) -> None:
    true = np.zeros((64, 64), bool)
    true[21:43, 21:43] = True
    Image.fromarray((true * 255).astype(np.uint8)).save(tmp_path / "mask.jpg", quality=75)
    assert (np.asarray(Image.open(tmp_path / "mask.jpg")) > 0).sum() > true.sum()
    assert np.array_equal(read_mask(tmp_path / "mask.jpg"), true)


def test_a_mask_of_another_size_or_a_broken_one_is_named(tmp_path: Path) -> None:
    Image.fromarray(TRUE).save(tmp_path / "mask.png")
    with pytest.raises(ValueError, match=r"mask.png` is 12 x 9, its picture 12 x 10"):
        read_mask(tmp_path / "mask.png", (10, 12))
    (tmp_path / "broken.png").write_bytes((tmp_path / "mask.png").read_bytes()[:40])
    with pytest.raises(ValueError, match=r"broken.png` cannot be read as a mask"):
        read_mask(tmp_path / "broken.png")


def test_a_thin_crack_stays_whole_when_it_is_shrunk() -> None:
    mask = np.zeros((512, 640), bool)
    mask[np.arange(500), 100 + np.arange(500)] = True
    small = resize_mask(mask, (64, 64))
    rows = np.arange(500) * 64 // 512
    assert small[rows, (100 + np.arange(500)) * 64 // 640].all()
    assert not resize_mask(np.zeros((512, 640), bool), (64, 64)).any()
