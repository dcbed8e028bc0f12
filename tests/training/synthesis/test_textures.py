"""The texture bank and the augmentations."""

import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_parts import SIZE, defective

from training.synthesis.anomalies import synthesize
from training.synthesis.augmentations import AUGMENTATIONS, augment
from training.synthesis.textures import PROCEDURAL_COUNT, TextureBank, surfaces


def test_the_bank_renders_its_textures_without_a_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    bank, rng = TextureBank(None, 32), np.random.default_rng(0)
    textures = [bank.draw(rng) for _ in range(100)]
    assert all(t.shape == (32, 32, 3) and t.dtype == np.float32 for t in textures)
    assert min(t.min() for t in textures) >= 0 and max(t.max() for t in textures) <= 1
    assert len({t.tobytes() for t in textures}) > 95


def test_photographed_surfaces_are_shipped_and_seamless_when_repeated():
    found = surfaces()
    assert len(found) >= 500 and {surface.size for surface in found} == {(128, 128)}
    assert len(TextureBank(None, 32)) == len(found) + PROCEDURAL_COUNT
    assert TextureBank(None, 300)._texture(0).size == (375, 375)  # larger than a surface
    pictures = [np.asarray(surface, np.float32) for surface in found]
    seams = [np.abs(p[:, 0] - p[:, -1]).mean() / (np.abs(np.diff(p, axis=1)).mean() + 1) for p in pictures]
    assert np.median(seams) < 2


def test_the_bank_takes_the_pictures_of_a_folder(tmp_path: Path):
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (50, 30), (255, 0, 0)).save(tmp_path / "deep" / "red.png")
    Image.new("L", (200, 300), 128).save(tmp_path / "grey.jpg")
    bank, rng = TextureBank(tmp_path, 40), np.random.default_rng(0)
    colours = {
        tuple((255 * bank.draw(rng)).mean(axis=(0, 1)).round().astype(int).tolist()) for _ in range(20)
    }
    assert len(bank) == 2 and colours == {(255, 0, 0), (128, 128, 128)}
    with pytest.raises(ValueError, match="is no folder"):
        TextureBank(tmp_path / "missing", 40)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no picture"):
        TextureBank(tmp_path / "empty", 40)


def test_a_texture_of_another_size_is_fitted_to_the_picture(bank):
    wide = np.full((48, 80, 3), 0.5, np.float32)
    sample = synthesize(wide, np.random.default_rng(0), defective("perlin", kind="texture"), bank)
    assert sample.image.shape == (48, 80, 3) and sample.mask.any()


@pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda function: function.__name__)
def test_an_augmentation_keeps_size_and_mode_and_changes_the_picture(augmentation):
    rng = np.random.default_rng(0)
    texture = Image.fromarray(rng.integers(60, 160, (24, 32, 3), dtype=np.uint8))
    results = [augmentation(texture, rng) for _ in range(8)]
    assert all(result.size == texture.size and result.mode == "RGB" for result in results)
    assert any(result.tobytes() != texture.tobytes() for result in results)


def test_a_rotated_texture_has_no_empty_corner():
    white = Image.new("RGB", (60, 40), "white")
    rotation = next(function for function in AUGMENTATIONS if "rotation" in function.__name__)
    rng = np.random.default_rng(0)
    assert min(np.asarray(rotation(white, rng)).min() for _ in range(50)) == 255


def test_three_different_augmentations_are_applied(monkeypatch):
    applied = []
    spies = tuple(lambda picture, rng, name=name: applied.append(name) or picture for name in range(10))
    monkeypatch.setattr("training.synthesis.augmentations.AUGMENTATIONS", spies)
    for seed in range(20):
        applied.clear()
        augment(Image.new("RGB", (8, 8)), np.random.default_rng(seed))
        assert len(applied) == len(set(applied)) == 3


def test_grey_pictures_get_grey_textures_when_asked(bank):
    grey = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    for follows in (True, False):
        config = defective("perlin", grey_follows_picture=follows)
        rng = np.random.default_rng(0)
        images = [synthesize(grey, rng, config, bank).image for _ in range(10)]
        assert follows == all(np.allclose(image[..., 0], image[..., 1], atol=1e-6) for image in images)
