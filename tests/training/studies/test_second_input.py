"""What the reconstruction is worth: the segmenter with other second inputs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_runs import arguments, write_squares

from training.studies import second_input
from training.studies.second_input import BLUR, PICTURE, RECONSTRUCTION, TWIN, blur
from training.train import main as train


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares with white corners, and their clean twins."""
    folder = write_squares(tmp_path_factory.mktemp("twins") / "squares")
    for path in (folder / "test/corner").iterdir():
        pixels = np.array(Image.open(path))
        pixels[:12, :12] = 110
        (folder / "clean/corner").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "clean/corner" / path.name)
    return folder


@pytest.fixture(scope="module")
def finished(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "run"
    assert train(arguments(data, output, "--max-steps", "1")) == 0
    return output


@pytest.mark.slow
def test_each_second_input_is_trained_and_tested_once(data, finished, tmp_path, capsys):
    preset = tmp_path / "preset.toml"
    shutil.copy(finished / "config.toml", preset)
    words = ["--data", data, "--model", finished / "pipeline", "--preset", preset, "--max-steps", "3"]
    words = [*map(str, words), "--output", str(tmp_path / "result")]
    assert second_input.main(words) == 0
    table = capsys.readouterr().out
    report = json.loads((tmp_path / "result.json").read_text())
    assert list(report["rows"]) == [RECONSTRUCTION, BLUR, PICTURE, TWIN] and table.count("\n|") == 6
    aps = {row["pixel_ap"]["value"] for row in report["rows"].values()}
    assert report["rows"][PICTURE]["per_defect"].keys() == {"corner"} and len(aps) == 4

    # A stopped study goes on: rows that are there are not measured again.
    report["rows"].pop(TWIN)
    report["rows"][PICTURE]["image_auroc"]["value"] = 0.123
    (tmp_path / "result.json").write_text(json.dumps(report))
    assert second_input.main(words) == 0
    again = json.loads((tmp_path / "result.json").read_text())["rows"]
    assert again[PICTURE]["image_auroc"]["value"] == 0.123 and TWIN in again

    assert second_input.main([*words, "--seed", "1"]) == 2
    assert "holds rows of another model, data or length" in capsys.readouterr().err


def test_the_blur_keeps_size_and_mean_and_removes_detail():
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    assert blur(x).shape == x.shape and blur(x).std() < 0.2 * x.std()
    assert torch.allclose(blur(torch.full_like(x, 0.3)), torch.full_like(x, 0.3))
