"""Synthetic anomalies: training.synthesis.anomalies, .defects, .perlin, .textures, .foreground."""

import dataclasses
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from diffusionad.cli.options import run
from training.cli import preview_command
from training.config.loader import load_config
from training.synthesis import perlin
from training.synthesis.anomalies import (
    FAMILIES,
    SynthesisConfig,
    blend,
    draw_contrast,
    shuffle_tiles,
    synthesize,
)
from training.synthesis.augmentations import AUGMENTATIONS, augment
from training.synthesis.cut_paste import harmonic
from training.synthesis.defects import VISIBLE, chip, keep_visible
from training.synthesis.foreground import foreground_mask, foreground_source
from training.synthesis.perlin import perlin_mask, perlin_noise
from training.synthesis.textures import TextureBank, procedural_kinds

SIZE = 96


@pytest.fixture(scope="module")
def bank() -> TextureBank:
    return TextureBank(None, SIZE)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A grained bright disc on a dark ground with a slope of light, so that its parts differ."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    image = 0.15 + 0.4 * disc() + 0.2 * x * disc() + 0.1 * (np.sin(40 * y) > 0) * disc()
    image = image[..., None] * [1.0, 0.9, 0.8] + rng.normal(0, 0.01, (SIZE, SIZE, 3))
    return np.clip(image, 0, 1).astype(np.float32)


def disc(size: int = SIZE, radius: float = 0.35) -> np.ndarray:
    y, x = np.mgrid[:size, :size] / size - 0.5
    return np.hypot(y, x) < radius


