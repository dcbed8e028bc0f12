"""Pictures in, verdicts out: kinds of input, equal bits in any batch, settings, outputs and errors."""

import dataclasses
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from comparing import assert_same
from diffusers import DDPMScheduler, UNet2DModel
from PIL import Image

from diffusionad import AnomalySegmenter, DiffusionADOutput, DiffusionADPipeline, calibrate
from diffusionad.images.image_io import ImageError
from diffusionad.postprocessing.regions import find_defects
from diffusionad.postprocessing.scoring import top_mean

SCORE_OVERRIDES = {
    "t_fine": 100,
    "t_coarse": 500,
    "guidance_weight": 0.5,
    "num_inference_steps": 2,
    "num_noise_samples": 2,
    "ignore_border": 3,
}


# Kinds of input


def test_the_same_picture_scores_the_same_whatever_it_comes_as(tiny_pipeline, make_pictures, tmp_path):
    [rgb] = make_pictures(1, side=50)
    path = tmp_path / "picture.png"
    Image.fromarray(rgb).save(path)
    unit = rgb.astype(np.float32) / 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    turned = tmp_path / "turned.png"
    Image.fromarray(rgb).transpose(Image.Transpose.ROTATE_90).save(turned, exif=exif)
    sources = {
        "str": str(path),
        "Path": path,
        "EXIF": turned,
        "PIL": Image.fromarray(rgb),
        "RGBA": Image.fromarray(rgb).convert("RGBA"),
        "HWC uint8": rgb,
        "HWC uint16": rgb.astype(np.uint16) * 257,
        "HWC float": unit,
        "NHWC uint8": rgb[None],
        "NHWC float": unit[None],
        "CHW": torch.from_numpy(unit).permute(2, 0, 1),
        "NCHW": torch.from_numpy(unit).permute(2, 0, 1)[None],
        "CHW with gradient": torch.from_numpy(unit).permute(2, 0, 1).requires_grad_(),
        "list": [rgb],
        "tuple": (path,),
    }
    expected = tiny_pipeline(rgb)
    for kind, source in sources.items():
        output = tiny_pipeline(source)
        assert output.score.shape == (1,), kind
        np.testing.assert_array_equal(output.score, expected.score, err_msg=kind)
        np.testing.assert_array_equal(output.anomaly_map[0], expected.anomaly_map[0], err_msg=kind)


def test_grey_pictures_of_every_kind_score_the_same(tiny_pipeline, make_pictures, tmp_path):
    grey = make_pictures(1)[0][:, :, 0]
    deep = tmp_path / "deep.png"
    Image.fromarray(grey.astype(np.uint16) * 257).save(deep)
    palette = Image.fromarray(grey).convert("P")
    sources = [
        np.repeat(grey[:, :, None], 3, axis=2),
        grey,
        grey[:, :, None],
        Image.fromarray(grey),
        palette,
        deep,
        torch.from_numpy(grey.astype(np.float32) / 255)[None],
    ]
    assert len(set(tiny_pipeline(sources).score.tolist())) == 1


def test_maps_have_the_size_of_each_picture(tiny_pipeline, make_pictures):
    sizes = [(64, 64), (8, 8), (100, 30), (31, 200), (64, 65)]
    pictures = [np.asarray(Image.fromarray(make_pictures(1)[0]).resize(size[::-1])) for size in sizes]
    pictures[1], pictures[2] = Image.fromarray(pictures[1]), torch.rand(3, *sizes[2])
    output = tiny_pipeline(pictures)
    assert [m.shape for m in output.anomaly_map] == [m.shape for m in output.mask] == sizes
    for anomaly_map, mask in zip(output.anomaly_map, output.mask, strict=True):
        assert anomaly_map.dtype == np.float32 and mask.dtype == bool
        assert 0 <= anomaly_map.min() <= anomaly_map.max() <= 1
        assert anomaly_map.flags.writeable


def test_a_picture_is_not_changed(tiny_pipeline, make_pictures):
    [rgb] = make_pictures(1)
    tensor = torch.from_numpy(rgb.astype(np.float32) / 255).permute(2, 0, 1)
    before = rgb.copy(), tensor.clone()
    tiny_pipeline([rgb, tensor])
    assert (rgb == before[0]).all() and torch.equal(tensor, before[1])


# Equal bits


