"""An export says what its pipeline says, without torch, or it is not kept."""

import json
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT

from diffusionad import DiffusionADPipeline, FeatureMemory, calibrate
from diffusionad.cli.calibrate import calibrate_command
from diffusionad.cli.export import export_command
from diffusionad.cli.inspect import inspect_command
from diffusionad.cli.options import run
from diffusionad.deploy.export import export
from diffusionad.deploy.exported import ExportedOutput, ExportedPipeline
from diffusionad.deploy.parity import Parity
from diffusionad.pipeline_output import DiffusionADOutput

pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory, make_pictures) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for i, pixels in enumerate(make_pictures(4, side=80)):
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def exported(tiny_model_folder, pictures, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("exports") / "tiny.onnx"
    words = [
        "--model",
        str(tiny_model_folder),
        "--pictures",
        str(pictures[0].parent),
        "--output",
        str(output),
    ]
    assert run(export_command, words, "diffusionad export") == 0
    return output


@pytest.fixture(scope="module")
def tiled(tiny_model_folder, make_pictures) -> DiffusionADPipeline:
    """Tiles, two noise draws, and a memory of good parts."""
    pipeline = DiffusionADPipeline.from_pretrained(
        tiny_model_folder, resize_mode="tile", num_noise_samples=2, calibration=None
    )
    memory = FeatureMemory(shorter_side=64, distance_range=(0.0, 2.0), residual_range=(0.0, 0.5))
    memory.patches = memory.patches.new_tensor(np.random.default_rng(0).random((300, 152)))
    memory.register_to_config(num_patches=300)
    pipeline.register_modules(feature_memory=memory)
    return pipeline.configure(calibration=calibrate(pipeline(make_pictures(30, side=80, seed=3)).score))


def test_the_export_has_the_maps_scores_and_verdicts_of_the_pipeline(exported, tiny_pipeline, pictures):
    theirs, ours = ExportedPipeline(exported)(pictures, output_type="np"), tiny_pipeline(pictures)
    assert [field.name for field in fields(ExportedOutput)] == [f.name for f in fields(DiffusionADOutput)]
    assert np.abs(theirs.score - ours.score).max() < 1e-4
    assert (theirs.is_anomalous == ours.is_anomalous).all() and (theirs.p_value == ours.p_value).all()
    for i in range(len(pictures)):
        assert np.abs(theirs.anomaly_map[i] - ours.anomaly_map[i]).max() < 1e-3
        assert len(theirs.regions[i]) == len(ours.regions[i])
    difference = theirs.reconstruction[0] - np.asarray(ours.reconstruction[0]) / 255
    assert np.abs(difference).max() < 2 / 255
    parity = json.loads((exported / "parity.json").read_text())
    assert parity["pictures"] == 4 and 0 < parity["map_difference"] < 1e-3 and parity["flips"] == {}


@pytest.mark.slow
def test_tiles_noise_draws_and_pretrained_features_are_exported_too(tiled, pictures, tmp_path):
    parity = export(tiled, tmp_path / "tiled", pictures)
    assert parity.map_difference < 1e-3
    assert (tmp_path / "tiled/distances.onnx").is_file()
    exported = ExportedPipeline(tmp_path / "tiled", threads=1)
    wide = np.random.default_rng(1).random((70, 150, 3), dtype=np.float32)  # another shape than before
    assert abs(exported(wide, batch_size=3).score[0] - tiled(wide).score[0]) < 1e-4


@pytest.mark.slow
def test_a_distilled_model_is_exported_for_any_number_of_tiles(tiny_model_folder, pictures, tmp_path):
    pipeline = DiffusionADPipeline.from_pretrained(tiny_model_folder, calibration=None)
    pipeline.register_to_config(denoising="distilled")  # as a student is saved
    assert export(pipeline, tmp_path / "student", pictures).map_difference < 1e-3


@pytest.mark.slow
def test_openvino_computes_the_same_in_fp32(tiny_pipeline, pictures, tmp_path):
    pytest.importorskip("openvino", reason="the extra [export] is not installed")
    parity = export(tiny_pipeline, tmp_path / "ov", pictures, format="openvino")
    assert parity.map_difference < 1e-3
    assert sorted(path.name for path in (tmp_path / "ov").iterdir()) == [
        "exported.json", "networks.bin", "networks.xml", "parity.json"
    ]  # fmt: skip


def test_an_export_runs_where_neither_torch_nor_diffusers_can_be_imported(exported, pictures):
    code = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'diffusers', 'huggingface_hub', 'safetensors'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from diffusionad.deploy.exported import ExportedPipeline\n"
        "print(ExportedPipeline(sys.argv[1])(sys.argv[2]).score[0])\n"
    )
    words = [sys.executable, "-c", code, str(exported), str(pictures[0])]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(ExportedPipeline(exported)(pictures[0]).score[0], abs=1e-6)