def defective(family: str, **options) -> SynthesisConfig:
    return SynthesisConfig(probability=1, families=(family,), **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_generator_state_gives_the_same_sample(family, picture, bank):
    first, second = (
        synthesize(picture, np.random.default_rng(3), defective(family), TextureBank(None, SIZE), disc())
        for _ in range(2)
    )
    other = synthesize(picture, np.random.default_rng(4), defective(family), bank, disc())
    assert np.array_equal(first.image, second.image) and np.array_equal(first.mask, second.mask)
    assert not np.array_equal(first.image, other.image)


@pytest.mark.parametrize("kind", ["object", "texture"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_defect_has_a_binary_mask_and_a_picture_in_range(family, kind, picture, bank):
    rng = np.random.default_rng(0)
    before = picture.copy()
    for _ in range(15):
        sample = synthesize(picture, rng, defective(family, kind=kind), bank, disc())
        assert sample.image.dtype == sample.mask.dtype == np.float32
        assert sample.image.shape == (SIZE, SIZE, 3) and sample.mask.shape == (SIZE, SIZE)
        assert sample.image.min() >= 0 and sample.image.max() <= 1
        assert set(np.unique(sample.mask)) <= {0, 1} and sample.mask.any()
        assert sample.label == 1 and sample.family in (family, "perlin")
        assert not np.array_equal(sample.image, picture)
    assert np.array_equal(picture, before)


@pytest.mark.parametrize("family", ["scratch", "shading", "dots", "chip", "patch", "poisson"])
def test_a_family_places_its_own_defect_where_it_can(family, picture, bank):
    rng = np.random.default_rng(0)
    samples = [synthesize(picture, rng, defective(family), bank, disc()) for _ in range(15)]
    assert {sample.family for sample in samples} == {family}


@pytest.mark.parametrize("family", ["perlin", "scratch", "dots", "chip", "patch"])
@pytest.mark.parametrize("options", [{}, {"visible_only": True, "opacity_min": 0.79}], ids=["", "visible"])
def test_the_picture_is_unchanged_outside_the_mask(family, options, picture, bank):
    rng = np.random.default_rng(1)
    for _ in range(40):
        sample = synthesize(picture, rng, defective(family, **options), bank, disc())
        assert np.array_equal(sample.image[sample.mask == 0], picture[sample.mask == 0])


@pytest.mark.parametrize("family", ["perlin", "scratch", "shading", "dots", "chip"])
def test_the_mask_holds_visible_changes_only(family, picture, bank):
    rng = np.random.default_rng(2)
    for _ in range(15):
        sample = synthesize(picture, rng, defective(family, visible_only=True), bank, disc())
        change = np.abs(sample.image - picture).max(axis=-1)
        assert change[sample.mask == 1].min() >= VISIBLE - 1e-6


def test_shading_fades_out_without_an_edge(bank):
    grey = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    rng = np.random.default_rng(0)
    for _ in range(10):
        sample = synthesize(grey, rng, defective("shading", contrast_min_levels=64), bank)
        change = np.abs(sample.image - grey)[..., 0]
        steps = np.maximum(np.abs(np.diff(change, axis=0)).max(), np.abs(np.diff(change, axis=1)).max())
        assert change.max() > 60 / 255 and steps < 0.25 * change.max()
        assert change[sample.mask == 1].min() > 0.32 * change.max()
        assert change[sample.mask == 0].max() < 0.35 * change.max()


def test_the_contrast_keeps_within_its_bounds(bank):
    grey = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    rng = np.random.default_rng(0)
    config = SynthesisConfig(
        probability=1,
        families=("scratch", "shading", "dots"),
        contrast_min_levels=8,
        contrast_max_levels=32,
    )
    peaks = [255 * np.abs(synthesize(grey, rng, config, bank).image - grey).max() for _ in range(120)]
    assert max(peaks) <= 32.01 and min(peaks) < 10 and np.median(peaks) < 20


def test_thin_defects_stand_out_from_the_grain(bank):
    rng = np.random.default_rng(0)
    noise = rng.normal(0.5, 0.05, (SIZE, SIZE, 1)).clip(0, 1)
    grained = noise.repeat(3, axis=-1).astype(np.float32)
    config = SynthesisConfig(
        probability=1, families=("scratch", "dots"), contrast_min_levels=8, contrast_max_levels=8
    )
    peaks = [np.abs(synthesize(grained, rng, config, bank).image - grained).max() for _ in range(40)]
    assert np.median(peaks) > 0.07 and max(peaks) < 0.13  # 8 levels would be 0.031


def test_coarse_grain_raises_the_contrast_and_some_defects_darken():
    rng = np.random.default_rng(0)
    noise = rng.normal(0.5, 0.05, (SIZE, SIZE, 1)).clip(0, 1).repeat(3, axis=-1).astype(np.float32)
    config = SynthesisConfig(contrast_min_levels=2, contrast_max_levels=2, contrast_max_grains=8)
    drawn = np.array([draw_contrast(noise, config, rng) for _ in range(400)])
    assert 0.36 < np.abs(drawn).max() < 0.44  # 8 x 0.05; 2 levels would be 0.008
    assert 0.4 < (drawn < 0).mean() < 0.6
    darkening = dataclasses.replace(config, dark_probability=1.0)
    assert all(draw_contrast(noise, darkening, rng) < 0 for _ in range(20))


def test_what_does_not_stand_out_from_the_grain_is_taken_back():
    rng = np.random.default_rng(0)
    image = rng.normal(0.5, 0.05, (SIZE, SIZE, 1)).clip(0, 1).repeat(3, axis=-1).astype(np.float32)
    mask = np.zeros((SIZE, SIZE), bool)
    mask[10:20, 10:20] = mask[40:44, 40:44] = True
    delta = np.zeros_like(image)
    delta[10:20, 10:20], delta[40:44, 40:44] = -0.2, 0.01
    damaged, kept = keep_visible(image, image + delta, mask, sigma=5)
    assert kept[10:20, 10:20].all() and kept.sum() == 100
    assert np.array_equal(damaged[40:44, 40:44], image[40:44, 40:44])
    assert np.array_equal(damaged[kept], (image + delta)[kept])
    assert keep_visible(image, image + delta, mask, sigma=100) is None


@pytest.mark.parametrize("side", [64, 128, 256])
def test_a_spot_is_as_visible_in_a_small_picture_as_in_a_large_one(side: int):
    noise = np.random.default_rng(0).normal(0.5, 0.05, (side, side, 1))
    image = noise.clip(0, 1).repeat(3, axis=-1).astype(np.float32)
    row, column = np.ogrid[:side, :side]
    mask = np.hypot(row - side / 2, column - side / 2) < side / 32
    damaged = np.where(mask[..., None], image - np.float32(0.25), image)
    assert keep_visible(image, damaged, mask, sigma=8) is not None
    assert keep_visible(image, damaged, mask, sigma=18) is None


def test_plain_defects_come_first():
    config = SynthesisConfig(visible_sigma=8, visible_sigma_start=20, easy_samples=1000)
    limits = [config.after(samples).visible_sigma for samples in (0, 500, 1000, 5000)]
    assert limits == [20, 14, 8, 8]
    assert SynthesisConfig(visible_sigma=8).after(0).visible_sigma == 8
    with pytest.raises(ValueError, match="harder to see"):
        SynthesisConfig(visible_sigma=8, visible_sigma_start=5)


def test_a_spot_beside_an_edge_is_seen_against_the_surface_that_it_lies_on():
    rng = np.random.default_rng(0)
    image = rng.normal(0.6, 0.02, (128, 128, 1)).clip(0, 1).repeat(3, axis=-1).astype(np.float32)
    image[:, :5] = 0.1  # beside the part
    mask = np.zeros((128, 128), bool)
    mask[60:66, 7:13] = True
    damaged = np.where(mask[..., None], image - np.float32(0.12), image)
    _, kept = keep_visible(image, damaged, mask, sigma=8)
    assert np.array_equal(kept, mask)


def test_a_patch_is_no_stronger_than_the_contrast(bank):
    halves = np.full((SIZE, SIZE, 3), 0.2, np.float32)
    halves[:, SIZE // 2 :] = 0.8
    rng = np.random.default_rng(0)
    config = defective("patch", contrast_min_levels=16, contrast_max_levels=16)
    samples = [synthesize(halves, rng, config, bank) for _ in range(40)]
    peaks = [np.abs(sample.image - halves).max() for sample in samples if sample.family == "patch"]
    assert len(peaks) > 20 and np.median(peaks) == pytest.approx(16 / 255, abs=0.02)


def test_a_poisson_patch_keeps_the_gradients_of_the_piece_and_the_border_of_the_place():
    rng = np.random.default_rng(0)
    piece, place = rng.random((2, 23, 31, 3), dtype=np.float32)
    blended = piece - harmonic(piece - place)
    for border in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        assert np.allclose(blended[border], place[border], atol=1e-5)
    laplace = [np.diff(x, 2, axis=0)[:, 1:-1] + np.diff(x, 2, axis=1)[1:-1] for x in (blended, piece)]
    assert np.allclose(*laplace, atol=1e-4)
    assert not np.allclose(blended, place, atol=0.1)


def test_a_poisson_patch_has_no_edge(picture, bank):
    x = np.linspace(0.2, 0.8, SIZE, dtype=np.float32)
    waves = 0.5 + 0.2 * np.sin(60 * x) * x[:, None] + 0.2 * x
    smooth = np.repeat(waves[..., None], 3, axis=-1).astype(np.float32)
    steepest = max(np.abs(np.diff(smooth, axis=axis)).max() for axis in (0, 1))
    rng = np.random.default_rng(0)
    samples = [synthesize(smooth, rng, defective("poisson"), bank) for _ in range(20)]
    changes = [s.image - smooth for s in samples if s.family == "poisson"]
    assert len(changes) > 10
    for change in changes:
        step = max(np.abs(np.diff(change, axis=axis)).max() for axis in (0, 1))
        assert step < 2.1 * steepest / 0.7 and np.abs(change).max() > 6 / 255


def test_a_patch_of_one_texture_on_itself_is_no_defect(bank):
    grained = np.random.default_rng(0).normal(0.5, 0.1, (SIZE, SIZE, 1)).clip(0, 1)
    rng = np.random.default_rng(0)
    samples = [
        synthesize(grained.repeat(3, -1).astype("f4"), rng, defective("patch"), bank) for _ in range(20)
    ]
    assert {sample.family for sample in samples} == {"perlin"}


def test_the_families_are_drawn_evenly(picture, bank):
    rng = np.random.default_rng(0)
    config = SynthesisConfig(probability=1, families=("perlin", "dots", "scratch"))
    drawn = [synthesize(picture, rng, config, bank).family for _ in range(150)]
    assert all(30 < drawn.count(family) < 70 for family in config.families)


def test_about_half_of_the_samples_stay_normal(picture, bank):
    rng = np.random.default_rng(0)
    samples = [synthesize(picture, rng, SynthesisConfig(), bank) for _ in range(400)]
    normal = [sample for sample in samples if sample.label == 0]
    assert 160 < len(normal) < 240
    assert all(np.array_equal(s.image, picture) and not s.mask.any() and s.family is None for s in normal)
    rare = [synthesize(picture, rng, SynthesisConfig(probability=0.1), bank).label for _ in range(400)]
    assert 20 < sum(rare) < 65


@pytest.mark.parametrize("family", FAMILIES)
def test_the_foreground_restricts_the_mask_of_an_object(family, picture, bank):
    rng = np.random.default_rng(5)
    for _ in range(15):
        sample = synthesize(picture, rng, defective(family), bank, disc(radius=0.2))
        assert sample.mask.any() and not sample.mask[~disc(radius=0.2)].any()


def test_a_single_foreground_pixel_still_gets_a_defect(picture, bank):
    foreground = np.zeros((SIZE, SIZE), bool)
    foreground[0, 0] = True  # where rotation leaves no noise: only the fallback gets there
    sample = synthesize(picture, np.random.default_rng(0), defective("perlin"), bank, foreground)
    assert sample.family == "perlin" and sample.mask.sum() == 1 and sample.mask[0, 0] == 1


def test_a_picture_beside_the_object_stays_normal(picture, bank):
    nothing = np.zeros((SIZE, SIZE), bool)
    assert synthesize(picture, np.random.default_rng(0), defective("perlin"), bank, nothing).label == 0


def test_a_texture_disregards_the_foreground(picture, bank):
    rng = np.random.default_rng(0)
    config = defective("perlin", kind="texture")
    masks = sum(synthesize(picture, rng, config, bank, disc(radius=0.1)).mask for _ in range(40))
    assert masks[~disc(radius=0.1)].sum() > 0.5 * masks.sum()


def test_an_object_that_fills_the_picture_is_chipped_at_the_frame(bank):
    rng = np.random.default_rng(0)
    grainy = rng.normal(0.5, 0.05, (SIZE, SIZE, 1)).clip(0, 1).astype(np.float32).repeat(3, axis=2)
    for _ in range(15):
        sample = synthesize(grainy, rng, defective("chip"), bank)
        mask = sample.mask > 0
        assert sample.family == "chip" and mask.mean() < 0.1
        assert mask[[0, -1]].any() or mask[:, [0, -1]].any()
        if mask.sum() > 50:  # half of the grain, and another level
            assert sample.image[mask].std() < 0.6 * grainy[mask].std()
            assert abs(sample.image[mask].mean() - grainy[mask].mean()) > 0.05


def test_a_strip_along_the_frame_grows_into_the_part():
    image = np.full((128, 128, 3), 0.7, np.float32)
    image[:, :4] = 0.2
    rng = np.random.default_rng(0)
    chips = [chip(image, np.ones((128, 128), bool), contrast=-0.6, rng=rng) for _ in range(120)]
    grown = [mask for after, mask in chips if np.allclose(after[mask], 0.2)]
    assert len(grown) > 8  # a quarter of them lies at that side, large enough for a strip to show
    for mask in grown:
        assert mask[:, 4:20].any() and not mask[:, :4].any() and not mask[:, 25:].any()


def test_a_chip_lies_at_the_border_of_the_object(picture, bank):
    rng = np.random.default_rng(0)
    for _ in range(15):
        sample = synthesize(picture, rng, defective("chip"), bank, disc())
        assert sample.mask[~disc(radius=0.31)].any()
        assert not sample.mask[disc(radius=0.1)].any()


def test_an_invisible_paste_is_replaced_by_a_visible_one(picture, bank):
    config = defective("perlin", visible_only=True, opacity_min=0.9999, opacity_max=0.9999)
    for seed in range(5):
        sample = synthesize(picture, np.random.default_rng(seed), config, bank)
        change = np.abs(sample.image - picture).min(axis=-1)[sample.mask == 1]
        assert sample.family == "blot" and sample.mask.any() and change.min() > 0.2
        assert sample.image.min() >= 0 and sample.image.max() <= 1


def test_blending_follows_the_formula():
    image = np.full((4, 4, 3), 0.8, np.float32)
    source = np.full((4, 4, 3), 51, np.uint8)  # 0.2
    mask = np.zeros((4, 4), bool)
    mask[1, 2] = True
    blended = blend(image, source, mask, beta=0.25)
    assert blended[1, 2] == pytest.approx([0.25 * 0.8 + 0.75 * 0.2] * 3)
    assert np.array_equal(blended[~mask], image[~mask])


def test_the_opacity_is_that_of_the_config(bank):
    """With beta = 0 the paste on black and on white is the same; with beta = 0.5 half of either remains."""
    for beta in (0.0, 0.5):
        config = defective("perlin", kind="texture", opacity_min=beta, opacity_max=beta)
        black, white = (
            synthesize(np.full((SIZE, SIZE, 3), value, np.float32), np.random.default_rng(1), config, bank)
            for value in (0.0, 1.0)
        )
        inside = black.mask == 1
        assert (white.image - black.image)[inside] == pytest.approx(beta, abs=1e-6)


def test_shuffling_permutes_the_tiles():
    picture = np.random.default_rng(0).integers(0, 256, (64, 128, 3), dtype=np.uint8)
    shuffled = shuffle_tiles(picture, np.random.default_rng(1))

    def tiles(array: np.ndarray) -> list[bytes]:
        return [array[y : y + 8, x : x + 16].tobytes() for y in range(0, 64, 8) for x in range(0, 128, 16)]

    assert sorted(tiles(shuffled)) == sorted(tiles(picture)) and tiles(shuffled) != tiles(picture)


def test_shuffling_leaves_the_rest_of_an_uneven_size_in_place():
    picture = np.random.default_rng(0).integers(0, 256, (67, 70, 3), dtype=np.uint8)
    shuffled = shuffle_tiles(picture, np.random.default_rng(1))
    assert shuffled.shape == picture.shape
    assert np.array_equal(shuffled[64:], picture[64:]) and np.array_equal(shuffled[:, 64:], picture[:, 64:])


def test_only_objects_are_shuffled(picture, bank, monkeypatch):
    shuffles = []
    monkeypatch.setattr(
        "training.synthesis.anomalies.shuffle_tiles", lambda own, rng: shuffles.append(1) or own
    )
    for kind in ("texture", "object"):
        shuffles.clear()
        rng = np.random.default_rng(0)
        for _ in range(100):
            synthesize(picture, rng, defective("perlin", kind=kind), bank, disc())
        assert 30 < len(shuffles) < 70 if kind == "object" else not shuffles


def test_perlin_scales_are_the_six_powers_of_two_independently(monkeypatch):
    drawn = []

    def spy(height, width, scale_y, scale_x, rng):
        drawn.append((scale_y, scale_x))
        return perlin_noise(height, width, scale_y, scale_x, rng)

    monkeypatch.setattr(perlin, "perlin_noise", spy)
    rng = np.random.default_rng(0)
    for _ in range(600):
        perlin_mask(32, 32, rng)
    assert set(drawn) == {(2**y, 2**x) for y in range(6) for x in range(6)}


def test_perlin_noise_equals_its_definition():
    height, width, scale_y, scale_x = 12, 20, 3, 4
    noise = perlin_noise(height, width, scale_y, scale_x, np.random.default_rng(5))
    angle = np.random.default_rng(5).uniform(0, 2 * np.pi, (scale_y + 1, scale_x + 1))

    def fade(t: float) -> float:
        return 6 * t**5 - 15 * t**4 + 10 * t**3

    for row, column in [(0, 0), (1, 3), (5, 7), (11, 19)]:
        y, x = row * scale_y / height, column * scale_x / width
        i, j = int(y), int(x)
        expected = 0.0
        for a in (0, 1):
            for b in (0, 1):
                ramp = np.sin(angle[i + a, j + b]) * (y - i - a) + np.cos(angle[i + a, j + b]) * (x - j - b)
                weight_y, weight_x = fade(y - i), fade(x - j)
                expected += (weight_y if a else 1 - weight_y) * (weight_x if b else 1 - weight_x) * ramp
        assert noise[row, column] == pytest.approx(np.sqrt(2) * expected, abs=1e-5)
    assert noise.dtype == np.float32


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"probability": 1.5}, "`probability` is 1.5"),
        ({"kind": "thing"}, "auto, object, texture"),
        ({"families": ("perlin", "scrach")}, "perlin, scratch"),
        ({"families": ()}, "`families`"),
        ({"families": "perlin"}, "`families` is 'perlin'"),
        ({"opacity_min": 0.9}, "`opacity_max`"),
        ({"opacity_max": 1.0}, "less than 1"),
        ({"perlin_scale_log2_max": 9}, "between 0 and 8"),
        ({"perlin_threshold": 1.0}, "`perlin_threshold`"),
        ({"contrast_min_levels": 200.0}, "`contrast_max_levels`"),
    ],
)
def test_a_wrong_config_is_refused_by_name(options, names):
    with pytest.raises(ValueError) as error:
        SynthesisConfig(**options)
    assert names in str(error.value)