def check_equal_bits(pipeline: DiffusionADPipeline, pictures: list) -> None:
    alone = [pipeline(picture) for picture in pictures]
    scores = [output.score[0] for output in alone]
    assert len(set(scores)) == len(pictures), "equal scores of different pictures would prove nothing"
    for n in (1, 2, 3, 5, 8):
        for batch_size in (1, 3, 8):
            output = pipeline(pictures[:n], batch_size=batch_size)
            assert output.score.tolist() == scores[:n]
    order = random.Random(0).sample(range(len(pictures)), len(pictures))
    shuffled = pipeline([pictures[i] for i in order])
    for place, i in enumerate(order):
        assert shuffled.score[place] == scores[i]
        np.testing.assert_array_equal(shuffled.anomaly_map[place], alone[i].anomaly_map[0])


def test_scores_have_equal_bits_alone_in_any_batch_and_in_any_order(tiny_pipeline, make_pictures):
    tiny_pipeline.set_progress_bar_config(disable=True)
    check_equal_bits(tiny_pipeline, make_pictures(5) + make_pictures(3, side=90, seed=1))
    tiny_pipeline.set_progress_bar_config()


@pytest.fixture(scope="module")
def wide_pipeline() -> DiffusionADPipeline:
    """As wide as a fast preset: other kernels than the tiny one's."""
    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=64,
        in_channels=48,
        out_channels=48,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        norm_num_groups=8,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
    )
    segmenter = AnomalySegmenter(block_out_channels=(32, 64, 96, 128), stem_patch=2)
    pipeline = DiffusionADPipeline(unet, DDPMScheduler(), segmenter, image_size=256)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(params=[1, 2])
def threads(request) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_scores_of_wide_networks_have_equal_bits_in_any_batch(wide_pipeline, make_pictures, threads):
    pictures = make_pictures(2, side=256) + make_pictures(2, side=300, seed=1)
    together = wide_pipeline(pictures)
    for i in (0, 3):
        alone = wide_pipeline(pictures[i])
        assert alone.score[0] == together.score[i]
        np.testing.assert_array_equal(alone.anomaly_map[0], together.anomaly_map[i])
    for n, batch_size in ((2, 2), (4, 3)):
        backwards = wide_pipeline(pictures[:n][::-1], batch_size=batch_size)
        assert backwards.score[::-1].tolist() == together.score[:n].tolist()


@pytest.mark.parametrize("name", ["tiny_pipeline", "wide_pipeline"])
def test_two_threads_at_once_get_the_bits_of_one(name, request, make_pictures):
    pipeline = request.getfixturevalue(name)
    pictures = make_pictures(4, side=pipeline.config.image_size)
    expected = [pipeline(picture).score[0] for picture in pictures]
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda picture: pipeline(picture).score[0], pictures * 2))
    assert found == expected * 2


def test_iterative_denoising_and_noise_samples_have_equal_bits_in_any_batch(tiny_pipeline, make_pictures):
    pictures = make_pictures(3)
    for override in ({"num_inference_steps": 3}, {"num_noise_samples": 2}):
        together = tiny_pipeline(pictures, **override)
        for i, picture in enumerate(pictures):
            assert tiny_pipeline(picture, **override).score[0] == together.score[i]


# Settings


def test_the_threshold_decides_verdict_and_mask(tiny_pipeline, make_pictures):
    pictures = make_pictures(6)
    output = tiny_pipeline(pictures)
    assert output.threshold == tiny_pipeline.config.threshold
    middle = float(np.sort(output.score)[2])
    moved = tiny_pipeline(pictures, threshold=middle)
    assert moved.threshold == middle
    assert moved.is_anomalous.tolist() == (output.score > middle).tolist()
    assert moved.is_anomalous.sum() == 3, "the score at the threshold itself raises no alarm"
    np.testing.assert_array_equal(moved.score, output.score)
    np.testing.assert_array_equal(moved.p_value, output.p_value)
    for anomaly_map, mask in zip(moved.anomaly_map, moved.mask, strict=True):
        np.testing.assert_array_equal(mask, anomaly_map > middle)
    assert tiny_pipeline(pictures, threshold=0.0).is_anomalous.all()
    assert not tiny_pipeline(pictures, threshold=1.0).is_anomalous.any()


def test_a_call_leaves_the_saved_settings_alone(tiny_pipeline, make_pictures):
    before = dict(tiny_pipeline.config)
    tiny_pipeline(
        make_pictures(1), threshold=0.1, roi=np.ones((64, 64), bool), min_region_area=3, **SCORE_OVERRIDES
    )
    assert dict(tiny_pipeline.config) == before


