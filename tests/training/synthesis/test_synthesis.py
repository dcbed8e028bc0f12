"""Synthetic samples: what every family keeps to, the paper's formula, the settings."""

import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from synthetic_parts import SIZE, defective, disc

from training.synthesis.anomalies import FAMILIES, SynthesisConfig, blend, shuffle_tiles, synthesize
from training.synthesis.defects import VISIBLE
from training.synthesis.textures import TextureBank


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
