"""The embedded models work offline, straight from the package."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffusionad
from diffusionad import DiffusionADPipeline
from diffusionad.loading import bundled
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


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """A copy of one embedded model, in place of the package's."""
    shutil.copytree(bundled.ASSETS / "washer", tmp_path / "assets/washer")
    monkeypatch.setattr(bundled, "ASSETS", tmp_path / "assets")
    return tmp_path / "assets"


@pytest.mark.parametrize("file", ["unet/diffusion_pytorch_model.safetensors", "segmenter/config.json"])
def test_a_damaged_embedded_model_is_an_error(assets, file):
    path = assets / "washer" / file
    content = path.read_bytes()
    changed = content[:-1] + bytes([content[-1] ^ 1]) if path.suffix != ".json" else content + b" "
    path.write_bytes(changed)
    with pytest.raises(ValueError, match="changed or damaged; install the package again"):
        diffusionad.DiffusionADPipeline.from_pretrained("washer")


def test_a_copy_of_an_embedded_model_may_be_changed(assets, tmp_path):
    copy = shutil.copytree(assets / "washer", tmp_path / "mine")
    pipeline = diffusionad.DiffusionADPipeline.from_pretrained(copy, threshold=0.3, seed=7, calibration=None)
    pipeline.save_pretrained(copy)
    assert diffusionad.DiffusionADPipeline.from_pretrained(copy).config.seed == 7