@pytest.mark.parametrize("name", SCORE_OVERRIDES)
def test_each_score_setting_matters_and_takes_the_p_value_away(tiny_pipeline, make_pictures, name):
    pictures = make_pictures(2)
    default = tiny_pipeline(pictures)
    moved = tiny_pipeline(pictures, **{name: SCORE_OVERRIDES[name]})
    assert any((a != b).any() for a, b in zip(moved.anomaly_map, default.anomaly_map, strict=True))
    assert moved.p_value is None and default.p_value is not None
    spelled_out = tiny_pipeline(pictures, **{name: tiny_pipeline.config[name]})
    np.testing.assert_array_equal(spelled_out.p_value, default.p_value)


def test_p_values_come_from_the_calibration(tiny_pipeline, make_pictures):
    output = tiny_pipeline([*make_pictures(4), *np.random.default_rng(9).random((4, 64, 64, 3))])
    stored = np.array(tiny_pipeline.config.calibration["scores"])
    expected = [(1 + (stored >= score).sum()) / (1 + len(stored)) for score in output.score]
    assert output.p_value.tolist() == expected
    assert len(set(expected)) > 2


def test_without_a_calibration_there_is_no_p_value(tiny_pipeline, make_pictures):
    plain = DiffusionADPipeline(**tiny_pipeline.components, image_size=64)
    output = plain(make_pictures(1))
    assert output.p_value is None
    assert output.threshold == 0.5


@pytest.mark.parametrize("kind", ["bool", "uint8", "int", "PIL", "tensor", "path", "larger"])
def test_roi_hides_what_is_outside(tiny_pipeline, make_pictures, tmp_path, kind):
    roi = np.zeros((64, 64), dtype=bool)
    roi[:, :32] = True
    image = Image.fromarray(roi.astype(np.uint8) * 255)
    image.save(tmp_path / "roi.png")
    source = {
        "bool": roi,
        "uint8": roi.astype(np.uint8),
        "int": roi.astype(np.int64),
        "PIL": image,
        "tensor": torch.from_numpy(roi)[None],
        "path": tmp_path / "roi.png",
        "larger": np.kron(roi, np.ones((4, 4), bool)),
    }[kind]
    everywhere = tiny_pipeline(make_pictures(2))
    output = tiny_pipeline(make_pictures(2), roi=source)
    assert output.p_value is None
    slack = 1 if kind == "larger" else 0  # pixels at the edge count as inside
    for i in range(2):
        assert (output.anomaly_map[i][:, 32 + slack :] == 0).all()
        np.testing.assert_array_equal(output.anomaly_map[i][:, :32], everywhere.anomaly_map[i][:, :32])
        fraction = tiny_pipeline.config.top_fraction
        assert slack or output.score[i] == top_mean(everywhere.anomaly_map[i], fraction, roi)


def test_a_coarse_roi_reaches_no_further_than_its_cells(tiny_pipeline, make_pictures):
    cell = np.zeros((8, 8), dtype=bool)
    cell[3, 3] = True  # pixels 24..31 of 64
    anomaly_map = tiny_pipeline(make_pictures(1), roi=cell).anomaly_map[0]
    rows, columns = np.nonzero(anomaly_map)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (24, 31, 24, 31)


def test_a_thin_roi_is_not_lost(tiny_pipeline, make_pictures):
    line = np.zeros((1000, 1000), dtype=bool)
    line[501] = True
    assert tiny_pipeline(make_pictures(1), roi=line).anomaly_map[0][32].min() > 0


def test_ignore_border_hides_the_border_of_the_models_map(tiny_pipeline, make_pictures):
    output = tiny_pipeline(make_pictures(1), ignore_border=5)
    everywhere = tiny_pipeline(make_pictures(1)).anomaly_map[0]
    inside = np.zeros((64, 64), dtype=bool)
    inside[5:-5, 5:-5] = True
    np.testing.assert_array_equal(output.anomaly_map[0], np.where(inside, everywhere, 0))
    assert output.score[0] == top_mean(everywhere, tiny_pipeline.config.top_fraction, inside)


def test_regions_describe_the_mask(tiny_pipeline, make_pictures):
    output = tiny_pipeline(make_pictures(2, side=80), threshold=0.6)
    for anomaly_map, mask, regions in zip(output.anomaly_map, output.mask, output.regions, strict=True):
        assert regions == find_defects(anomaly_map, output.pixel_threshold)[1] and len(regions) > 1
        assert sum(region.area for region in regions) == mask.sum()
        assert regions[0].peak == anomaly_map.max()


