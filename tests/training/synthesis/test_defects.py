"""Families of defects beyond the paper, and what makes a defect visible."""

import dataclasses

import numpy as np
import pytest
from synthetic_parts import SIZE, defective, disc

from training.synthesis.anomalies import SynthesisConfig, draw_contrast, synthesize
from training.synthesis.cut_paste import harmonic
from training.synthesis.defects import chip, keep_visible


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
