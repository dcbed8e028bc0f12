"""Training for pictures in tiles: crops of them, drawn anew in each epoch, and a pipeline that cuts them."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import SMALL, arguments, write_squares

from diffusionad import DiffusionADPipeline
from diffusionad.cli.options import run
from diffusionad.images.image_io import read_image, resize
from training import train as training
from training.cli import preview_command
from training.config.loader import load_config
from training.data.catalog import scan
from training.evaluation.evaluator import evaluate
from training.run_folder import checkpoints
from training.studies.baseline_methods import ReconstructionError
from training.synthesis import dataset
from training.synthesis.dataset import SyntheticAnomalies, crop_window
from training.trainer.networks import build_networks, build_pipeline
from training.trainer.validation import Validation

TILED = [*SMALL, "data.resize_mode=tile"]


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


def paths_of(folder: Path) -> list[Path]:
    return sorted((folder / "train/good").iterdir())


@pytest.fixture(scope="module")
def finished_run(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "tiled"
    assert training.main(arguments(good_folder, output, settings=TILED)) == 0
    return output


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture whose pixels say where they are: red is the column, green the row."""
    rows, columns = np.mgrid[0:50, 0:80].astype(np.uint8)
    path = tmp_path_factory.mktemp("numbered") / "000.png"
    Image.fromarray(np.stack([columns, rows, np.zeros_like(rows)], axis=2)).save(path)
    return path


def test_a_crop_of_nothing_but_background_stops_no_training(tmp_path: Path) -> None:
    for i in range(16):
        pixels = np.full((64, 96, 3), 255, np.uint8)
        pixels[:20, :20] = np.random.default_rng(i).integers(90, 130, (20, 20, 3))
        (tmp_path / "good").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "good" / f"{i:03d}.png")
    words = arguments(tmp_path / "good", tmp_path / "run", "--max-steps", "1", settings=TILED)
    assert training.main([*words, "--set", "data.foreground=none"]) == 0


def test_a_crop_depends_on_seed_epoch_and_index_alone(good_folder: Path) -> None:
    config = load_config("tiny", TILED)
    one, two = (SyntheticAnomalies(paths_of(good_folder), config, seed=7) for _ in range(2))
    two[0, 3]  # another history
    first, second = one[2, 5], two[2, 5]
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["x_0"].shape == (3, 32, 32) and first["mask"].shape == (1, 32, 32)
    other_seed = SyntheticAnomalies(paths_of(good_folder), config, seed=8)
    crops = [one.picture(2, 5), one.picture(3, 5), one.picture(2, 6), other_seed.picture(2, 5)]
    assert len({crop.tobytes() for crop in crops}) == 4


def test_faint_defects_come_later_in_training_and_at_once_in_validation(good_folder: Path) -> None:
    faint = ["synthesis.visible_sigma=0.5", "synthesis.visible_sigma_start=0", *TILED]
    eased = [
        "synthesis.visible_sigma=0.5",
        "synthesis.visible_sigma_start=60",
        "synthesis.easy_samples=24",
        *TILED,
    ]
    paths = paths_of(good_folder)
    always, later = (SyntheticAnomalies(paths, load_config("tiny", s), 0, 1.0) for s in (faint, eased))
    first = [(always[0, i]["mask"], later[0, i]["mask"]) for i in range(8)]
    last = [(always[24, i]["mask"], later[24, i]["mask"]) for i in range(8)]
    assert not all(torch.equal(*pair) for pair in first)
    assert all(torch.equal(*pair) for pair in last)
    one, two = (Validation(paths, load_config("tiny", settings)) for settings in (faint, eased))
    assert all(np.array_equal(*pair) for pair in zip(one.masks, two.masks, strict=True))


def test_a_normal_sample_is_its_crop_and_the_crop_is_a_piece_of_the_picture(numbered: Path) -> None:
    samples = SyntheticAnomalies([numbered], load_config("tiny", TILED), seed=0, probability=0.0)
    pixels = read_image(numbered)
    for epoch in range(5):
        crop = samples.picture(epoch, 0)
        np.testing.assert_allclose(
            (samples[epoch, 0]["x_0"].permute(1, 2, 0).numpy() + 1) / 2, crop, atol=1e-6
        )
        left, top = (int(value) for value in (crop[0, 0, :2] * 255).round())
        np.testing.assert_allclose(crop, pixels[top : top + 32, left : left + 32], atol=1e-6)


def test_the_whole_picture_is_seen_and_its_corners_soon(numbered: Path) -> None:
    samples = SyntheticAnomalies([numbered], load_config("tiny", TILED), seed=0)
    seen = np.zeros((50, 80), int)
    for epoch in range(100):
        columns, rows = (samples.picture(epoch, 0)[..., :2] * 255).round().astype(int).transpose(2, 0, 1)
        seen[rows, columns] += 1
    assert seen.min() >= 3