def test_small_regions_are_no_anomaly(tiny_pipeline, make_pictures):
    settings = {"threshold": 0.6}
    all_regions = tiny_pipeline(make_pictures(2), **settings)
    largest = max(region.area for region in all_regions.regions[0])
    kept = tiny_pipeline(make_pictures(2), min_region_area=largest, **settings)
    assert [region.area for region in kept.regions[0]] == [largest]
    assert kept.mask[0].sum() == largest
    assert kept.is_anomalous[0]
    dropped = tiny_pipeline(make_pictures(2), min_region_area=64 * 64 + 1, **settings)
    assert dropped.regions == [[], []] and not dropped.mask[0].any()
    assert all_regions.is_anomalous.all() and not dropped.is_anomalous.any()
    np.testing.assert_array_equal(dropped.score, all_regions.score)
    assert dropped.p_value is not None, "the score has not changed"


def test_where_to_look_is_saved_and_loaded(fresh_pipeline, tiny_pipeline, make_pictures, tmp_path):
    roi = np.zeros((64, 64), dtype=bool)
    roi[10:50, 7:64] = True
    settings = {"ignore_border": 9, "min_region_area": 12, "threshold": 0.55}
    expected = tiny_pipeline(make_pictures(2), roi=roi, **settings)
    fresh_pipeline.configure(roi=roi, **settings).save_pretrained(tmp_path)
    loaded = DiffusionADPipeline.from_pretrained(tmp_path)
    for pipeline in (fresh_pipeline, loaded):
        output = pipeline(make_pictures(2))
        assert_same(output, expected)
        assert output.regions == expected.regions
        assert output.threshold == 0.55


def test_the_saved_roi_given_again_changes_nothing(fresh_pipeline, make_pictures, caplog):
    roi = np.zeros((64, 64), dtype=bool)
    roi[10:50, 7:64] = True
    fresh_pipeline.configure(roi=roi, calibration=calibrate(np.linspace(0, 0.9, 40)))
    assert fresh_pipeline(make_pictures(1), roi=roi).p_value is not None
    assert fresh_pipeline(make_pictures(1), roi=~roi).p_value is None
    fresh_pipeline.configure(roi=roi.astype(np.uint8))
    assert fresh_pipeline.config.calibration is not None and caplog.records == []


@pytest.mark.parametrize("steps", [1, 2])
def test_several_noise_draws_are_averaged(tiny_pipeline, make_pictures, steps):
    def look(generator: torch.Generator, draws: int) -> DiffusionADOutput:
        return tiny_pipeline(
            make_pictures(1),
            generator=generator,
            num_noise_samples=draws,
            num_inference_steps=steps,
            output_type="np",
        )

    generator = torch.Generator().manual_seed(7)
    first, second = look(generator, draws=1), look(generator, draws=1)
    both = look(torch.Generator().manual_seed(7), draws=2)
    average = (first.anomaly_map[0] + second.anomaly_map[0]) / 2
    np.testing.assert_allclose(both.anomaly_map[0], average, atol=1e-6)
    reconstruction = (first.reconstruction + second.reconstruction) / 2
    np.testing.assert_allclose(both.reconstruction.clip(0, 1), reconstruction, atol=1e-6)
    assert np.abs(first.anomaly_map[0] - second.anomaly_map[0]).max() > 1e-3


def test_the_saved_seed_is_a_generator_with_that_seed(tiny_pipeline, make_pictures):
    default = tiny_pipeline(make_pictures(1))
    same = torch.Generator().manual_seed(tiny_pipeline.config.seed)
    assert_same(tiny_pipeline(make_pictures(1), generator=same), default)
    other = tiny_pipeline(make_pictures(1), generator=torch.Generator().manual_seed(1))
    assert other.score[0] != default.score[0]


def test_the_global_generator_is_neither_read_nor_advanced(tiny_pipeline, make_pictures):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    first = tiny_pipeline(make_pictures(1), num_inference_steps=2)
    assert torch.equal(torch.rand(1), expected)
    assert_same(tiny_pipeline(make_pictures(1), num_inference_steps=2), first)


