"""Foreground masks: the classical method, folders of masks, a matting model."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from synthetic_parts import disc

from training.synthesis.foreground import foreground_mask, foreground_source


def test_the_foreground_of_a_bright_disc_is_that_disc():
    rng = np.random.default_rng(0)
    for size in (128, 400):
        image = 0.2 + 0.5 * disc(size, 0.3) + rng.normal(0, 0.02, (size, size))
        mask = foreground_mask(np.repeat(image[..., None], 3, axis=-1).astype(np.float32))
        assert mask is not None and mask.shape == (size, size) and mask.dtype == bool
        assert (mask != disc(size, 0.3)).mean() < 0.02


def test_the_hole_of_a_ring_stays_open_and_a_reflection_is_closed():
    image = np.where(disc(128, 0.4) & ~disc(128, 0.15), 0.8, 0.2)
    mask = foreground_mask(np.repeat(image[..., None], 3, axis=-1).astype(np.float32))
    assert mask is not None and not mask[64, 64] and mask[64, 64 + 36]
    image = np.where(disc(128, 0.4) & ~disc(128, 0.03), 0.8, 0.2)
    mask = foreground_mask(np.repeat(image[..., None], 3, axis=-1).astype(np.float32))
    assert mask is not None and mask[64, 64]


def test_the_foreground_declines_where_there_is_no_object():
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 128)
    pictures = {
        "flat": np.full((128, 128), 0.5),
        "nearly flat": 0.5 + 0.02 * disc(128, 0.3),
        "noise": rng.random((128, 128)),
        "stripes": np.broadcast_to(np.sin(30 * x) > 0, (128, 128)),
        "uneven light": np.broadcast_to(np.exp(-3 * x**2), (128, 128)) * np.exp(-3 * x[:, None] ** 2),
        "speck": disc(128, 0.05),
        "too close": np.pad(np.ones((126, 126)), 1),
    }
    for name, grey in pictures.items():
        image = np.repeat(grey[..., None], 3, axis=-1).astype(np.float32)
        assert foreground_mask(image) is None, name


def test_a_dark_threaded_part_is_found_under_uneven_light():
    """Like a screw on a table: gaps of the background colour along its contour, a vignette around it."""
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    grey = 0.8 - 0.15 * (x**2 + y**2) + 0.05 * x
    shaft = (np.abs(x) < 0.12) & (np.abs(y) < 0.7)
    threads = (np.abs(x) < 0.2) & (np.abs(y) < 0.7) & (np.sin(40 * y + 8 * x) > 0.3)
    part = shaft | threads
    grey[part] = 0.3
    mask = foreground_mask(np.repeat(grey[..., None], 3, axis=-1).astype(np.float32))
    assert mask is not None
    assert mask[part].mean() > 0.9 and mask[~part & (np.abs(x) > 0.3)].mean() < 0.01


def test_foreground_masks_come_from_files(tmp_path: Path):
    Image.fromarray(disc(64)).convert("L").save(tmp_path / "001_mask.png")
    Image.fromarray((~disc(64)).astype(np.uint8)).save(tmp_path / "002.PNG")  # 0 and 1
    source = foreground_source(tmp_path)
    image = np.zeros((32, 32, 3), np.float32)
    assert (source(image, Path("train/good/001.jpg")) != disc(32)).mean() < 0.05
    assert (source(image, Path("train/good/002.jpg")) == disc(32)).mean() < 0.05
    with pytest.raises(ValueError, match=r"'003.png' or '003_mask.png'"):
        source(image, Path("003.jpg"))


def test_masks_of_several_categories_lie_in_folders_of_their_names(tmp_path: Path):
    paths = [Path(f"/data/{name}/train/good/000.png") for name in ("bottle", "cable")]
    flat, sorted_ = tmp_path / "flat", tmp_path / "sorted"
    for folder in (flat, sorted_ / "bottle", sorted_ / "cable/train/good"):
        folder.mkdir(parents=True)
    Image.fromarray(disc(64)).convert("L").save(flat / "000.png")
    Image.fromarray(disc(64)).convert("L").save(sorted_ / "bottle/000_mask.png")
    Image.fromarray(~disc(64)).convert("L").save(sorted_ / "cable/train/good/000.png")
    image = np.zeros((64, 64, 3), np.float32)
    source = foreground_source(sorted_)
    source.check(paths)
    assert np.array_equal(source(image, paths[0]), disc(64))
    assert np.array_equal(source(image, paths[1]), ~disc(64))
    with pytest.raises(ValueError, match="is the mask of both"):
        foreground_source(flat).check(paths)
    with pytest.raises(ValueError, match=r"no mask for '001.png', .* and 2 more"):
        foreground_source(flat).check([Path(f"/data/bottle/{i:03d}.png") for i in range(8)])


def test_foreground_sources_are_chosen_by_name():
    image = np.repeat(disc(64)[..., None], 3, axis=-1).astype(np.float32)
    assert foreground_source("none")(image, Path("a.png")) is None
    assert np.array_equal(foreground_source("classical")(image, Path("a.png")), foreground_mask(image))
    with pytest.raises(ValueError, match="classical, rembg, none"):
        foreground_source("clasical")


def test_a_missing_matting_model_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(ValueError, match="pip install rembg"):
        foreground_source("rembg")


def test_the_matting_model_is_asked_for_a_mask_and_doubted_where_it_sees_nothing(monkeypatch):
    """A stand-in for rembg, whose weights are not here: it returns the channel that the real one would."""
    asked = []

    def remove(picture: Image.Image, session: str, only_mask: bool) -> Image.Image:
        asked.append((picture.mode, session, only_mask))
        return picture.getchannel("R")

    stand_in = SimpleNamespace(new_session=lambda name: name, remove=remove)
    monkeypatch.setitem(sys.modules, "rembg", stand_in)
    source = foreground_source("rembg")
    image = np.repeat(disc(64)[..., None], 3, axis=-1).astype(np.float32)
    assert np.array_equal(source(image, Path("a.png")), disc(64))
    assert source(np.zeros_like(image), Path("b.png")) is None
    assert asked[0] == ("RGB", "isnet-general-use", True)
