"""What minutes buy: a run for each time, and a row for each form and baseline."""

import json
from pathlib import Path

import pytest
from small_runs import SMALL, write_squares

from training.studies import minutes
from training.studies.minutes import FROM_SCRATCH, WITH_FEATURES, baseline_rows, plot, rows_of

QUICK = [*SMALL, "optim.max_steps=2", "log.validations=1", "log.samples=0"]


def metric(value: float) -> dict:
    return {"value": value, "interval": [value - 0.1, value + 0.1]}


@pytest.fixture
def baselines(tmp_path: Path) -> Path:
    path = tmp_path / "baselines.json"
    rows = {"memory": {"fit_seconds": 30.0, "image_auroc": metric(0.8), "aupro": metric(0.7)}}
    rows["DiffusionAD"] = {"fit_seconds": 3600.0, "image_auroc": metric(0.9)}
    path.write_text(json.dumps({"rows": rows}))
    return path


def test_each_time_is_trained_once_and_has_a_row(tmp_path: Path, baselines: Path, capsys) -> None:
    data, output = write_squares(tmp_path / "squares"), tmp_path / "figures" / "minutes_squares"
    words = ["--data", str(data), "--minutes", "5,1", "--baselines", str(baselines), "--preset", "tiny"]
    words += ["--runs", str(tmp_path / "runs"), "--output", str(output)]
    words += [part for setting in QUICK for part in ("--set", setting)]
    assert minutes.main(words) == 0
    rows = json.loads(output.with_suffix(".json").read_text())["rows"]
    assert [row["minutes"] for row in rows] == [1, 5, 0.5]
    assert [row["form"] for row in rows] == [FROM_SCRATCH, FROM_SCRATCH, "memory"]
    assert rows[0]["psnr_part_db"] > 0
    assert output.with_suffix(".png").stat().st_size > 1000
    table = output.with_suffix(".md").read_text()
    assert table in capsys.readouterr().out and len(table.splitlines()) == 5
    assert minutes.main(words) == 0
    assert capsys.readouterr().out.count("finished") == 2


def test_a_run_with_pretrained_features_has_a_row_for_either_form(tmp_path: Path) -> None:
    metrics = {"train_minutes": 2.0, "steps": 7, "image_auroc": metric(0.9)}
    metrics["reconstruction"] = {"psnr_part_db": 30.0}
    metrics["from_scratch"] = {"image_auroc": metric(0.6)}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    rows = rows_of(tmp_path, 2)
    assert [(row["form"], row["image_auroc"]["value"]) for row in rows] == [
        (WITH_FEATURES, 0.9),
        (FROM_SCRATCH, 0.6),
    ]
    assert all(row["psnr_part_db"] == 30 and "aupro" not in row for row in rows)
    plot(rows)  # AUPRO is undefined


def test_our_own_rows_of_a_file_of_baselines_are_left_out(baselines: Path) -> None:
    assert [row["form"] for row in baseline_rows(baselines)] == ["memory"]


@pytest.mark.parametrize("text", ["{", '{"rows": [1]}', "{}"])
def test_another_file_than_one_of_baselines_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="written by training"):
        baseline_rows(path)


@pytest.mark.parametrize("times", ["", "0", "five", "-1,2", "inf", "nan"])
def test_times_that_are_none_are_refused(times: str, tmp_path: Path, capsys) -> None:
    words = ["--data", str(tmp_path), "--minutes", times, "--output", str(tmp_path / "minutes")]
    assert minutes.main(words) == 2
    assert "give minutes above 0" in capsys.readouterr().err