def test_both_scales_get_independent_standard_noise(tiny_pipeline):
    seen = []
    hook = tiny_pipeline.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    grey = np.full((64, 64, 3), 0.5)  # 0 in [-1, 1]: nearly all that the UNet sees is noise
    grey[0, 0] = 0.6  # a picture that shows nothing at all is refused
    tiny_pipeline(grey)
    hook.remove()
    [(sample, timesteps)] = seen
    assert timesteps.tolist() == [200, 400]
    alpha_bar = tiny_pipeline.scheduler.alphas_cumprod[timesteps]
    noise = sample.flatten(1) / (1 - alpha_bar).sqrt()[:, None]  # [2,CSS]
    np.testing.assert_allclose(noise.mean(1), 0, atol=0.05)
    np.testing.assert_allclose(noise.std(1), 1, atol=0.05)
    assert abs(torch.corrcoef(noise)[0, 1]) < 0.05


def test_equal_pictures_get_equal_noise(tiny_pipeline, make_pictures):
    [picture] = make_pictures(1)
    for steps in (1, 3):
        assert len(set(tiny_pipeline([picture] * 3, num_inference_steps=steps).score.tolist())) == 1


@pytest.mark.parametrize("settings", [{"num_inference_steps": 2}, {"num_inference_steps": 5}], ids=str)
def test_more_denoising_steps_are_another_method(tiny_pipeline, make_pictures, settings):
    [picture] = make_pictures(1)
    one = tiny_pipeline(picture, output_type="pt")
    more = tiny_pipeline(picture, **settings, output_type="pt")
    assert (one.reconstruction - more.reconstruction).abs().max() > 0.01
    unguided = tiny_pipeline(picture, **settings, guidance_weight=0.0)
    assert unguided.score[0] == more.score[0], "norm guidance takes no part"


@pytest.mark.parametrize(("t_coarse", "steps"), [(1, 1), (20, 20), (21, 13)])
def test_there_may_be_as_many_steps_as_timesteps(tiny_pipeline, make_pictures, t_coarse, steps):
    settings = {"t_fine": 0, "t_coarse": t_coarse, "num_inference_steps": steps}
    assert np.isfinite(tiny_pipeline(make_pictures(1), **settings).score).all()


# Configuring


def test_configure_rejects_and_changes_nothing(fresh_pipeline):
    before = dict(fresh_pipeline.config)
    for settings, words in (
        ({"nonsense": 1}, r"`nonsense` is no setting of the pipeline; use one of .*threshold"),
        ({"threshold": 0.2, "t_fine": 900}, r"`t_fine` is 900 and `t_coarse` 400"),
        ({"roi": np.zeros((2, 2), bool)}, r"`roi`.*at least 8 x 8"),
        ({"unet": None}, r"`unet` is no setting"),
    ):
        with pytest.raises(ValueError, match=words):
            fresh_pipeline.configure(**settings)
        assert dict(fresh_pipeline.config) == before


