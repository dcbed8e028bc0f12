"""The bits that a camera uses are found in the good pictures, and every step of training reads with them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import SMALL, arguments

from diffusionad import DiffusionADPipeline
from diffusionad.cli.options import run
from diffusionad.images import bit_depth
from diffusionad.images.image_io import read_image
from training import train as training
from training.cli import preview_command
from training.config.loader import from_dict, load_config
from training.data.bit_depth import check_bit_depth, find_bit_depth
from training.data.records import Record
from training.evaluation.accumulators import ReconstructionAccumulator
from training.evaluation.figures import write_samples
from training.run_folder import same_config
from training.studies import baselines
from training.studies.baseline_methods import PixelGaussian
from training.synthesis.dataset import SyntheticAnomalies
from training.synthesis.textures import TextureBank
from training.trainer.reconstruction_buffer import ReconstructionBuffer

LEVELS = 366  # grey levels that a camera of 12 bits uses on a dark part


@pytest.fixture(autouse=True)
def nothing_warned_of() -> None:
    bit_depth.WARNED.clear()


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def part(seed: int, low: int = 900, levels: int = LEVELS) -> np.ndarray:
    """A picture of 40 x 48 pixels with values from `low` on, uint16."""
    return np.random.default_rng(seed).integers(low, low + levels, (40, 48)).astype(np.uint16)


@pytest.fixture
def dark_parts(tmp_path: Path) -> Path:
    """MVTec-AD layout: parts before a camera of 12 bits, some with a bright corner."""
    root = tmp_path / "dark"
    for i in range(16):
        save(root / f"train/good/{i:03d}.png", part(i, low=3000 if i == 0 else 900))
    for i in range(3):
        save(root / f"test/good/{i:03d}.png", part(20 + i))
        damaged, mask = part(30 + i), np.zeros((40, 48), np.uint8)
        damaged[:12, :12], mask[:12, :12] = 4000, 255
        save(root / f"test/corner/{i:03d}.png", damaged)
        save(root / f"ground_truth/corner/{i:03d}_mask.png", mask)
    return root


def good_of(root: Path) -> list[Path]:
    return sorted((root / "train/good").iterdir())


@pytest.mark.parametrize(
    ("highest", "bits"),
    [(255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16384, 16), (65535, 16)],
)
def test_the_depth_is_the_least_that_holds_all_good_pictures(tmp_path, highest, bits) -> None:
    pixels = part(0, low=0, levels=100)
    dark = save(tmp_path / "dark.png", pixels)
    pixels[3, 3] = highest
    assert find_bit_depth([dark, save(tmp_path / "bright.tif", pixels)]) == bits


def test_no_depth_is_found_where_no_picture_has_integers_of_16_bits(tmp_path) -> None:
    eight = save(tmp_path / "eight.png", np.zeros((9, 9), np.uint8))
    floats = save(tmp_path / "floats.tif", np.zeros((9, 9), np.float32))
    stated = tmp_path / "stated.pgm"
    stated.write_bytes(b"P5\n9 9\n1023\n" + np.full((9, 9), 1023, ">u2").tobytes())
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    assert find_bit_depth([eight, floats, stated, broken]) is None
    check_bit_depth([eight, floats, stated, broken], 8)


def test_pictures_above_the_depth_are_counted_and_the_brightest_is_named(tmp_path) -> None:
    paths = [save(tmp_path / f"{i}.png", part(i, low=900 * i, levels=100)) for i in range(4)]
    with pytest.raises(
        ValueError, match=r"2 of 4 pictures .* above 1023.*`.*3\.png` with 27\d\d; set .* 12 or more"
    ):
        check_bit_depth(paths, 10)


@pytest.mark.parametrize("depth", [-1, 7, 17])
def test_a_config_with_a_depth_that_no_camera_has_is_refused(depth) -> None:
    with pytest.raises(ValueError, match=f"`data.bit_depth` is {depth}; give the camera's, 8 to 16"):
        from_dict({"data": {"bit_depth": depth}})


def config_of(depth: int, *more: str):
    return load_config("tiny", [*SMALL, f"data.bit_depth={depth}", "data.image_size=40", *more])


def test_the_cache_keeps_the_grey_levels_of_a_camera(tmp_path) -> None:
    pixels = np.resize(np.arange(1000, 1000 + LEVELS), (40, 40)).astype(np.uint16)
    samples = SyntheticAnomalies([save(tmp_path / "a.png", pixels)], config_of(12), seed=0)
    expected = np.repeat(pixels[:, :, None] / 4095, 3, axis=2)
    for _ in range(2):  # read, then from the cache
        picture = samples.picture(0, 0)
        assert picture.dtype == np.float32 and len(np.unique(picture)) == LEVELS
        np.testing.assert_allclose(picture, expected, atol=0.51 / 65535)
    assert samples._cache[0][0].dtype == np.uint16


def test_the_cache_of_floats_keeps_their_depth(tmp_path) -> None:
    pixels = np.resize(np.linspace(0.2, 0.3, LEVELS), (40, 40)).astype(np.float32)
    samples = SyntheticAnomalies([save(tmp_path / "a.tif", pixels)], config_of(0), seed=0)
    np.testing.assert_allclose(samples.picture(0, 0)[:, :, 0], pixels, atol=0.51 / 65535)


@pytest.mark.parametrize("depth", [0, 12])
def test_pictures_of_8_bits_are_cached_in_8_bits_with_the_same_bits_as_ever(tmp_path, depth) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    samples = SyntheticAnomalies([save(tmp_path / "a.png", pixels)], config_of(depth), seed=0)
    cached = samples._picture(0)[0]
    assert cached.dtype == np.uint8
    np.testing.assert_array_equal(samples.picture(0, 0), cached.astype(np.float32) / 255)


def buffer_of(depth: int, x_0: torch.Tensor) -> ReconstructionBuffer:
    config = config_of(depth, "optim.buffer_size=2", "optim.segmenter_crop=0")
    sample = {"x_0": x_0, "mask": torch.zeros(1, 1, 40, 40)}
    return ReconstructionBuffer(iter([sample] * 9), lambda batch: {"x_0_hat": batch["x_0"]}, config, 0, 0)


def test_the_replay_buffer_keeps_the_grey_levels_of_a_camera() -> None:
    levels = torch.linspace(0.2, 0.3, LEVELS)
    x_0 = levels.repeat(14)[: 3 * 40 * 40].reshape(1, 3, 40, 40) * 2 - 1
    deep, shallow = (buffer_of(depth, x_0).draw()["x_0"][:1] for depth in (12, 0))
    assert (deep - x_0).abs().max() < 1.1 / 32767 and len(deep.unique()) == LEVELS
    bits_as_ever = ((x_0 + 1) * 127.5).round().to(torch.uint8).float() / 127.5 - 1
    assert torch.equal(shallow, bits_as_ever)


def test_a_run_finds_the_depth_says_so_and_keeps_it_with_model_and_config(
    dark_parts, tmp_path, capsys, caplog
) -> None:
    output = tmp_path / "run"
    assert training.main(arguments(dark_parts, output)) == 0
    assert "the values of the good pictures fit into 12 bits" in capsys.readouterr().out
    assert not [r for r in caplog.records if "its highest value" in r.getMessage()]
    pipeline = DiffusionADPipeline.from_pretrained(output / "pipeline")
    assert pipeline.config.bit_depth == 12
    assert load_config(str(output / "config.toml")).data.bit_depth == 12
    wanted = load_config("tiny", [*SMALL, f'data.path="{dark_parts}"'])
    assert same_config(output, wanted).data.bit_depth == 12  # so that the run may be resumed
    with pytest.raises(ValueError, match=r"data\.bit_depth was 12, now 14"):
        same_config(output, load_config("tiny", [*SMALL, "data.bit_depth=14"]))
    scores = pipeline(good_of(dark_parts)).score
    scaled = [read_image(path, bit_depth=12) for path in good_of(dark_parts)]
    np.testing.assert_array_equal(scores, pipeline(scaled).score)
    shown = np.asarray(Image.open(output / "samples/good_000.png"), np.float32)
    assert shown.max() > 100  # by the depth of the file it would be black


def test_a_run_refuses_at_the_start_what_could_not_be_tested_at_the_end(dark_parts, tmp_path, capsys) -> None:
    save(dark_parts / "test/corner/001.png", part(31) + 5000)
    assert training.main(arguments(dark_parts, tmp_path / "run")) == 2
    error = capsys.readouterr().err
    assert "1 of 22 pictures of 16 bits have values above 4095" in error and "corner/001.png" in error
    named = ["--set", "data.bit_depth=14", "--set", "optim.max_steps=1"]
    assert training.main(arguments(dark_parts, tmp_path / "run", *named)) == 0
    assert DiffusionADPipeline.from_pretrained(tmp_path / "run/pipeline").config.bit_depth == 14


def test_the_preview_shows_what_training_sees(dark_parts, tmp_path) -> None:
    sheet = tmp_path / "sheet.png"
    words = ["--data", str(dark_parts), "--output", str(sheet), "--size", "40", "--count", "2"]
    assert run(preview_command, [*words, "--foreground", "none"], "preview") == 0
    normal = np.asarray(Image.open(sheet).convert("L"), np.float32)[14:54, :40]
    assert abs(normal.mean() / 255 - (900 + LEVELS / 2) / 4095) < 0.02


def test_baselines_are_fitted_and_tested_at_the_depth(dark_parts, tmp_path, monkeypatch) -> None:
    gaussian = PixelGaussian(bit_depth=12)
    gaussian.fit(good_of(dark_parts)[1:])
    assert abs(gaussian.mean.mean() - (900 + LEVELS / 2) / 4095) < 0.01
    seen = []

    class Seeing(PixelGaussian):
        def distances(self, picture: np.ndarray) -> tuple[np.ndarray, float]:
            seen.append(float(picture.max()))
            return super().distances(picture)

    monkeypatch.setattr(baselines, "PixelGaussian", Seeing)
    monkeypatch.setattr(baselines, "PatchMemory", lambda seed, bit_depth: Seeing(bit_depth))
    assert baselines.main(["--data", str(dark_parts), "--output", str(tmp_path / "rows")]) == 0
    assert min(seen) > 0.25


def test_reconstructions_are_compared_with_pictures_at_the_depth(tmp_path) -> None:
    record = Record(save(tmp_path / "good.png", part(0)), "test", 0, "good")
    accumulator = ReconstructionAccumulator(bit_depth=12)
    accumulator.add(record, read_image(record.image, bit_depth=12) + np.float32(0.01))
    assert accumulator.compute()["psnr_normal_db"] == pytest.approx(40, abs=0.1)


def test_samples_are_drawn_at_the_depth(fresh_pipeline, tmp_path) -> None:
    record = Record(save(tmp_path / "part.png", part(0, low=3000)), "test", 0, "good")
    write_samples(fresh_pipeline.configure(bit_depth=12), [record], tmp_path / "samples", 1)
    drawn = np.asarray(Image.open(tmp_path / "samples/good_part.png").convert("L"))
    assert (drawn > 150).mean() > 0.1


def test_a_texture_of_16_bits_is_not_cut_off_at_255(tmp_path) -> None:
    save(tmp_path / "a.png", np.resize(np.arange(4096), (64, 64)).astype(np.uint16))
    texture = np.asarray(TextureBank(tmp_path, 32).draw_picture(np.random.default_rng(0)))
    assert 60 < texture.mean() < 200 and len(np.unique(texture)) > 50