def test_the_command_inspects_with_an_export(exported, pictures, tmp_path, capsys):
    words = [str(pictures[0].parent), "--model", str(exported), "--output", str(tmp_path / "report")]
    assert run(inspect_command, words, "diffusionad inspect") == 0
    report = json.loads((tmp_path / "report/results.json").read_text())
    assert report["dtype"] == "fp32" and "onnxruntime" in report["versions"]
    assert len(report["results"]) == 4
    assert run(inspect_command, [*words, "--t-fine", "90"], "diffusionad inspect") == 2
    assert "`t_fine` is part of the exported graph" in capsys.readouterr().err


def test_thresholds_change_without_another_export(exported, pictures):
    pipeline = ExportedPipeline(exported)
    score = pipeline(pictures[0]).score[0]
    assert not pipeline(pictures[0], threshold=min(1.0, score + 1e-3)).is_anomalous[0]
    assert pipeline(pictures[0], threshold=score - 1e-3).is_anomalous[0]
    pipeline.configure(threshold=score - 1e-3)
    assert pipeline(pictures[0]).is_anomalous[0]
    half = np.zeros((10, 10), np.uint8)
    half[:, :5] = 255
    assert (pipeline(pictures[0], roi=half).anomaly_map[0][:, 60:] == 0).all()


def test_an_export_is_calibrated_as_its_pipeline_is(exported, tiny_model_folder, make_pictures, tmp_path):
    good = tmp_path / "good"
    good.mkdir()
    for i, pixels in enumerate(make_pictures(20, side=80, seed=5)):
        Image.fromarray(pixels).save(good / f"{i}.png")
    before = {path.name: path.read_bytes() for path in exported.iterdir()}
    for model, name in ((exported, "theirs"), (tiny_model_folder, "ours")):
        words = [str(good), "--model", str(model), "--output", str(tmp_path / name), "--rate", "0.05"]
        assert run(calibrate_command, words, "diffusionad calibrate") == 0
    theirs = ExportedPipeline(tmp_path / "theirs")
    ours = DiffusionADPipeline.from_pretrained(tmp_path / "ours")
    assert theirs.config.threshold == pytest.approx(ours.config.threshold, abs=1e-4)
    assert theirs.config.threshold != pytest.approx(ExportedPipeline(exported).config.threshold, abs=1e-4)
    assert theirs.config.calibration["n"] == 20
    p_value = theirs(good / "0.png").p_value
    assert p_value is not None and p_value[0] == pytest.approx(ours(good / "0.png").p_value[0])
    assert {path.name: path.read_bytes() for path in exported.iterdir()} == before


