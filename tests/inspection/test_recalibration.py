"""`diffusionad calibrate`: a threshold from pictures of good parts, stored with the model."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusionad import DiffusionADPipeline
from diffusionad import calibrate as conformal
from diffusionad.cli.main import main
from diffusionad.loading.fingerprint import pipeline_sha256
from diffusionad.ui.serving.inspection_state import judge


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, make_pictures) -> Path:
    folder = tmp_path_factory.mktemp("good")
    for i, pixels in enumerate(make_pictures(24, side=70, seed=5)):
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    return folder


@pytest.fixture
def model(tiny_model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model_folder, tmp_path / "run" / "pipeline"))


@pytest.fixture
def run(capsys) -> Callable[..., tuple[int, str, str]]:
    """Arguments of `diffusionad calibrate` -> exit status, stdout, stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        status = main(["calibrate", *map(str, arguments)])
        return status, *capsys.readouterr()

    return call


def test_the_threshold_is_stored_with_the_model_and_nothing_else_changes(run, good, model) -> None:
    before = {p: p.read_bytes() for p in model.rglob("*") if p.is_file()}
    status, out, err = run(good, "--model", model, "--rate", 0.1)
    assert (status, err) == (0, "")
    assert "false-alarm rate 10 %, n = 24 (these pictures support 4 % at best)" in out
    changed = {p for p in model.rglob("*") if p.is_file() and before.get(p) != p.read_bytes()}
    assert changed == {model / "model_index.json"}
    pipeline = DiffusionADPipeline.from_pretrained(model)
    stored = pipeline.config.calibration
    output = pipeline(sorted(good.iterdir()))
    assert (stored["n"], stored["rate"]) == (24, 0.1)
    assert pipeline.config.threshold == stored["threshold"] == np.sort(output.score)[22]  # ceil(25 * 0.9)
    peaks = np.sort([m.max() for m in output.anomaly_map])
    assert stored["pixel_threshold"] == output.pixel_threshold == peaks[22]
    assert output.is_anomalous.sum() == 1
    # A defective picture has its place, whatever its peak.
    marked = [bool(mask.any()) for mask in output.mask]
    above = [m.max() > output.pixel_threshold for m in output.anomaly_map]
    assert marked == [a or d for a, d in zip(above, output.is_anomalous, strict=True)]


def test_a_copy_is_calibrated_and_the_original_left_alone(run, good, model, tmp_path) -> None:
    before = (model / "model_index.json").read_bytes()
    status, _, _ = run(good, "--model", model, "--output", tmp_path / "copy", "--t-fine", 150)
    assert status == 0 and (model / "model_index.json").read_bytes() == before
    copy = DiffusionADPipeline.from_pretrained(tmp_path / "copy")
    assert copy.config.t_fine == 150 and copy.config.calibration["n"] == 24
    assert pipeline_sha256(tmp_path / "copy") != pipeline_sha256(model)  # other settings, other scores
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "copy" / weights).read_bytes() == (model / weights).read_bytes()


@pytest.mark.parametrize("name", ["train", "validation"])
def test_pictures_that_the_model_knows_are_refused(name, run, good, model) -> None:
    known = sorted(good.iterdir())[3]
    listed = {name: [{"file": "elsewhere.png", "sha256": hashlib.sha256(known.read_bytes()).hexdigest()}]}
    (model.parent / "splits.json").write_text(json.dumps(listed))
    before = (model / "model_index.json").read_bytes()
    status, _, err = run(good, "--model", model)
    assert status == 2 and f"1 of 24 pictures are in the {name} set" in err and known.name in err
    assert (model / "model_index.json").read_bytes() == before


def test_a_rate_that_the_pictures_cannot_promise_is_answered_with_the_smallest(run, good, model) -> None:
    status, _, err = run(good, "--model", model, "--rate", 0.01)
    assert status == 2
    assert "24 good pictures support 0.04 at best" in err and "at least 99 pictures" in err


def test_few_pictures_work_with_a_warning(run, good, model, caplog) -> None:
    files = sorted(good.iterdir())[:9]
    status, out, _ = run(*files, "--model", model)
    assert status == 0 and "false-alarm rate 10 %, n = 9" in out
    assert "Only 9 good pictures" in caplog.text