@pytest.mark.parametrize(
    "settings",
    [
        {"image_size": 66},
        {"patch_size": 4},
        {"input_range": (1.0, 1.0)},
        {"input_range": "all"},
        {"roi": np.zeros((8, 8), bool)},
        {"seed": "zero"},
        {"antialias": "no"},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_configure_refuses_what_the_next_call_could_not_use(fresh_pipeline, settings):
    before = dict(fresh_pipeline.config)
    with pytest.raises(ValueError, match=f"`{next(iter(settings))}`"):
        fresh_pipeline.configure(**settings)
    assert dict(fresh_pipeline.config) == before


@pytest.mark.parametrize(
    "settings",
    [*({name: value} for name, value in SCORE_OVERRIDES.items()), {"top_fraction": 0.1}, {"antialias": False}]
    + [{"input_range": (0.0, 1.0)}, {"roi": np.ones((64, 64), bool)}, {"image_size": 32}],
    ids=lambda settings: next(iter(settings)),
)
def test_a_changed_score_setting_drops_the_calibration_with_a_warning(fresh_pipeline, caplog, settings):
    fresh_pipeline.configure(**settings)
    assert fresh_pipeline.config.calibration is None
    [record] = caplog.records
    assert next(iter(settings)) in record.getMessage() and "calibrate again" in record.getMessage()


def test_settings_that_change_no_score_keep_the_calibration(fresh_pipeline, make_pictures, caplog):
    before = fresh_pipeline.config.calibration
    same = {name: fresh_pipeline.config[name] for name in SCORE_OVERRIDES}
    fresh_pipeline.configure(
        threshold=0.3, min_region_area=4, category="washer", input_range=(-1.0, 1.0), **same
    )
    assert fresh_pipeline.config.calibration == before
    assert caplog.records == []
    output = fresh_pipeline(make_pictures(1))
    assert output.threshold == 0.3 and output.p_value is not None


def test_a_calibration_sets_the_threshold_and_goes_with_new_settings(fresh_pipeline, make_pictures, caplog):
    calibration = calibrate(np.linspace(0, 0.4, 50))
    fresh_pipeline.configure(t_fine=150, calibration=calibration)
    assert fresh_pipeline.config.threshold == calibration.threshold == 0.4
    assert fresh_pipeline.config.calibration == calibration.to_dict()
    assert fresh_pipeline(make_pictures(1)).p_value is not None
    assert caplog.records == []


def test_settings_from_numpy_can_be_saved(fresh_pipeline, tmp_path):
    fresh_pipeline.configure(t_fine=np.int64(150), guidance_weight=np.float32(0.5), threshold=np.float64(0.5))
    fresh_pipeline.save_pretrained(tmp_path)
    assert DiffusionADPipeline.from_pretrained(tmp_path).config.t_fine == 150


# Outputs


def test_the_output_documents_each_of_its_fields(tiny_pipeline, make_pictures):
    output = tiny_pipeline(make_pictures(2))
    attributes = DiffusionADOutput.__doc__.partition("Attributes:")[2]
    for field in dataclasses.fields(DiffusionADOutput):
        assert f"\n        {field.name}: " in attributes
        assert output[field.name] is getattr(output, field.name)
    assert output.score.dtype == np.float64 and output.is_anomalous.dtype == bool


def test_the_reconstruction_comes_in_the_form_asked_for(tiny_pipeline, make_pictures):
    pictures = make_pictures(3, side=90)
    pil, array, tensor = (
        tiny_pipeline(pictures, output_type=kind).reconstruction for kind in ("pil", "np", "pt")
    )
    assert [(image.size, image.mode) for image in pil] == [((64, 64), "RGB")] * 3
    assert array.shape == (3, 64, 64, 3) and array.dtype == np.float32
    assert tensor.shape == (3, 3, 64, 64) and tensor.dtype == torch.float32
    assert 0 <= array.min() < array.max() <= 1
    np.testing.assert_array_equal(tensor.permute(0, 2, 3, 1).numpy(), array)
    np.testing.assert_array_equal(np.stack([np.asarray(image) for image in pil]), (array * 255).round())


def test_timings_name_every_stage_and_add_up(tiny_pipeline, make_pictures):
    timings = tiny_pipeline(make_pictures(2)).timings
    assert set(timings) == {"preprocess", "denoise", "segment", "score", "total"}
    stages = sum(seconds for stage, seconds in timings.items() if stage != "total")
    assert min(timings.values()) > 0
    assert 0.5 * timings["total"] < stages <= timings["total"]


def test_a_progress_bar_is_shown_for_many_pictures_and_can_be_silenced(fresh_pipeline, make_pictures, capfd):
    pictures = make_pictures(4)
    fresh_pipeline(pictures, batch_size=4)
    assert capfd.readouterr().err == ""
    fresh_pipeline(pictures, batch_size=2)
    assert "100%" in capfd.readouterr().err
    fresh_pipeline.set_progress_bar_config(disable=True)
    fresh_pipeline(pictures, batch_size=2)
    assert capfd.readouterr().err == ""


def test_networks_are_put_into_evaluation_mode_and_nothing_needs_gradients(tiny_pipeline, make_pictures):
    tiny_pipeline.unet.train()
    tiny_pipeline.segmenter.train()
    pipeline = DiffusionADPipeline(**tiny_pipeline.components, image_size=64)
    assert not pipeline.unet.training and not pipeline.segmenter.training
    assert not pipeline(make_pictures(1), output_type="pt").reconstruction.requires_grad


def test_offloading_knows_the_order_of_the_networks():
    order = DiffusionADPipeline.model_cpu_offload_seq.split("->")
    assert order == ["unet", "segmenter", "feature_memory"]


def test_bfloat16_moves_no_score_by_more_than_two_hundredths(tiny_pipeline, tiny_model_folder, make_pictures):
    half = DiffusionADPipeline.from_pretrained(tiny_model_folder, dtype=torch.bfloat16)
    assert half.unet.dtype == half.segmenter.dtype == torch.bfloat16
    pictures = make_pictures(6)
    output = half(pictures)
    assert output.anomaly_map[0].dtype == np.float32
    assert np.abs(output.score - tiny_pipeline(pictures).score).max() < 0.02


def test_networks_that_produce_nan_are_an_error_not_a_verdict(fresh_pipeline, make_pictures):
    with torch.no_grad():
        fresh_pipeline.segmenter.conv_out.bias.fill_(float("nan"))
    with pytest.raises(RuntimeError, match="produced NaN; load them with dtype"):
        fresh_pipeline(make_pictures(1))


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0)])
def test_the_networks_see_pictures_in_the_input_range(tiny_pipeline, make_pictures, low, high):
    pipeline = DiffusionADPipeline(**tiny_pipeline.components, image_size=64, input_range=(low, high))
    seen = []
    hook = pipeline.segmenter.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    picture = make_pictures(1)[0].astype(np.float32) / 255
    reconstruction = pipeline(picture, output_type="pt").reconstruction
    hook.remove()
    [(x_0, x_0_hat)] = seen
    np.testing.assert_allclose(x_0[0].permute(1, 2, 0).numpy(), low + (high - low) * picture, atol=1e-6)
    torch.testing.assert_close(reconstruction, ((x_0_hat - low) / (high - low)).clamp(0, 1))


