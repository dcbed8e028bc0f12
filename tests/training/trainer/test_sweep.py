"""Several categories: a run each, or one model; the push at the end."""

import dataclasses
import json
from pathlib import Path

import pytest
from small_runs import SMALL, arguments, write_squares

from training import train as training
from training.config.schema import DataConfig, TrainConfig
from training.data.selection import find_pictures
from training.data.split import split_records
from training.trainer import sweep
from training.trainer.divergence import TrainingError
from training.trainer.sweep import push_to_hub, run_each

QUICK = [*SMALL, "optim.max_steps=2", "log.validations=1", "log.samples=0"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of two categories, named as two of MVTec-AD's."""
    root = tmp_path_factory.mktemp("data") / "two"
    for seed, name in enumerate(("bottle", "carpet")):
        write_squares(root / name, seed)
    return root


def test_all_categories_get_a_run_each_and_finished_ones_are_skipped(
    tree: Path, tmp_path: Path, capsys
) -> None:
    words = arguments(tree, tmp_path / "runs", "--category", "all", settings=QUICK)
    assert training.main(words) == 0
    for name in ("bottle", "carpet"):
        assert json.loads((tmp_path / "runs" / name / "metrics.json").read_text())["category"] == name
    (tmp_path / "runs/carpet/metrics.json").unlink()  # as if it had been stopped before the test
    before = (tmp_path / "runs/bottle/metrics.json").stat().st_mtime_ns
    capsys.readouterr()
    assert training.main(words) == 0
    said = capsys.readouterr().out
    assert "bottle: finished" in said and "carpet: goes on" in said
    assert (tmp_path / "runs/bottle/metrics.json").stat().st_mtime_ns == before
    assert (tmp_path / "runs/carpet/metrics.json").is_file()
    assert training.main([*words, "--seed", "3"]) == 2
    assert "optim.seed was 0, now 3" in capsys.readouterr().err


def test_several_categories_make_one_model(tree: Path, tmp_path: Path) -> None:
    words = arguments(tree, tmp_path / "run", "--category", "bottle,carpet", settings=QUICK)
    assert training.main(words) == 0
    metrics = json.loads((tmp_path / "run/metrics.json").read_text())
    assert metrics["category"] == "bottle,carpet"
    assert metrics["n_defective"] == 8
    assert {k: v["n_defective"] for k, v in metrics["per_category"].items()} == {"bottle": 4, "carpet": 4}
    assert set(metrics["per_defect"]) == {"bottle-corner", "carpet-corner"}


def test_every_category_is_in_each_of_the_three_sets(tree: Path) -> None:
    config = dataclasses.replace(TrainConfig(), data=DataConfig(path=str(tree), category="bottle,carpet"))
    sets = split_records(find_pictures(config.data).train, config)
    for paths in sets.values():
        assert {path.parents[2].name for path in paths} == {"bottle", "carpet"}
    assert len({path for paths in sets.values() for path in paths}) == 32


def test_a_category_that_is_not_there_is_named(tree: Path, tmp_path: Path, capsys) -> None:
    assert training.main(arguments(tree, tmp_path / "run", "--category", "bottle,screw")) == 2
    assert "'screw'" in capsys.readouterr().err


def test_a_category_that_fails_does_not_stop_the_others(tmp_path: Path) -> None:
    trained = []

    def train(config: TrainConfig, output: Path, resume: bool) -> Path:
        if config.data.category == "b":
            raise TrainingError("the loss became nan")
        trained.append(config.data.category)
        return output

    failures = run_each(train, TrainConfig(), ["a", "b", "c"], tmp_path, say=lambda sentence: None)
    assert trained == ["a", "c"]
    assert failures == {"b": "the loss became nan"}


def test_the_push_is_a_process_and_its_failure_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd
) -> None:
    package = tmp_path / "diffusionad"  # `python -m` looks into the current folder first
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text("import sys; print(sys.argv[1:]); sys.exit('secret' in sys.argv[5])")
    monkeypatch.chdir(tmp_path)
    assert push_to_hub(tmp_path / "run", "org/name", private=True)
    assert f"['push', '--run', '{tmp_path / 'run'}', '--repo-id', 'org/name', '--private']" in (
        capfd.readouterr().out
    )
    assert not push_to_hub(tmp_path / "run", "org/secret", private=False)
    error = capfd.readouterr().err
    assert "The run is finished" in error and "-m diffusionad push" in error
    assert "--repo-id org/secret" in error
    push_to_hub(tmp_path / "run", "org/name", private=False, dataset="Our bolts", license="cc-by-4.0")
    said = capfd.readouterr().out
    assert "'--repo-id', 'org/name', '--dataset', 'Our bolts', '--license', 'cc-by-4.0']" in said


def test_the_push_command_knows_every_option_that_a_run_hands_to_it(tmp_path: Path) -> None:
    from hub.push_model import push_command

    words = ["--run", str(tmp_path), "--repo-id", "org/name", "--private"]
    words += ["--dataset", "Our bolts", "--license", "cc-by-4.0"]
    given = push_command.make_context("push", words).params
    assert {str(tmp_path), "org/name", True, "Our bolts", "cc-by-4.0"} <= {
        str(value) if isinstance(value, Path) else value for value in given.values()
    }


@pytest.fixture
def pushes(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """What the command line asks to be pushed, after trainings that end at once."""
    asked = []
    monkeypatch.setattr(sweep, "push_to_hub", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr("training.trainer.training.train", lambda config, output, resume=False: output)
    return asked


def test_the_data_and_its_licence_go_along_to_the_hub(tree: Path, tmp_path: Path, pushes) -> None:
    named = ["--dataset", "Our bolts", "--license", "cc-by-4.0"]
    words = ["--data", str(tree), "--output", str(tmp_path / "runs"), "--push-to-hub", "org/name", *named]
    assert training.main([*words, "--category", "bottle"]) == 0
    assert pushes == [(tmp_path / "runs", "org/name", False, "Our bolts", "cc-by-4.0")]
    pushes.clear()
    assert training.main([*words, "--category", "all"]) == 0
    assert [push[1] for push in pushes] == ["org/name-bottle", "org/name-carpet"]
    assert {push[3:] for push in pushes} == {("Our bolts", "cc-by-4.0")}


@pytest.mark.parametrize("named", [["--private"], ["--dataset", "Our bolts"], ["--license", "cc-by-4.0"]])
def test_what_only_concerns_a_push_is_refused_without_one(named: list[str], tmp_path: Path, capsys) -> None:
    assert training.main(["--data", str(tmp_path), *named]) == 2
    assert f"{named[0]} says how the run is published; give --push-to-hub" in capsys.readouterr().err