def test_a_broken_picture_is_left_out_and_named(run, good, model, tmp_path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(sorted(good.iterdir())[0].read_bytes()[:200])
    status, out, err = run(good, broken, "--model", model)
    assert status == 0 and "n = 24" in out
    assert str(broken) in err and "left out" in err


def test_an_embedded_model_is_not_changed_in_place(run, good) -> None:
    status, _, err = run(good, "--model", "fabric")
    assert status == 2 and "--output is missing: `fabric`" in err


def test_inspect_warns_when_the_line_has_drifted(run, good, model, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("diffusionad.postprocessing.drift.WINDOW", 40)
    run(good, "--model", model)
    many = tmp_path / "many"
    many.mkdir()
    [darkest, *_] = sorted(good.iterdir())
    pixels = np.asarray(Image.open(darkest))
    for i in range(40):  # a lamp that grows weaker
        Image.fromarray((pixels * (0.7 - 0.001 * i)).astype(np.uint8)).save(many / f"{i:03d}.png")
    arguments = ["inspect", str(many), "--model", str(model), "--output", str(tmp_path / "out")]
    assert main([*arguments, "--no-overlays", "--quiet"]) == 0
    assert "the line has drifted" in capsys.readouterr().err
    assert main([*arguments, "--no-overlays", "--quiet", "--t-fine", "100"]) == 0  # nothing to compare with
    assert "drifted" not in capsys.readouterr().err


def test_the_page_marks_pixels_by_the_pixel_threshold_until_the_threshold_is_moved() -> None:
    anomaly_map = np.array([[0.1, 0.4], [0.6, 0.9]], np.float32)
    calibration = conformal([0.1, 0.2, 0.3], 0.25, peaks=[0.4, 0.5, 0.5])
    at_calibration, moved = (judge(anomaly_map, 0.9, threshold, calibration)[0] for threshold in (0.3, 0.35))
    assert at_calibration.tolist() == [[False, False], [True, True]]
    assert moved.tolist() == [[False, True], [True, True]]


def test_pipes_hidden_folders_and_pictures_that_cannot_be_tiled_do_not_count(
    run, good, model, tmp_path
) -> None:
    DiffusionADPipeline.from_pretrained(model).configure(
        resize_mode="tile", shorter_side=160
    ).save_pretrained(model)
    (model.parent / "splits.json").write_text("{}")  # so that every file is hashed
    folder = Path(shutil.copytree(good, tmp_path / "mixed"))
    for hidden in (".Trash-0/files", ".ipynb_checkpoints"):
        (folder / hidden).mkdir(parents=True)
        shutil.copy(folder / "00.png", folder / hidden / "defect.png")
    Image.new("RGB", (30_000, 8)).save(folder / "strip.png")
    os.mkfifo(folder / "pipe.png")
    status, _, err = run(folder, folder / "pipe.png", "--model", model, "--rate", 0.1)
    assert status == 0
    assert DiffusionADPipeline.from_pretrained(model).config.calibration["n"] == 24
    reported = [line for line in err.splitlines() if "left out, it cannot be inspected" in line]
    assert [Path(line.split(": ")[0]).name for line in reported] == ["strip.png", "pipe.png"]


def test_the_pictures_that_set_the_threshold_are_named_and_can_be_left_out(run, good, model) -> None:
    _, out, _ = run(good, "--model", model, "--rate", 0.1)
    listed = [line.split() for line in out.splitlines() if line.startswith("  ")]
    threshold = DiffusionADPipeline.from_pretrained(model).config.threshold
    assert len(listed) == 2 and listed[1][0] == f"{threshold:.4f}"
    worst = listed[0][1]
    _, out, _ = run(good, "--model", model, "--rate", 0.1, "--leave-out", worst, "--leave-out", worst)
    stored = DiffusionADPipeline.from_pretrained(model).config.calibration
    assert (stored["n"], stored["left_out"]) == (23, 1)
    assert worst not in out and "You left out 1" in out
    status, _, err = run(good, "--model", model, "--leave-out", "elsewhere.png")
    assert status == 2 and "`elsewhere.png` is none of the 24 pictures" in err


def test_a_calibrated_model_tells_another_picture_from_its_part(run, good, model, tmp_path, capsys) -> None:
    run(good, "--model", model)
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(good / "00.png", photos / "part.png")
    nothing = np.random.default_rng(0).normal(8, 2, (70, 70, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(nothing).save(photos / "cap.png")
    words = ["inspect", str(photos), "--model", str(model), "--output", str(tmp_path / "report")]
    assert main([*words, "--threshold", "1", "--fail-on-anomaly", "--no-overlays"]) == 1
    assert "NOT A PART I KNOW" in (out := capsys.readouterr().out)
    assert "0 defective, 1 good, 1 not a part that the model knows" in out
    written = json.loads((tmp_path / "report" / "results.json").read_text())
    words = {Path(row["file"]).stem: (row["verdict"], row["is_known"]) for row in written["results"]}
    assert words == {"cap": ("unknown", False), "part": ("good", True)}
