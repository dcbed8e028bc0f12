"""A whole benchmark: a run for each category that the folder holds, and the table."""

from pathlib import Path

import pytest
from small_runs import SMALL, write_squares

from training.config.loader import load_config
from training.studies import reproduce

QUICK = [*SMALL, "optim.max_steps=2", "log.validations=1", "log.samples=0"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two categories, named as two of MVTec-AD's."""
    root = tmp_path_factory.mktemp("data") / "two"
    for seed, name in enumerate(("bottle", "carpet")):
        write_squares(root / name, seed)
    return root


def test_a_benchmark_is_reproduced_category_by_category(tree: Path, tmp_path: Path, capsys) -> None:
    sets = [part for setting in QUICK for part in ("--set", setting)]
    words = ["--dataset", "mvtec", "--data", str(tree), "--output", str(tmp_path), "--preset", "tiny", *sets]
    assert reproduce.main(words) == 0
    said = capsys.readouterr().out
    assert "lacks 13 of 15 categories" in said
    assert "| bottle |" in said and "| carpet |" in said and "| **mean** |" in said
    assert (tmp_path / "table.md").read_text() in said
    kinds = [load_config(str(tmp_path / c / "config.toml")).synthesis.kind for c in ("bottle", "carpet")]
    assert kinds == ["object", "texture"]
    assert reproduce.main(words) == 0
    again = capsys.readouterr().out
    assert again.count("finished") == 2 and (tmp_path / "table.md").read_text() in again


def test_a_folder_of_another_benchmark_is_refused(tree: Path, tmp_path: Path, capsys) -> None:
    words = ["--dataset", "visa", "--data", str(tree), "--output", str(tmp_path / "runs")]
    assert reproduce.main(words) == 2
    assert "no category of visa" in capsys.readouterr().err
