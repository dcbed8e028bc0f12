"""The app reads 16-bit pictures as the model names their scale, wherever it shows them."""

from pathlib import Path

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.components.snippets import run_line
from diffusionad.ui.serving.batch_inspection import inspect_batch
from diffusionad.ui.serving.files import serve_file
from diffusionad.ui.serving.inspection_state import inspect_picture
from diffusionad.ui.serving.model_registry import Model, ModelRegistry
from diffusionad.ui.serving.uploads import UploadedPicture
from diffusionad.ui.tabs.about import steps
from diffusionad.ui.tabs.inspect import InspectTab


@pytest.fixture
def values(make_pictures) -> np.ndarray:
    """A picture of 12 bits, [96,60] uint16."""
    return make_pictures(1, side=96)[0][:, :60, 0].astype(np.uint16) * 16 + 7


@pytest.fixture
def path(values, tmp_path) -> Path:
    Image.fromarray(values).save(tmp_path / "part.png")
    return tmp_path / "part.png"


@pytest.fixture
def registry(fresh_pipeline, tmp_path, monkeypatch) -> ModelRegistry:
    """A model of a camera of 12 bits, with an example."""
    monkeypatch.setattr("diffusionad.ui.serving.model_registry.demo_models", list)
    fresh_pipeline.configure(bit_depth=12).save_pretrained(tmp_path / "camera")
    return ModelRegistry([str(tmp_path / "camera")])


@pytest.fixture
def camera(registry) -> Model:
    return registry.get("camera")


def brightness(picture: Image.Image | Path) -> float:
    image = picture if isinstance(picture, Image.Image) else Image.open(picture)
    return float(np.asarray(image.convert("L"), np.float32).mean()) / 255


def test_an_inspection_is_that_of_the_scaled_picture_and_shows_it(camera, values, path):
    scaled = values.astype(np.float32) / 4095
    inspection = inspect_picture(camera, str(path), max_side=40)
    assert inspection.score == camera.pipeline(scaled).score[0]
    for shown in (inspection.picture, inspection.full_picture()):
        assert brightness(shown) == pytest.approx(scaled.mean(), abs=0.01)
    assert inspection.used_bits is None and "16 bits" not in run_line(inspection)


def test_a_picture_seen_nearly_black_is_said_beside_the_verdict(tiny_model_folder, path):
    model = ModelRegistry([str(tiny_model_folder)]).get(str(tiny_model_folder))
    inspection = inspect_picture(model, str(path))
    assert inspection.used_bits == 12
    assert "has 16 bits, but its values fit into 12" in run_line(inspection)
    with Image.open(path) as picture:
        eight = picture.point(lambda value: value / 16).convert("L")
    eight.save(path)
    assert inspect_picture(model, str(path)).used_bits is None


def test_a_picture_above_the_depth_is_an_error_of_its_row(camera, values, path, tmp_path):
    bright = tmp_path / "bright.png"
    Image.fromarray(values * 4).save(bright)
    pictures = [UploadedPicture(p.name, p, Path(p.name)) for p in (bright, path)]
    refused, inspected = inspect_batch(camera, pictures, tmp_path / "out")
    assert "bright.png` has values up to" in refused.result.error
    assert inspected.result.error is None


def test_every_view_of_the_inspect_tab_reads_at_the_depth(registry, camera, values, path, tmp_path):
    with gr.Blocks() as app:
        tab = InspectTab(Page(app, gr.Tabs(), registry, gr.State(Session()), gr.State(None)))
    session, upload = Session("camera"), {"path": serve_file(path), "orig_name": path.name}
    expected = values.mean() / 4095
    canvas, _ = tab.roi_editor.update_canvas(True, upload, None, session)
    assert brightness(Path(canvas["background"])) == pytest.approx(expected, abs=0.01)
    gallery = tab.explain(session, inspect_picture(camera, str(path)))["value"]
    assert brightness(Path(gallery[0][0])) > 0.5 * expected  # the picture with a little noise


def test_the_steps_on_the_about_tab_read_an_example_at_the_depth(camera, path, monkeypatch):
    (camera.folder / "examples").mkdir()
    Image.open(path).save(camera.folder / "examples/part.png")
    seen = []
    explain = Model.explain
    monkeypatch.setattr(
        Model, "explain", lambda model, picture, *rest: seen.append(picture) or explain(model, picture, *rest)
    )
    assert "<figure>" in steps(camera)
    assert seen[0].mean() > 0.3