def test_a_picture_of_one_tile_has_one_crop() -> None:
    rng = np.random.default_rng(0)
    assert all(crop_window((32, 32), 32, rng) == (slice(0, 32), slice(0, 32)) for _ in range(9))


def test_crops_are_taken_at_the_scale_of_the_tiles(numbered: Path) -> None:
    config = load_config("tiny", [*TILED, "data.shorter_side=40", "data.antialias=false"])
    samples = SyntheticAnomalies([numbered], config, seed=0)
    small = resize(read_image(numbered), (40, 64), antialias=False)
    image, _ = samples._picture(0)
    np.testing.assert_array_equal(image, (small * 255).round().astype(np.uint8))


def test_the_object_is_found_in_the_whole_picture_and_crops_beside_it_stay_normal(tmp_path: Path) -> None:
    pixels = np.full((64, 200, 3), 40, np.uint8)
    pixels[16:48, 140:180] = 220  # far from the left half
    Image.fromarray(pixels).save(tmp_path / "000.png")
    config = load_config("tiny", [*TILED, "data.foreground=classical", "synthesis.kind=auto"])
    samples = SyntheticAnomalies([tmp_path / "000.png"], config, seed=0, probability=1.0)
    labels = set()
    for epoch in range(40):
        has_object = samples.picture(epoch, 0).max() > 0.5
        sample = samples[epoch, 0]
        assert int(sample["label"]) == has_object == bool(sample["mask"].any())
        labels.add(int(sample["label"]))
    assert labels == {0, 1}
    # Validation draws again until a crop has a defect.
    validation = Validation([tmp_path / "000.png"], config)
    assert validation.labels.tolist() == [0] + [1] * 8
    assert all(mask.any() == label for mask, label in zip(validation.masks, validation.labels, strict=True))


def test_validation_without_any_part_of_an_object_says_what_to_change(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    Image.new("RGB", (48, 40)).save(tmp_path / "000.png")
    Image.new("L", (48, 40)).save(tmp_path / "masks/000.png")
    config = load_config("tiny", [*TILED, f"data.foreground={tmp_path / 'masks'}", "synthesis.kind=object"])
    with pytest.raises(
        ValueError, match=r"`data\.shorter_side` is 0.*no crop of 32 pixels.*`data\.foreground`"
    ):
        Validation([tmp_path / "000.png"], config)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), np.uint8)).save(
        tmp_path / "001.png"
    )
    Image.new("L", (48, 40), 255).save(tmp_path / "masks/001.png")
    some = Validation([tmp_path / "000.png", tmp_path / "001.png"], config)
    assert some.labels.tolist() == [0, 0] + [0, 1] * 4, "what stayed normal counts as normal"


def test_pictures_beyond_the_cache_are_read_again_with_the_same_bits(good_folder: Path, monkeypatch) -> None:
    config = load_config("tiny", TILED)
    cached = SyntheticAnomalies(paths_of(good_folder), config, seed=0)
    expected = [cached[0, i]["x_0"] for i in range(4)]
    monkeypatch.setattr(dataset, "MAX_CACHE_BYTES", 2 * 40 * 48 * 3 + 5000)
    small = SyntheticAnomalies(paths_of(good_folder), config, seed=0)
    assert all(torch.equal(small[0, i]["x_0"], x_0) for i, x_0 in enumerate(expected))
    assert 0 < len(small._cache) < len(cached._cache) == 4


def test_validation_looks_at_crops_as_they_are(good_folder: Path) -> None:
    """At another scale than the pipeline's own, their figures would say nothing about training."""
    config = load_config("tiny", [*TILED, "data.shorter_side=40"])
    validation = Validation(paths_of(good_folder)[:4], config)
    assert {image.shape for image in validation.images} == {(32, 32, 3)}
    pipeline = build_pipeline(config, "squares", *build_networks(config))
    seen = []
    hook = pipeline.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    found = validation.run(pipeline)
    hook.remove()
    assert len(seen) == len(validation.images), "each crop is one tile"
    assert np.isfinite(list(found.values())).all()
    assert validation.panels(pipeline, count=2).shape == (2, 32, 96, 3)
    assert pipeline.config.resize_mode == "tile" and pipeline.config.shorter_side == 40


