"""The log of a run and its picture."""

import json
import sys
from pathlib import Path

import pytest
from PIL import Image

from training.config.schema import LogConfig
from training.run_folder import read_log
from training.trainer.curves import write_curves
from training.trainer.logger import TrainingLogger, check_available

FOUND = {"criterion": 0.5, "synthetic_image_ap": 0.6, "synthetic_pixel_ap": 0.4}


def step(logger: TrainingLogger, noise: float) -> None:
    logger.add({"noise": noise, "segmentation": 1.0, "gradient_norm": 2.0})


def test_a_row_is_the_mean_since_the_last_one(tmp_path: Path) -> None:
    logger = TrainingLogger(tmp_path, LogConfig(), step=0, max_steps=4, samples=4)
    for noise in (1.0, 3.0):
        step(logger, noise)
    logger.write(2, minutes=0.1)
    step(logger, 7.0)
    logger.write(3, minutes=0.2, found=FOUND)
    logger.close()
    first, second = read_log(tmp_path / "log.jsonl")
    assert (first["step"], first["noise"], first["gradient_norm"]) == (2, 2.0, 2.0)
    assert (second["step"], second["noise"], second["criterion"]) == (3, 7.0, 0.5)
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (800, 700)
        assert len(picture.convert("RGB").getcolors(maxcolors=10**6)) > 20


def test_a_resumed_logger_drops_rows_of_steps_that_will_come_again(tmp_path: Path) -> None:
    rows = [{"step": s, "minutes": s / 10, "noise": 1.0, "segmentation": 1.0} for s in (2, 4, 6)]
    cut = json.dumps(rows[2])[:20]  # the kill came while it was written
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n" + cut)
    assert [row["step"] for row in read_log(tmp_path / "log.jsonl")] == [2, 4, 6]
    logger = TrainingLogger(tmp_path, LogConfig(), step=4, max_steps=8, samples=4)
    step(logger, 5.0)
    logger.write(5, minutes=0.6)
    logger.close()
    assert [row["step"] for row in read_log(tmp_path / "log.jsonl")] == [2, 4, 5]


def test_curves_of_a_run_without_validation_are_drawn_too(tmp_path: Path) -> None:
    write_curves([{"step": 1, "noise": 1.0, "segmentation": 0.5}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 5000


def test_tensorboard_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    check_available(LogConfig(tensorboard=True))
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    check_available(LogConfig(tensorboard=False))
    with pytest.raises(ValueError, match=r"`log.tensorboard` is true.*pip install tensorboard"):
        check_available(LogConfig(tensorboard=True))