# Errors


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ({"t_fine": -1}, r"`t_fine` is -1; give an integer in 0\.\.999"),
        ({"t_fine": 1.5}, r"`t_fine` is 1\.5; give an integer"),
        ({"t_fine": True}, r"`t_fine` is True; give an integer"),
        ({"t_coarse": 1000}, r"`t_coarse` is 1000; give an integer in 0\.\.999"),
        ({"t_fine": 400}, r"`t_fine` is 400 and `t_coarse` 400; `t_fine` must be the smaller"),
        ({"t_fine": 401}, r"`t_fine` is 401 and `t_coarse` 400; `t_fine` must be the smaller"),
        ({"guidance_weight": -0.1}, r"`guidance_weight` is -0\.1; give a number in 0\.\.1000"),
        ({"guidance_weight": float("nan")}, r"`guidance_weight` is nan"),
        ({"threshold": 1.1}, r"`threshold` is 1\.1; give a number in 0\.\.1"),
        ({"threshold": "0.5"}, r"`threshold` is '0\.5'; give a number"),
        ({"num_inference_steps": 0}, r"`num_inference_steps` is 0; give an integer in 1\.\.400"),
        ({"num_inference_steps": 401}, r"`num_inference_steps` is 401; give an integer in 1\.\.400"),
        ({"num_noise_samples": 0}, r"`num_noise_samples` is 0"),
        ({"min_region_area": -1}, r"`min_region_area` is -1"),
        ({"ignore_border": 32}, r"`ignore_border` is 32; give an integer in 0\.\.31"),
        ({"roi": np.zeros((64, 64), bool)}, r"`roi` leaves no pixel"),
        ({"batch_size": 0}, r"`batch_size` is 0; give an integer of at least 1"),
        ({"output_type": "jpg"}, r"`output_type` is 'jpg'; use one of pil, np, pt"),
        ({"generator": 3}, r"`generator` is a int; give one torch\.Generator"),
        ({"generator": [torch.Generator()]}, r"`generator` is a list"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_arguments_out_of_range_are_named_with_their_range(tiny_pipeline, make_pictures, argument, words):
    with pytest.raises(ValueError, match=words):
        tiny_pipeline(make_pictures(1), **argument)


@pytest.mark.parametrize(
    "empty", [[], (), np.zeros((0, 64, 64, 3), np.uint8), torch.zeros(0, 3, 64, 64)], ids=type
)
def test_no_picture_at_all_is_an_error(tiny_pipeline, empty):
    with pytest.raises(ValueError, match="`image` is empty; give at least one picture"):
        tiny_pipeline(empty)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.full((3, 64, 64), float("nan")), r"`image\[1\]` has 12288 NaN"),
        (torch.full((3, 64, 64), -1.0), r"`image\[1\]` has values in -1\.\.-1; floats must be in 0\.\.1"),
        (torch.full((3, 64, 64), 255.0), r"`image\[1\]` has values .*divide by 255"),
        (torch.zeros(3, 64, 64, dtype=torch.uint8), r"`image\[1\]` is a tensor of torch\.uint8"),
        (torch.zeros(64, 64, 3), r"`image\[1\]` is a tensor of shape \(64, 64, 3\); give \[C,H,W\]"),
        (torch.zeros(3, 1, 1), r"`image\[1\]` is 1 x 1 pixels"),
        (torch.zeros(3, 0, 0), r"`image\[1\]` is 0 x 0 pixels"),
        (np.zeros((64, 64, 7), np.uint8), r"`image\[1\]` has shape \(64, 64, 7\)"),
        (None, r"`image\[1\]` is a NoneType"),
        (torch.zeros(3, 64, 64, device="meta"), r"`image\[1\]` is a tensor on the meta device"),
        (torch.zeros(3, 64, 64).to_sparse(), r"`image\[1\]` is a sparse, nested or quantized tensor"),
        (torch.zeros(3, 64, 64, dtype=torch.complex64), r"`image\[1\]` is a tensor of torch\.complex64"),
    ],
    ids=range(12),
)
def test_a_bad_picture_is_named_by_its_place(tiny_pipeline, make_pictures, tensor, words):
    with pytest.raises(ImageError, match=words):
        tiny_pipeline([make_pictures(1)[0], tensor])