def test_a_run_in_tiles_ends_with_metrics_and_a_calibrated_pipeline(
    finished_run: Path, good_folder: Path
) -> None:
    metrics = json.loads((finished_run / "metrics.json").read_text())
    assert 0 <= metrics["image_auroc"]["value"] <= 1 and 0 <= metrics["pixel_auroc"]["value"] <= 1
    assert metrics["reconstruction"]["psnr_normal_db"] > 0
    assert metrics["config"]["resize_mode"] == "tile" and metrics["config"]["shorter_side"] is None
    pipeline = DiffusionADPipeline.from_pretrained(finished_run / "pipeline")
    assert pipeline.config.calibration["n"] == 5
    output = pipeline(good_folder / "test/corner/000.png")
    assert output.reconstruction[0].size == (48, 40) and output.p_value is not None
    # The scores of the calibration are those of whole pictures.
    listed = json.loads((finished_run / "splits.json").read_text())["calibration"]
    by_name = {path.name: path for path in paths_of(good_folder)}
    scores = pipeline([by_name[Path(entry["file"]).name] for entry in listed]).score
    assert sorted(scores.tolist()) == pytest.approx(sorted(pipeline.config.calibration["scores"]))


def test_a_run_in_tiles_resumes_bit_for_bit(finished_run: Path, good_folder: Path, tmp_path: Path) -> None:
    assert training.main(arguments(good_folder, tmp_path / "run", "--max-steps", "8", settings=TILED)) == 0
    for name in ("checkpoint-8", "metrics.json"):
        (tmp_path / "run" / name).rename(tmp_path / name)
    assert [path.name for path in checkpoints(tmp_path / "run")][-1] == "checkpoint-4"
    words = arguments(good_folder, tmp_path / "run", "--max-steps", "8", "--resume", settings=TILED)
    assert training.main(words) == 0
    straight, again = (
        torch.load(run / "checkpoint-8/state.pt", weights_only=True)
        for run in (finished_run, tmp_path / "run")
    )
    for name in ("unet", "segmenter", "ema_unet", "ema_segmenter"):
        assert all(torch.equal(straight[name][key], again[name][key]) for key in straight[name]), name


def test_a_shorter_side_below_the_tile_is_refused_before_training(
    good_folder: Path, tmp_path, capsys
) -> None:
    for settings, words in (
        ([*TILED, "data.shorter_side=16"], "`shorter_side` is 16"),
        ([*SMALL, "data.shorter_side=64"], "with `resize_mode` 'stretch'"),
        ([*SMALL, "data.resize_mode=crop"], "`resize_mode` is 'crop'"),
    ):
        assert training.main(arguments(good_folder, tmp_path / "run", settings=settings)) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "run/config.toml").exists()


def test_twins_and_peers_are_measured_at_the_size_of_each_picture(
    fresh_pipeline, waves, make_pictures
) -> None:
    fresh_pipeline.configure(resize_mode="tile", calibration=None)
    metrics, rows = evaluate(fresh_pipeline, scan(waves).test, replicates=0)
    found = {"psnr_normal_db", "psnr_part_db", "gradient_correlation", "defect_residue"}
    assert metrics["reconstruction"].keys() == found
    assert len(rows) == 10
    picture = make_pictures(1, side=100)[0][:, :80].astype(np.float32) / 255
    repaired = fresh_pipeline(picture, output_type="np").reconstruction[0]
    distances, score = ReconstructionError(fresh_pipeline).distances(picture)
    assert distances.shape == (100, 80)
    assert distances.mean() == pytest.approx(np.abs(picture - repaired).mean(), rel=0.05)
    k = round(50 / 256**2 * 64 * 64)
    assert score == pytest.approx(np.sort(distances.ravel())[-k:].mean())


def test_the_contact_sheet_shows_crops_as_trained_on(numbered: Path, tmp_path: Path) -> None:
    preset = tmp_path / "mine.toml"
    preset.write_text('extends = "tiny"\n[data]\nimage_size = 32\nresize_mode = "tile"\nshorter_side = 0\n')
    words = ["--data", str(numbered.parent), "--preset", str(preset), "--count", "2", "--columns", "1"]
    assert run(preview_command, [*words, "--output", str(tmp_path / "sheet.png")], "preview") == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        shown, another = (np.asarray(sheet)[y : y + 32, :32] for y in (14, 32 + 4 + 2 * 14))
    left, top, _ = shown[0, 0]
    np.testing.assert_array_equal(shown[..., 0], np.tile(np.arange(left, left + 32), (32, 1)))
    np.testing.assert_array_equal(shown[..., 1], np.tile(np.arange(top, top + 32), (32, 1)).T)
    assert (another != shown).any(), "of the same picture another crop"


def test_both_settings_reach_the_pipeline() -> None:
    config = load_config("tiny", [*TILED, "data.shorter_side=48"])
    pipeline = build_pipeline(config, "x", *build_networks(config))
    assert (pipeline.config.resize_mode, pipeline.config.shorter_side) == ("tile", 48)
    native = dataclasses.replace(config, data=dataclasses.replace(config.data, shorter_side=0))
    assert build_pipeline(native, "x", *build_networks(native)).config.shorter_side is None
