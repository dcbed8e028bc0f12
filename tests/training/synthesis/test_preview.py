"""`python -m training.synthesis` and `diffusionad preview`."""

import dataclasses
from pathlib import Path

import numpy as np
from PIL import Image

from diffusionad.cli.options import run
from training.cli import preview_command
from training.config.loader import load_config
from training.synthesis.anomalies import FAMILIES


def preview(words: list[str]) -> int:
    return run(preview_command, words, "preview")


def test_the_sheet_shows_what_a_preset_trains_on(tmp_path: Path, picture, capsys, monkeypatch):
    timed = []
    monkeypatch.setattr(
        "training.synthesis.preview.samples_per_second",
        lambda crops, config, textures: timed.append(config) or 1,
    )
    for i in range(2):
        (tmp_path / f"cup{i}/train/good").mkdir(parents=True)
        Image.fromarray((255 * picture).astype(np.uint8)).save(tmp_path / f"cup{i}/train/good/0.png")
    sheet = ["--output", str(tmp_path / "sheet.png"), "--size", "64", "--count", "2", "--preset", "tiny"]
    sheet += ["--textures", str(tmp_path)]
    assert preview(["--data", str(tmp_path), "--category", "cup1", "--benchmark", *sheet]) == 0
    tiny = load_config("tiny").synthesis
    assert timed[:-1] == [dataclasses.replace(tiny, probability=1, families=(n,)) for n in tiny.families]
    assert timed[-1] == tiny  # half of the samples normal, as in training
    preset = tmp_path / "mine.toml"
    preset.write_text(
        f'extends = "tiny"\n[data]\nforeground = "none"\ntexture_folder = "{tmp_path}/nothing"\n'
    )
    words = ["--data", str(tmp_path / "cup0"), "--output", str(tmp_path / "a.png"), "--preset", str(preset)]
    assert preview(words) == 2
    assert f"{tmp_path}/nothing" in capsys.readouterr().err  # the preset's own textures
    assert preview(["--data", str(tmp_path), *sheet]) == 2
    assert "holds 2 categories; choose with `category` one of cup0, cup1" in capsys.readouterr().err


def test_the_command_writes_a_contact_sheet(tmp_path: Path, picture, capsys):
    Image.fromarray((255 * picture).astype(np.uint8)).save(tmp_path / "good.png")
    sheet = tmp_path / "sheet.png"
    families = ",".join(FAMILIES)
    words = ["--data", str(tmp_path), "--output", str(sheet), "--count", "5", "--size", "64"]
    assert preview([*words, "--families", families]) == 0
    with Image.open(sheet) as opened:
        assert opened.size == (4 * (3 * 64 + 16), 2 * (14 + 64 + 4))
    assert "foreground found in 1 of 1" in capsys.readouterr().out
    assert preview(["--data", str(tmp_path)]) == 2
