"""Runs side by side."""

import json
from pathlib import Path

import pytest

from training.config import load_config, to_toml
from training.trials import main, table


def write_run(folder: Path, auroc: float, *settings: str) -> Path:
    folder.mkdir()
    (folder / "config.toml").write_text(to_toml(load_config("tiny", list(settings))))
    metrics = {
        "category": "bolt",
        "train_minutes": 15.04,
        "steps": 900,
        "image_auroc": {"value": auroc, "interval": [0.5, 1.0]},
        "per_defect": {"crack": {"n": 3, "image_auroc": {"value": 0.75, "interval": [0.5, 1.0]}}},
        "absent": {"aupro": "no masks"},
    }
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_a_trial_is_described_by_what_it_changed(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "baseline", 0.8, "optim.seed=1", 'data.path="/here"'),
        write_run(tmp_path / "slower", 0.7, "optim.unet_lr=1e-4", "optim.max_steps=7"),
    ]
    head, _, baseline, slower = table(runs).splitlines()
    assert head.count("|") == baseline.count("|") == slower.count("|")
    assert "(baseline)" in baseline and "| 0.800 |" in baseline
    assert "| `optim.unet_lr=0.0001` |" in slower and "| 0.700 | absent | absent |" in slower
    assert "crack 0.750" in slower and "| 15.0 | 900 |" in slower


def test_the_command_writes_the_table(tmp_path: Path) -> None:
    run, output = write_run(tmp_path / "run", 0.8), tmp_path / "benchmarks/trials.md"
    assert main([str(run), "--output", str(output)]) == 0
    assert "| run | (baseline) | bolt |" in output.read_text()


@pytest.mark.parametrize("name", ["config.toml", "metrics.json"])
def test_an_unfinished_run_is_named(tmp_path: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    run = write_run(tmp_path / "run", 0.8)
    (run / name).unlink()
    assert main([str(run), "--output", str(tmp_path / "trials.md")]) == 2
    assert name in capsys.readouterr().err
