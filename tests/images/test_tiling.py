"""Pictures cut into tiles: the geometry, the blending, and the pipeline that looks tile by tile."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from diffusionad import DiffusionADPipeline, calibrate
from diffusionad.images.image_io import ImageError, resize
from diffusionad.images.tiling import TiledPicture, Tiling, model_size, tile_starts, tile_weights
from diffusionad.postprocessing.scoring import top_mean

LENGTHS = [(side, side + extra) for side in (1, 2, 7, 8, 64, 256) for extra in (0, 1, 5, 17, 100, 999)]
# Where the overlap is just an eighth, or a pixel more is needed; and tiles so large that weights get small.
LENGTHS += [(64, 120), (64, 121), (256, 480), (256, 481), (2048, 2060), (16384, 16500)]
SIZES = [(64, 64), (64, 65), (65, 121), (120, 120), (121, 64), (300, 77), (128, 500)]


# Geometry


@pytest.mark.parametrize(("side", "length"), LENGTHS)
def test_tiles_cover_every_pixel_evenly_and_overlap_by_an_eighth(side, length):
    starts = tile_starts(length, side)
    assert starts[0] == 0 and starts[-1] + side == length
    strides = np.diff(starts)
    if len(starts) > 1:
        assert strides.max() - strides.min() <= 1
        # A tile of one pixel cannot overlap.
        assert side == 1 or side - strides.max() >= side / 8
    fewer = side + (len(starts) - 2) * max(1, side - math.ceil(side / 8))
    assert len(starts) == 1 or fewer < length, "one tile less would do"


@pytest.mark.parametrize("size", SIZES)
def test_windows_lie_inside_and_cover_the_picture(size):
    tiling = Tiling(size, 64)
    covered = np.zeros(size, int)
    for i in range(len(tiling)):
        rows, columns = tiling.window(i)
        assert covered[rows, columns].shape == (64, 64)
        covered[rows, columns] += 1
    assert covered.min() >= 1
    assert (len(tiling) == 1) == (size == (64, 64))


@pytest.mark.parametrize(
    ("size", "shorter_side", "expected"),
    [
        ((64, 64), None, (64, 64)),
        ((100, 300), None, (100, 300)),
        ((32, 100), None, (64, 200)),
        ((8, 64), None, (64, 512)),
        ((640, 1280), 128, (128, 256)),
        ((1280, 641), 128, (256, 128)),
        ((40, 60), 128, (128, 192)),
        ((1000, 999), 64, (64, 64)),
        ((10_001, 10_000), 9000, (9001, 9000)),
    ],
)
def test_pictures_keep_their_shape_and_reach_the_tile(size, shorter_side, expected):
    assert model_size(size, 64, "tile", shorter_side, "x") == expected
    assert model_size(size, 64, "stretch", None, "x") == (64, 64)


def test_a_strip_that_would_fill_the_memory_is_refused_by_name():
    with pytest.raises(ImageError, match=r"`strip\.png` is 100000 x 8 .* 256 = 819 megapixels; .*89: crop"):
        model_size((8, 100_000), 256, "tile", None, "`strip.png`")


# Blending


@pytest.mark.parametrize(("side", "length"), LENGTHS)
def test_the_weights_of_a_pixel_are_positive_and_sum_to_exactly_one(side, length):
    starts = tile_starts(length, side)
    weights = tile_weights(starts, side)
    assert weights.dtype == np.float32 and weights.shape == (len(starts), side)
    assert weights.min() > 0
    total = np.zeros(length, np.float32)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + side] += weight
    assert (total == 1).all()


def test_weights_fall_towards_neighbours_only():
    for starts in ([0, 40], [0, 50, 100], [0, 30, 60]):  # the last: three tiles over one pixel
        weights = tile_weights(starts, 64)
        assert weights[0, 0] == weights[-1, -1] == 1
        for one in weights:
            assert np.abs(np.diff(one)).max() < 0.1, "a jump would be seen as a seam"
        assert (np.diff(weights[0]) <= 0).all() and (np.diff(weights[-1]) >= 0).all()
        assert max(weights[0, -1], weights[-1, 0]) < 0.05


def blend(size: tuple[int, int], tile_of: Callable[[slice, slice], np.ndarray]) -> TiledPicture:
    tiled = TiledPicture(np.zeros((*size, 3), np.float32), 64)
    for i in range(len(tiled)):
        tile = tile_of(*tiled.tiling.window(i)).astype(np.float32)
        tiled.add(i, tile[..., 0], tile)
    return tiled


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constants_stay_constant_and_never_exceed_one(size, value):
    tiled = blend(size, lambda rows, columns: np.full((64, 64, 3), value))
    for blended in (tiled.anomaly_map, tiled.reconstruction):
        np.testing.assert_allclose(blended, value, rtol=0, atol=1e-7)
        assert blended.max() <= 1


def test_from_tile_to_tile_the_blend_changes_smoothly():
    tiled = blend((64, 100), lambda rows, columns: np.full((64, 64, 3), float(columns.start > 0)))
    for row in (tiled.anomaly_map[9], tiled.reconstruction[9, :, 0]):
        assert (row[:36] == 0).all() and (row[64:] == 1).all()
        np.testing.assert_allclose(row[36:64], (np.arange(28) + 0.5) / 28, atol=1e-3)


@pytest.mark.parametrize("size", SIZES)
def test_tiles_of_one_picture_blend_into_that_picture(size):
    picture = np.random.default_rng(0).random((*size, 3), np.float32)
    tiled = blend(size, lambda rows, columns: picture[rows, columns])
    np.testing.assert_allclose(tiled.reconstruction, picture, rtol=0, atol=2e-7)
    np.testing.assert_allclose(tiled.anomaly_map, picture[..., 0], rtol=0, atol=2e-7)
    if size == (64, 64):
        np.testing.assert_array_equal(tiled.reconstruction, picture)


# The pipeline


def tiled(pipeline: DiffusionADPipeline, **settings) -> DiffusionADPipeline:
    """The same networks, looking tile by tile."""
    changed = {"resize_mode": "tile", "calibration": None, **settings}
    other = DiffusionADPipeline(**pipeline.components, **{**pipeline.settings(), **changed})
    other.set_progress_bar_config(disable=True)
    return other


@pytest.fixture
def tiles(tiny_pipeline) -> DiffusionADPipeline:
    return tiled(tiny_pipeline)


def random_picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((height, width, 3), dtype=np.float32)


@pytest.mark.parametrize("settings", [{}, {"num_inference_steps": 2}, {"num_noise_samples": 3}], ids=str)
@pytest.mark.parametrize("output_type", ["np", "pt", "pil"])
def test_one_tile_has_the_bits_of_a_stretched_picture(tiny_pipeline, tiles, settings, output_type):
    roi = np.ones((30, 50), bool)
    roi[:, :10] = False
    for picture, same_size in ((random_picture(64, 64), tiles), (random_picture(90, 90), None)):
        pipeline = same_size or tiled(tiny_pipeline, shorter_side=64)
        call = {**settings, "output_type": output_type, "roi": roi, "ignore_border": 2}
        expected, found = tiny_pipeline(picture, **call), pipeline(picture, **call)
        np.testing.assert_array_equal(found.score, expected.score)
        np.testing.assert_array_equal(found.anomaly_map[0], expected.anomaly_map[0])
        np.testing.assert_array_equal(found.mask[0], expected.mask[0])
        np.testing.assert_array_equal(
            np.asarray(found.reconstruction[0]), np.asarray(expected.reconstruction[0])
        )
        assert found.regions == expected.regions


def test_each_tile_is_seen_as_a_picture_of_its_own(tiny_pipeline, tiles):
    picture = random_picture(64, 100)
    halves = [tiny_pipeline(part, output_type="np") for part in (picture[:, :64], picture[:, -64:])]
    whole = tiles(picture, output_type="np")
    # Columns 36 to 63 belong to both; elsewhere only one tile counts.
    np.testing.assert_array_equal(whole.anomaly_map[0][:, :36], halves[0].anomaly_map[0][:, :36])
    np.testing.assert_array_equal(whole.anomaly_map[0][:, 64:], halves[1].anomaly_map[0][:, 28:])
    np.testing.assert_array_equal(whole.reconstruction[0][:, 64:], halves[1].reconstruction[0][:, 28:])
    both = np.stack([halves[0].anomaly_map[0][:, 36:], halves[1].anomaly_map[0][:, :28]])
    seam = whole.anomaly_map[0][:, 36:64]
    assert (seam >= both.min(0) - 1e-6).all() and (seam <= both.max(0) + 1e-6).all()


def test_reconstructions_come_at_the_size_of_each_picture_and_in_the_form_asked_for(tiles):
    pictures = [random_picture(64, 100), random_picture(130, 70), random_picture(32, 40)]
    sizes = [(64, 100), (130, 70), (64, 80)]
    array, tensor, pil = (tiles(pictures, output_type=kind).reconstruction for kind in ("np", "pt", "pil"))
    assert isinstance(array, list) and isinstance(tensor, list) and isinstance(pil, list)
    assert [a.shape for a in array] == [(*size, 3) for size in sizes]
    assert [tuple(t.shape) for t in tensor] == [(3, *size) for size in sizes]
    assert [image.size[::-1] for image in pil] == sizes
    for a, t, image in zip(array, tensor, pil, strict=True):
        assert a.dtype == np.float32 and t.dtype == torch.float32 and 0 <= a.min() < a.max() <= 1
        np.testing.assert_array_equal(t.permute(1, 2, 0).numpy(), a)
        np.testing.assert_array_equal(np.asarray(image), (a * 255).round())


def test_maps_and_masks_have_the_size_of_each_picture(tiny_pipeline):
    pipeline = tiled(tiny_pipeline, shorter_side=80)
    sizes = [(64, 64), (200, 300), (8, 9), (31, 200)]
    output = pipeline([random_picture(*size) for size in sizes])
    assert [m.shape for m in output.anomaly_map] == [m.shape for m in output.mask] == sizes
    assert [image.size[::-1] for image in output.reconstruction] == [(80, 80), (80, 120), (80, 90), (80, 516)]


def test_the_score_is_the_mean_of_as_many_pixels_as_one_tile_has(tiles):
    picture = random_picture(150, 200)
    output = tiles(picture)
    k = max(1, round(tiles.config.top_fraction * 64 * 64))
    largest = np.sort(output.anomaly_map[0].ravel())[-k:]
    assert output.score[0] == pytest.approx(largest.mean(dtype=np.float64), abs=1e-12)
    assert output.score[0] != top_mean(output.anomaly_map[0], tiles.config.top_fraction)


def test_the_same_picture_has_the_same_bits_alone_and_among_others_of_any_size(tiles):
    pictures = [
        random_picture(h, w, s) for s, (h, w) in enumerate([(64, 64), (100, 70), (20, 30), (64, 140)])
    ]
    alone = [tiles(picture, output_type="np") for picture in pictures]
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        for batch_size in (1, 3):
            together = tiles([pictures[i] for i in order], batch_size=batch_size, output_type="np")
            for place, i in enumerate(order):
                assert together.score[place] == alone[i].score[0]
                np.testing.assert_array_equal(together.anomaly_map[place], alone[i].anomaly_map[0])
                np.testing.assert_array_equal(together.reconstruction[place], alone[i].reconstruction[0])


class GraphicsCard(str):
    """Computes on the CPU, but is asked for batches as a GPU is."""

    type = "cuda"


def test_a_gpu_gets_as_many_tiles_a_call_as_fit_into_a_batch(tiny_pipeline, tiles, monkeypatch):
    pictures = [random_picture(100, 150), random_picture(64, 64), random_picture(64, 100)]  # of 6, 1, 2 tiles
    expected, stretched = tiles(pictures, output_type="np"), tiny_pipeline(pictures, output_type="np")
    monkeypatch.setattr(DiffusionADPipeline, "_execution_device", GraphicsCard("cpu"))
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: None)
    for pipeline, alone, calls in ((tiles, expected, [8, 4, 2, 4]), (tiny_pipeline, stretched, [6])):
        seen = []
        hook = pipeline.unet.register_forward_pre_hook(lambda _, inputs, to=seen: to.append(len(inputs[0])))
        found = pipeline(pictures, batch_size=4, output_type="np")
        hook.remove()
        assert seen == calls, "both scales of each tile"
        np.testing.assert_allclose(found.score, alone.score, rtol=0, atol=1e-5)
        for i in range(3):
            np.testing.assert_allclose(found.anomaly_map[i], alone.anomaly_map[i], rtol=0, atol=1e-4)
            np.testing.assert_allclose(found.reconstruction[i], alone.reconstruction[i], rtol=0, atol=1e-4)


class DifferenceSegmenter(torch.nn.Module):
    """Marks where a picture is white; so that an untrained pipeline finds something."""

    def forward(self, x_0: torch.Tensor, x_0_hat: torch.Tensor) -> torch.Tensor:
        return 20 * (x_0.mean(1, keepdim=True) - 0.9)


def test_a_defect_on_a_seam_is_found_by_both_tiles_and_stands_where_it_is(tiles, monkeypatch):
    monkeypatch.setattr(tiles.segmenter, "forward", DifferenceSegmenter().forward)
    picture = np.full((64, 100, 3), 0.3, np.float32)
    seen = []
    monkeypatch.setattr(
        TiledPicture,
        "add",
        lambda self, i, anomaly_map, tile, add=TiledPicture.add: (
            seen.append(float(anomaly_map.max())),
            add(self, i, anomaly_map, tile),
        ),
    )
    picture[20:30, 45:55] = 1  # inside the overlap of columns 36 to 63
    output = tiles(picture, threshold=0.5)
    assert len(seen) == 2 and min(seen) > 0.8
    [region] = output.regions[0]
    assert region.box == (45, 20, 55, 30) and region.peak > 0.8
    picture[20:30, 30:75] = 1  # over the seam, and beyond the overlap on both sides
    [region] = tiles(picture, threshold=0.5).regions[0]
    assert region.box == (30, 20, 75, 30)


def test_region_of_interest_and_border_are_those_of_the_whole_picture(tiles):
    picture = random_picture(100, 150)
    everywhere = tiles(picture).anomaly_map[0]
    roi = np.zeros((100, 150), bool)
    roi[10:90, 60:140] = True
    np.testing.assert_array_equal(tiles(picture, roi=roi).anomaly_map[0], np.where(roi, everywhere, 0))
    inside = np.zeros((100, 150), bool)
    inside[7:-7, 7:-7] = True
    found = tiles(picture, ignore_border=7)
    np.testing.assert_array_equal(found.anomaly_map[0], np.where(inside, everywhere, 0))
    assert found.score[0] == top_mean(everywhere, tiles.config.top_fraction, inside, 64 * 64)


def test_antialiasing_is_respected_when_pictures_are_scaled(tiny_pipeline):
    picture = random_picture(256, 320)
    for antialias in (True, False):
        pipeline = tiled(tiny_pipeline, shorter_side=64, antialias=antialias)
        small = resize(picture, (64, 80), antialias)
        expected = tiled(tiny_pipeline)(small, output_type="np").reconstruction[0]
        np.testing.assert_array_equal(pipeline(picture, output_type="np").reconstruction[0], expected)


def test_every_tile_gets_the_same_noise(tiles):
    seen = []
    hook = tiles.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    stripes = np.full((64, 150, 3), 0.5, np.float32)
    stripes[::2] = 0.6  # the same in every tile: only the noise could differ
    tiles(stripes)
    hook.remove()
    assert len(seen) == 3 and all(torch.equal(seen[0], other) for other in seen[1:])


def test_a_picture_too_large_to_enlarge_is_named(tiles, tmp_path):
    Image.new("RGB", (200_000, 8)).save(tmp_path / "strip.png")
    with pytest.raises(ImageError, match=r"strip\.png` is 200000 x 8"):
        tiles(tmp_path / "strip.png")
    with pytest.raises(ImageError, match=r"`image\[1\]` is 200000 x 8"):
        tiles([random_picture(64, 64), np.zeros((8, 200_000, 3), np.uint8)])


@pytest.mark.parametrize("settings", [{"resize_mode": "tile"}, {"resize_mode": "tile", "shorter_side": 96}])
def test_tiling_drops_a_calibration_made_without_it(fresh_pipeline, caplog, settings):
    fresh_pipeline.configure(**settings)
    assert fresh_pipeline.config.calibration is None
    assert "resize_mode" in caplog.text and "calibrate again" in caplog.text


def test_another_scale_drops_the_calibration(fresh_pipeline):
    calibration = calibrate(np.linspace(0, 0.9, 40))
    fresh_pipeline.configure(resize_mode="tile", calibration=calibration)
    assert fresh_pipeline(random_picture(70, 80)).p_value is not None
    fresh_pipeline.configure(shorter_side=64)
    assert fresh_pipeline.config.calibration is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"resize_mode": "crop"}, r"`resize_mode` is 'crop'; use one of stretch, tile"),
        ({"resize_mode": None}, r"`resize_mode` is None"),
        ({"shorter_side": 128}, r"`shorter_side` is 128, but with `resize_mode` 'stretch' .* use None"),
        ({"resize_mode": "tile", "shorter_side": 63}, r"`shorter_side` is 63; .* 64\.\.65536 .*, or None"),
        ({"resize_mode": "tile", "shorter_side": 0}, r"`shorter_side` is 0"),
        ({"resize_mode": "tile", "shorter_side": 128.0}, r"`shorter_side` is 128\.0; give an integer"),
        ({"resize_mode": "tile", "shorter_side": True}, r"`shorter_side` is True"),
    ],
)
def test_bad_values_are_named_with_what_is_allowed(fresh_pipeline, settings, words):
    before = dict(fresh_pipeline.config)
    with pytest.raises(ValueError, match=words):
        DiffusionADPipeline(**fresh_pipeline.components, **{"image_size": 64, **settings})
    with pytest.raises(ValueError, match=words):
        fresh_pipeline.configure(**settings)
    assert dict(fresh_pipeline.config) == before


@pytest.mark.parametrize("shorter_side", [None, 80])
def test_tiling_is_saved_and_loaded(tiny_pipeline, tmp_path, shorter_side):
    pipeline = tiled(tiny_pipeline, shorter_side=shorter_side)
    pipeline.save_pretrained(tmp_path)
    loaded = DiffusionADPipeline.from_pretrained(tmp_path)
    assert loaded.settings() == pipeline.settings()
    picture = random_picture(90, 120)
    expected, found = pipeline(picture), loaded(picture)
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(found.anomaly_map[0], expected.anomaly_map[0])
