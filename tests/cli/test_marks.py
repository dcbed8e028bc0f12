"""`diffusionad learn-marks` on the command line."""

from pathlib import Path

import pytest
from PIL import Image

from diffusionad import DiffusionADPipeline
from diffusionad.cli.main import main


@pytest.fixture
def good(tmp_path: Path, make_pictures) -> Path:
    folder = tmp_path / "good"
    folder.mkdir()
    for i, picture in enumerate(make_pictures(2, side=64)):
        Image.fromarray(picture).save(folder / f"{i}.png")
    return folder


def test_a_model_learns_marks_into_a_new_folder(tiny_model_folder, good, tmp_path, capsys):
    output = tmp_path / "taught"
    assert (
        main(["learn-marks", "--data", str(good), "--model", str(tiny_model_folder), "--output", str(output)])
        == 0
    )
    assert "marks of 2 pictures learnt" in capsys.readouterr().out
    pipeline = DiffusionADPipeline.from_pretrained(output)
    assert pipeline.mark_memory.config.num_marks > 0
    assert pipeline.config.calibration is None
    assert DiffusionADPipeline.from_pretrained(tiny_model_folder).mark_memory is None


def test_an_existing_output_folder_is_refused(tiny_model_folder, good, capsys):
    arguments = ["--data", str(good), "--model", str(tiny_model_folder), "--output", str(good)]
    assert main(["learn-marks", *arguments]) == 2
    assert "exists; name a new folder" in capsys.readouterr().err


def test_a_folder_without_pictures_is_refused(tiny_model_folder, tmp_path, capsys):
    arguments = [
        "--data",
        str(tmp_path),
        "--model",
        str(tiny_model_folder),
        "--output",
        str(tmp_path / "new"),
    ]
    assert main(["learn-marks", *arguments]) == 2
    assert not (tmp_path / "new").exists() and capsys.readouterr().err