@pytest.mark.parametrize(
    "batch", [torch.zeros(2, 3, 64, 64, device="meta"), torch.zeros(2, 3, 64, 64).to_sparse()]
)
def test_a_batch_without_plain_values_is_refused(tiny_pipeline, batch):
    with pytest.raises(ImageError, match=r"`image` is a (tensor on the meta|sparse)"):
        tiny_pipeline(batch)


@pytest.mark.parametrize("roi", [torch.ones(64, 64, device="meta"), torch.ones(64, 64).to_sparse()])
def test_a_region_without_plain_values_is_refused(tiny_pipeline, make_pictures, roi):
    with pytest.raises(ImageError, match="`roi` is a sparse, nested or meta tensor; give a dense one"):
        tiny_pipeline(make_pictures(1), roi=roi)


def test_the_default_dtype_of_torch_changes_no_score(tiny_pipeline, make_pictures):
    expected = tiny_pipeline(make_pictures(2)).score
    torch.set_default_dtype(torch.float64)
    try:
        found = tiny_pipeline(make_pictures(2)).score
    finally:
        torch.set_default_dtype(torch.float32)
    np.testing.assert_array_equal(found, expected)


def test_files_that_are_no_pictures_are_named(tiny_pipeline, make_pictures, make_huge_png, tmp_path):
    whole, cut, text, point = (tmp_path / f"{name}.png" for name in ("whole", "cut", "text", "point"))
    Image.fromarray(make_pictures(1)[0]).save(whole)
    cut.write_bytes(whole.read_bytes()[:2000])
    text.write_text("not a picture")
    Image.new("RGB", (1, 1)).save(point)
    for path, words in (
        (cut, "cannot be read .*truncated"),
        (text, "is no picture"),
        (point, "1 x 1 pixels; at least 8 x 8"),
        (make_huge_png(20_000, 20_000), "too large.*[Cc]rop or shrink"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(ImageError, match=f"{path.name}`.*{words}"):
            tiny_pipeline([whole, path])
    with pytest.raises(FileNotFoundError, match=r"absent\.png"):
        tiny_pipeline(tmp_path / "absent.png")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_size": 66}, r"`image_size` is 66; `unet` .* multiple of 4"),
        ({"image_size": 0}, r"`image_size` is 0"),
        ({"patch_size": 4}, r"`patch_size` is 4, but `unet` works with 2"),
        ({"resize_mode": "crop"}, r"`resize_mode` is 'crop'"),
        ({"t_fine": 400}, r"`t_fine` is 400 and `t_coarse` 400"),
    ],
)
def test_sizes_and_settings_that_do_not_fit_are_refused_at_once(tiny_pipeline, settings, words):
    with pytest.raises(ValueError, match=words):
        DiffusionADPipeline(**tiny_pipeline.components, **{"image_size": 64, **settings})


def test_a_size_that_the_segmenter_cannot_halve_names_the_segmenter(tiny_pipeline):
    deep = AnomalySegmenter(block_out_channels=(8, 8, 8, 8, 8, 8))
    with pytest.raises(ValueError, match=r"`image_size` is 48; `segmenter` .* multiple of 32"):
        DiffusionADPipeline(tiny_pipeline.unet, tiny_pipeline.scheduler, deep, image_size=48)


def test_a_scheduler_that_predicts_something_else_is_refused(tiny_pipeline):
    with pytest.raises(ValueError, match=r"`scheduler` predicts 'v_prediction'; use 'epsilon' or 'sample'"):
        DiffusionADPipeline(
            tiny_pipeline.unet,
            DDPMScheduler(prediction_type="v_prediction"),
            tiny_pipeline.segmenter,
            image_size=64,
        )