def test_the_bank_renders_its_textures_without_a_network(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    bank, rng = TextureBank(None, 32), np.random.default_rng(0)
    textures = [bank.draw(rng) for _ in range(100)]
    assert all(t.shape == (32, 32, 3) and t.dtype == np.float32 for t in textures)
    assert min(t.min() for t in textures) >= 0 and max(t.max() for t in textures) <= 1
    assert len({t.tobytes() for t in textures}) > 95
    assert len({kind.__name__ for kind in procedural_kinds()}) >= 8


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


def preview(words: list[str]) -> int:
    return run(preview_command, words, "preview")


def test_the_sheet_shows_what_a_preset_trains_on(tmp_path: Path, picture, capsys, monkeypatch):
    timed = []
    monkeypatch.setattr(
        "training.synthesis.preview.samples_per_second",
        lambda crops, config, textures: timed.append(config) or 1,
    )
    for i in range(2):
        (tmp_path / f"cup{i}/train/good").mkdir(parents=True)
        Image.fromarray((255 * picture).astype(np.uint8)).save(tmp_path / f"cup{i}/train/good/0.png")
    sheet = ["--output", str(tmp_path / "sheet.png"), "--size", "64", "--count", "2", "--preset", "tiny"]
    sheet += ["--textures", str(tmp_path)]
    assert preview(["--data", str(tmp_path), "--category", "cup1", "--benchmark", *sheet]) == 0
    tiny = load_config("tiny").synthesis
    assert timed[:-1] == [dataclasses.replace(tiny, probability=1, families=(n,)) for n in tiny.families]
    assert timed[-1] == tiny  # half of the samples normal, as in training
    preset = tmp_path / "mine.toml"
    preset.write_text(
        f'extends = "tiny"\n[data]\nforeground = "none"\ntexture_folder = "{tmp_path}/nothing"\n'
    )
    words = ["--data", str(tmp_path / "cup0"), "--output", str(tmp_path / "a.png"), "--preset", str(preset)]
    assert preview(words) == 2
    assert f"{tmp_path}/nothing" in capsys.readouterr().err  # the preset's own textures
    assert preview(["--data", str(tmp_path), *sheet]) == 2
    assert "holds 2 categories; choose with `category` one of cup0, cup1" in capsys.readouterr().err


def test_the_command_writes_a_contact_sheet(tmp_path: Path, picture, capsys):
    Image.fromarray((255 * picture).astype(np.uint8)).save(tmp_path / "good.png")
    sheet = tmp_path / "sheet.png"
    families = ",".join(FAMILIES)
    words = ["--data", str(tmp_path), "--output", str(sheet), "--count", "5", "--size", "64"]
    assert preview([*words, "--families", families]) == 0
    with Image.open(sheet) as opened:
        assert opened.size == (4 * (3 * 64 + 16), 2 * (14 + 64 + 4))
    assert "foreground found in 1 of 1" in capsys.readouterr().out
    assert preview(["--data", str(tmp_path)]) == 2


def test_the_synthesis_keeps_up_with_training(tmp_path: Path):
    """A lenient bound for busy machines: 100 samples a second at 256 pixels, in the best of three rounds."""
    rng = np.random.default_rng(0)
    image = rng.random((256, 256, 3), dtype=np.float32)
    Image.fromarray((255 * image).astype(np.uint8)).save(tmp_path / "texture.png")
    bank = TextureBank(tmp_path, 256)
    rates = []
    for _ in range(3):
        start = time.process_time()
        for _ in range(30):
            synthesize(image, rng, defective("perlin"), bank, disc(256))
        rates.append(30 / (time.process_time() - start))
    assert max(rates) > 100
