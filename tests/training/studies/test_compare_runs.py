"""Runs side by side."""

import json
from pathlib import Path
from shutil import rmtree

import pytest

from training.config.loader import load_config, to_toml
from training.studies.compare_runs import main, table


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


def test_a_run_is_described_by_what_it_changed(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / "baseline", 0.8, "optim.seed=1", 'data.path="/here"'),
        write_run(tmp_path / "slower", 0.7, "optim.unet_lr=1e-4", "optim.max_steps=7"),
    ]
    head, _, baseline, slower = table(runs, load_config("tiny", ["optim.seed=1"])).splitlines()
    assert head.count("|") == baseline.count("|") == slower.count("|")
    assert "(baseline)" in baseline and "| 0.800 |" in baseline
    assert "| `optim.unet_lr=0.0001` |" in slower and "| 0.700 | absent | absent |" in slower
    assert "crack 0.750" in slower and "| 15.0 | 900 |" in slower


def test_the_command_writes_the_table(tmp_path: Path) -> None:
    run, output = write_run(tmp_path / "run", 0.8), tmp_path / "benchmarks/trials.md"
    assert main([str(run), "--output", str(output)]) == 0
    assert "| run | (baseline) | bolt |" in output.read_text()


def test_rows_of_runs_that_are_gone_stay(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    output = tmp_path / "trials.md"
    gone, again = write_run(tmp_path / "gone", 0.8), write_run(tmp_path / "again", 0.6)
    assert main([str(gone), str(again), "--output", str(output)]) == 0
    rmtree(gone)
    (again / "metrics.json").write_text((again / "metrics.json").read_text().replace("0.6", "0.65"))
    slower = write_run(tmp_path / "slower", 0.7, "optim.unet_lr=1e-4")
    assert main([str(again), str(slower), "--output", str(output)]) == 2
    assert "--baseline" in capsys.readouterr().err
    assert main([str(again), str(slower), "--baseline", "tiny", "--output", str(output)]) == 0
    rows = output.read_text().splitlines()[4:]
    assert [row.split(" | ")[0] for row in rows] == ["| run", "| ---", "| gone", "| again", "| slower"]
    assert "| 0.800 |" in rows[2] and "| 0.650 |" in rows[3] and "`optim.unet_lr=0.0001`" in rows[4]


@pytest.mark.parametrize("name", ["config.toml", "metrics.json"])
def test_an_unfinished_run_is_named(tmp_path: Path, name: str, capsys: pytest.CaptureFixture) -> None:
    run = write_run(tmp_path / "run", 0.8)
    (run / name).unlink()
    assert main([str(run), "--output", str(tmp_path / "trials.md")]) == 2
    assert name in capsys.readouterr().err