def test_an_export_is_calibrated_without_torch(exported, pictures, tmp_path):
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['diffusers'] = None\n"
        "from diffusionad.cli.calibrate import calibrate_command\n"
        "from diffusionad.cli.options import run\n"
        "sys.exit(run(calibrate_command, sys.argv[1:], 'diffusionad calibrate'))\n"
    )
    words = [str(pictures[0].parent), "--model", str(exported), "--output", str(tmp_path / "copy")]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert ExportedPipeline(tmp_path / "copy").config.calibration["n"] == len(pictures)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda about: about["settings"].update(threshold=7), "`threshold` is 7"),
        (lambda about: about["settings"].pop("roi"), "lacks a setting"),
        (lambda about: about.update(format="pickle"), "no known format"),
        (lambda about: about["graphs"].update({"networks.onnx": "0" * 64}), "is not the graph"),
        (lambda about: about.update(graphs={"../networks.onnx": "0"}), "is no file of this folder"),
        (lambda about: about.update(features={"shorter_side": 1e9}), "must name graphs"),
        (lambda about: about.update(settings=[]), "lacks settings"),
    ],
)
def test_a_damaged_or_foreign_folder_is_refused(exported, tmp_path, change, sentence):
    folder = shutil.copytree(exported, tmp_path / "copy")
    about = json.loads((folder / "exported.json").read_text())
    change(about)
    (folder / "exported.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match=sentence):
        ExportedPipeline(folder)


def test_links_out_of_the_folder_are_refused(exported, tmp_path):
    folder = shutil.copytree(exported, tmp_path / "copy")
    (folder / "networks.onnx").unlink()
    (folder / "networks.onnx").symlink_to(exported / "networks.onnx")
    with pytest.raises(ValueError, match="link out of the model's folder"):
        ExportedPipeline(folder)


def test_what_cannot_be_exported_is_said_before_anything_is_written(fresh_pipeline, pictures, tmp_path):
    output = tmp_path / "export"

    def refused(match: str, **given) -> None:
        with pytest.raises(ValueError, match=match):
            export(fresh_pipeline, output, given.pop("pictures", pictures), **given)
        assert list(tmp_path.iterdir()) == []

    refused("`format` is 'tflite'", format="tflite")
    refused("computes in fp32; use openvino", precision="bf16")
    refused("`precision` is 'int4'", format="openvino", precision="int4")
    refused("`pictures` is empty", pictures=[])
    fresh_pipeline.configure(num_inference_steps=2)
    refused("only one step is exported")


def test_a_broken_picture_leaves_nothing_behind(fresh_pipeline, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG")
    with pytest.raises(ValueError, match="broken"):
        export(fresh_pipeline, tmp_path / "export", [broken])
    assert [path.name for path in tmp_path.iterdir()] == ["broken.png"]


def test_verdicts_that_flip_beyond_the_margin_are_not_kept():
    Parity(5, 0.0, 0.0, {"near.png": 0.01}).check("bf16")
    with pytest.raises(ValueError, match=r"2 of 5 verdicts differ.*`far.png`"):
        Parity(5, 0.0, 0.0, {"far.png": 0.2, "near.png": 0.1}).check("bf16")
    with pytest.raises(ValueError, match=r"a map differs by 0\.5"):
        Parity(5, 0.5, 0.0, {}).check("fp32")
    with pytest.raises(ValueError, match="a score differs by nan"):
        Parity(5, 0.0, float("nan"), {}).check("bf16")


def test_int8_is_kept_where_it_tells_defects_as_well():
    Parity(5, 0.3, 0.2, {"near.png": 0.01}, auroc_loss=0.004).check("int8")
    with pytest.raises(ValueError, match=r"loses 0\.02 of image AUROC.*bf16"):
        Parity(5, 0.0, 0.0, {}, auroc_loss=0.02).check("int8")
    with pytest.raises(ValueError, match="verdicts differ"):
        Parity(5, 0.0, 0.0, {"far.png": 0.2}, auroc_loss=0.0).check("int8")


def test_int8_needs_openvino_and_pictures_with_defects(fresh_pipeline, pictures, tmp_path):
    with pytest.raises(ValueError, match="ONNX Runtime computes in fp32"):
        export(fresh_pipeline, tmp_path / "a", pictures, "onnx", "int8")
    with pytest.raises(ValueError, match="`damaged` is empty"):
        export(fresh_pipeline, tmp_path / "b", pictures, "openvino", "int8")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_exports_int8_and_says_what_it_loses(tiny_model_folder, pictures, tmp_path, capsys):
    pytest.importorskip("nncf", reason="the extra [export] is not installed")
    words = ["--model", str(tiny_model_folder), "--pictures", str(pictures[0].parent)]
    words += ["--format", "openvino", "--precision", "int8", "--output", str(tmp_path / "int8")]
    status = run(export_command, words, "diffusionad export")
    said = capsys.readouterr()
    if status == 0:  # an untrained model may or may not tell the defects in int8
        assert "Image AUROC on copies with a defect" in said.out
        whole = (tiny_model_folder / "unet/diffusion_pytorch_model.safetensors").stat().st_size
        assert (tmp_path / "int8/networks.bin").stat().st_size < whole
        assert ExportedPipeline(tmp_path / "int8")(pictures[0]).score[0] >= 0
    else:
        assert "the export is not kept" in said.err and list(tmp_path.iterdir()) == []


def test_a_missing_runtime_is_named_with_its_install_line(exported, monkeypatch):
    monkeypatch.setattr("diffusionad.deploy.runtimes.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'diffusionad\[export\]'"):
        ExportedPipeline(exported)
