"""The benchmark commands: common options, one-sentence errors, complete reports."""

import json
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from diffusionad import DiffusionADPipeline
from diffusionad.deploy.export import export
from training.benchmarks.latency import main as latency
from training.benchmarks.memory import main as memory
from training.benchmarks.report import write_report

NAMES = ("cold_start", "latency", "load_test", "memory", "metrics_cost", "step_cost")


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_needs_an_output(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert import_module(f"training.benchmarks.{name}").main([]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"python -m training.benchmarks.{name}: ") and "--output" in captured.err
    assert captured.err.count("\n") == 1


def test_a_clone_is_needed_for_a_cold_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cold_start = import_module("training.benchmarks.cold_start")
    assert (cold_start.REPOSITORY / "Makefile").is_file()
    monkeypatch.setattr(cold_start, "REPOSITORY", tmp_path)
    assert cold_start.main(["--output", str(tmp_path / "first.json")]) == 2
    assert "is no clone" in capsys.readouterr().err


def test_latency_times_the_networks_of_a_preset(tmp_path: Path) -> None:
    preset = tmp_path / "small.toml"
    preset.write_text(
        'extends = "tiny"\n[data]\nimage_size = 32\nresize_mode = "stretch"\nshorter_side = 0\n'
        "[model]\npatch_size = 2\nunet_channels = [16, 32]\nunet_attention_sizes = []\n"
        "segmenter_channels = [8, 16]\nsegmenter_stem_patch = 1\n"
    )
    output = tmp_path / "new" / "latency.json"
    assert latency(["--preset", str(preset), "--output", str(output), "--repeats", "1"]) == 0
    report = json.loads(output.read_text())
    assert [row["batch"] for row in report["rows"]][:2] == [1, 8] and report["image_size"] == 32
    assert all(row["ms_per_picture_min"] > 0 for row in report["rows"])
    assert report["gflop_per_picture"] > 0 and report["matrix_gflops"]["float32"] > 1
    table = output.with_suffix(".md").read_text().splitlines()
    assert table[2].startswith("| torch float32 | 1 |") and table[2].endswith("| 1.0 |")


@pytest.mark.slow
def test_latency_times_exports_beside_their_model(tiny_model_folder, make_pictures, tmp_path, capsys) -> None:
    pytest.importorskip("onnxruntime", reason="the extra [export] is not installed")
    Image.fromarray(make_pictures(1)[0]).save(tmp_path / "part.png")
    export(DiffusionADPipeline.from_pretrained(tiny_model_folder), tmp_path / "e", [tmp_path / "part.png"])
    words = ["--model", str(tiny_model_folder), "--output", str(tmp_path / "l.json"), "--repeats", "1"]
    assert latency([*words, "--exported", str(tmp_path / "e")]) == 0
    rows = json.loads((tmp_path / "l.json").read_text())["rows"]
    assert [row["form"] for row in rows[-2:]] == ["e: onnxruntime fp32"] * 2
    assert latency([*words, "--exported", str(tmp_path)]) == 2
    assert "exported.json` is missing" in capsys.readouterr().err


def test_an_unknown_preset_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (latency, memory):
        assert command(["--preset", "huge", "--output", str(tmp_path / "x.json")]) == 2
        error = capsys.readouterr().err
        assert "huge" in error and "tiny" in error and error.count("\n") == 1
    assert not (tmp_path / "x.json").exists()


def test_no_report_has_a_figure_that_is_not_finite(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"r\.json: rows: 0: seconds` is nan"):
        write_report(tmp_path / "r.json", {"rows": [{"seconds": float("nan")}]})
    assert list(tmp_path.iterdir()) == []
