"""The embedded models work offline, straight from the package."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffusionad
from diffusionad import DiffusionADPipeline
from diffusionad.loading.fingerprint import pipeline_sha256


@pytest.mark.parametrize("name", diffusionad.demo_models())
def test_an_embedded_model_tells_its_own_examples_apart(name: str) -> None:
    folder = Path(diffusionad.demo_model(name))
    pipeline = DiffusionADPipeline.from_pretrained(folder)
    examples = sorted((folder / "examples").glob("*.png"))
    assert 6 <= len(examples) <= 8
    result = pipeline(examples)
    truth = np.array([not path.name.startswith("good") for path in examples])
    assert (result.is_anomalous == truth).all(), dict(
        zip([p.name for p in examples], result.score, strict=True)
    )
    assert result.p_value is not None
    assert pipeline.config.calibration["n"] == 999


@pytest.mark.parametrize("name", diffusionad.demo_models())
def test_the_figures_of_an_embedded_model_meet_what_is_promised(name: str) -> None:
    folder = Path(diffusionad.demo_model(name))
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["pipeline_sha256"] == pipeline_sha256(folder)
    assert metrics["n_good"] >= 100 and metrics["n_defective"] >= 100
    assert metrics["image_auroc"]["value"] >= 0.98
    assert metrics["pixel_auroc"]["value"] >= 0.95
    assert all(value < 0.90 for value in metrics["baselines"].values())


def test_a_model_that_is_not_embedded_is_named() -> None:
    with pytest.raises(ValueError, match=r"`name` is 'bolt'; use one of"):
        diffusionad.demo_model("bolt")


def test_the_examples_are_small_enough_to_ship() -> None:
    assets = Path(diffusionad.__file__).parent / "assets"
    assert sum(p.stat().st_size for p in assets.rglob("*") if p.is_file()) < 25e6
    for path in assets.glob("*/examples/*.png"):
        assert Image.open(path).size == (256, 256)


def test_there_is_an_embedded_object_and_an_embedded_texture() -> None:
    assert diffusionad.demo_models() == ["fabric", "washer"]
