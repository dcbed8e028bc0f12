"""A camera of 10 or 12 bits in files of 16: Python, command line, watch, calibration and app see it alike."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusionad import DiffusionADPipeline, learn_marks
from diffusionad.cli.main import main
from diffusionad.images import bit_depth
from diffusionad.inspection.inspector import Inspector
from diffusionad.inspection.recalibration import calibrate_with
from diffusionad.inspection.results import Result
from diffusionad.loading.bundled import demo_model
from diffusionad.loading.fingerprint import pipeline_sha256

FABRIC = Path(demo_model("fabric"))
DEFECTIVE = sorted(p for p in FABRIC.glob("examples/*.png") if not p.stem.startswith("good"))


@pytest.fixture(autouse=True)
def nothing_warned_of() -> None:
    bit_depth.WARNED.clear()


@pytest.fixture
def camera(fresh_pipeline) -> DiffusionADPipeline:
    """A model of a camera of 12 bits."""
    return fresh_pipeline.configure(bit_depth=12)


@pytest.fixture
def values(make_pictures) -> list[np.ndarray]:
    """Three pictures of 12 bits, [80,64] uint16."""
    return [p[:, :64, 0].astype(np.uint16) * 16 + 7 for p in make_pictures(3, side=80)]


@pytest.fixture
def files(values, tmp_path) -> list[Path]:
    folder = tmp_path / "line"
    folder.mkdir()
    paths = [folder / f"{i}.png" for i in range(len(values))]
    for path, pixels in zip(paths, values, strict=True):
        Image.fromarray(pixels).save(path)
    return paths


def as_floats(values: list[np.ndarray]) -> list[np.ndarray]:
    return [v.astype(np.float32) / 4095 for v in values]


def test_every_kind_of_source_gets_the_score_of_the_scaled_picture(camera, values, files, caplog):
    expected = camera(as_floats(values)).score
    for sources in (files, values, [Image.fromarray(v) for v in values]):
        np.testing.assert_array_equal(camera(sources).score, expected)
    assert not np.array_equal(camera.configure(bit_depth=16)(files).score, expected)
    assert not [r for r in caplog.records if "its highest value" in r.getMessage()]


@pytest.mark.parametrize("bits", [8, 10])
def test_the_defective_fabrics_stay_defective_in_files_of_16_bits(tmp_path, bits, caplog):
    pipeline = DiffusionADPipeline.from_pretrained(FABRIC)
    pipeline.set_progress_bar_config(disable=True)
    assert len(DEFECTIVE) == 6 and pipeline(DEFECTIVE).is_anomalous.all()
    paths = []
    for path in DEFECTIVE:
        grey = np.asarray(Image.open(path).convert("L"), np.uint16)
        paths.append(tmp_path / path.name)
        Image.fromarray(grey * (2**bits // 256)).save(paths[-1])
    dark = pipeline(paths)
    assert dark.is_anomalous.mean() < 0.5  # as before there was a depth, but not in silence
    assert f"`bit_depth` to {bits}" in caplog.text
    threshold = pipeline.config.threshold
    assert (pipeline.configure(bit_depth=bits)(paths).score > threshold).all()


def test_the_depth_is_saved_and_an_old_model_has_none_and_keeps_its_hash(camera, tiny_model_folder, tmp_path):
    camera.save_pretrained(tmp_path / "camera")
    assert DiffusionADPipeline.from_pretrained(tmp_path / "camera").config.bit_depth == 12
    old = shutil.copytree(tiny_model_folder, tmp_path / "old")
    index = json.loads((old / "model_index.json").read_text())
    assert index.pop("bit_depth") is None
    (old / "model_index.json").write_text(json.dumps(index))
    assert DiffusionADPipeline.from_pretrained(old).config.bit_depth is None
    assert pipeline_sha256(old) == pipeline_sha256(tiny_model_folder)
    assert pipeline_sha256(tmp_path / "camera") != pipeline_sha256(tiny_model_folder)


def test_another_depth_ends_the_calibration(fresh_pipeline):
    assert fresh_pipeline.config.calibration is not None
    assert fresh_pipeline.configure(bit_depth=12).config.calibration is None


@pytest.mark.parametrize("depth", [7, 17, 12.0, "12", True])
def test_a_depth_that_no_camera_has_is_refused(fresh_pipeline, depth):
    with pytest.raises(ValueError, match=r"`bit_depth` is .*; give an integer in 8\.\.16, or None"):
        fresh_pipeline.configure(bit_depth=depth)


def test_a_picture_above_the_depth_is_an_error_of_its_own_row(camera, values, files, tmp_path):
    Image.fromarray(values[1] * 4).save(files[1])
    results: list[Result] = list(Inspector(camera, tmp_path / "out", overlays=False)(files, files[0].parent))
    assert [result.error is None for result in results] == [True, False, True]
    assert "1.png` has values up to" in results[1].error and "`bit_depth` is 12" in results[1].error
    expected = camera([files[0], files[2]]).score
    assert [results[0].verdict.score, results[2].verdict.score] == expected.tolist()


def test_calibration_and_marks_read_at_the_depth_of_the_model(camera, values, files):
    expected = camera(as_floats(values)).score
    calibration = calibrate_with(camera, files, 0.5, lambda file, error: None).calibration
    np.testing.assert_array_equal(np.sort(calibration.scores), np.sort(expected))
    added = learn_marks(camera, files)
    camera.register_modules(mark_memory=None)
    assert added and added == learn_marks(camera, as_floats(values))


def test_the_command_line_stores_the_depth_with_the_calibration(
    tiny_model_folder, values, files, tmp_path, capsys
):
    folder, model, out = str(files[0].parent), str(tmp_path / "camera"), tmp_path / "out"
    named = ["--bit-depth", "12"]
    words = ["calibrate", folder, "--model", str(tiny_model_folder), "--output", model, "--rate", "0.5"]
    assert main([*words, *named]) == 0
    stored = DiffusionADPipeline.from_pretrained(model)
    assert stored.config.bit_depth == 12 and stored.config.calibration["n"] == 3
    assert main(["inspect", folder, "--model", model, "--output", str(out), "--no-overlays"]) == 0
    with open(out / "results.csv", newline="", encoding="utf-8") as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(scores, stored(as_floats(values)).score, atol=1e-5)
    assert main([*words[:-2], "--bit-depth", "17"]) == 2
    assert "`bit_depth` is 17" in capsys.readouterr().err


def test_the_overlay_shows_the_picture_as_the_model_sees_it(camera, values, files, tmp_path):
    camera.configure(threshold=1.0)
    list(Inspector(camera, tmp_path)(files[:1], files[0].parent))
    drawn = np.asarray(Image.open(tmp_path / "overlays/0.png"), np.float32) / 255
    assert abs(drawn.mean() - as_floats(values)[0].mean()) < 0.1
