"""A picture that shows nothing, such as a dead camera sends, is an error of that picture and never good."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffusionad import DiffusionADPipeline, learn_marks
from diffusionad.cli.main import main
from diffusionad.images.blank import is_blank
from diffusionad.images.image_io import ImageError, read_image
from diffusionad.inspection.inspector import Inspector
from diffusionad.inspection.recalibration import calibrate_with
from diffusionad.loading.bundled import demo_models
from diffusionad.postprocessing.roi import read_roi
from diffusionad.ui.serving.inspection_state import inspect_picture
from diffusionad.ui.serving.model_registry import ModelRegistry

SENTENCE = "shows nothing: all of its pixels are nearly the same"

BLACK = np.zeros((64, 80, 3), np.uint8)


def noise(levels: int, shape: tuple[int, ...] = BLACK.shape) -> np.ndarray:
    return np.random.default_rng(0).integers(0, levels + 1, shape, dtype=np.uint8)


@pytest.fixture
def lot(tmp_path: Path, make_pictures: Callable[..., list[np.ndarray]]) -> list[Path]:
    """A picture of a part, a black one, and another part."""
    folder = tmp_path / "lot"
    folder.mkdir()
    first, last = make_pictures(2)
    for name, pixels in (("0.png", first), ("1.png", BLACK), ("2.png", last)):
        Image.fromarray(pixels).save(folder / name)
    return sorted(folder.iterdir())


@pytest.mark.parametrize("grey", [0, 1, 17, 128, 253])
def test_a_constant_picture_is_blank_with_two_levels_of_noise_and_after_jpeg(tmp_path, grey):
    for levels in (0, 1):
        path = tmp_path / f"{grey}.jpg"
        Image.fromarray(grey + noise(levels)).save(path, quality=90)
        assert is_blank(read_image(path))
    assert is_blank(read_image(grey + noise(2)))
    assert is_blank(read_image(np.full((64, 80, 3), (grey, 90, 200), np.uint8)))  # of one colour


def test_a_faint_part_and_a_single_dark_pixel_are_no_blank_picture():
    assert not is_blank(read_image(100 + noise(3)))
    for y, x in ((0, 0), (0, 1), (33, 47), (63, 79)):
        picture = np.full_like(BLACK, 255)
        picture[y, x, 1] = 252
        assert not is_blank(read_image(picture))


def test_a_picture_of_few_of_its_16_bits_is_dark_but_blank_only_at_the_models_scale():
    dark = noise(250, (64, 80)).astype(np.uint16)
    assert not is_blank(read_image(dark))  # only a warning: an old model may have been trained on these
    assert not is_blank(read_image(dark, bit_depth=8), 8)
    assert is_blank(read_image(dark, bit_depth=16), 16)
    assert is_blank(read_image(np.full((64, 80), 3, np.uint16)))


@pytest.mark.parametrize("name", demo_models())
def test_the_embedded_models_refuse_a_black_picture_in_python(name):
    pipeline = DiffusionADPipeline.from_pretrained(name)
    with pytest.raises(ImageError, match=rf"^`image\[0\]` {SENTENCE}"):
        pipeline(BLACK)


def test_python_names_the_blank_picture(tiny_pipeline, fresh_pipeline, lot):
    with pytest.raises(ImageError, match=rf"1\.png` {SENTENCE}, within 2 of 255 grey levels; check"):
        tiny_pipeline(lot)
    with pytest.raises(ImageError, match=rf"^`image\[1\]` {SENTENCE}"):
        tiny_pipeline([Image.open(lot[0]), np.ones((64, 64, 3))])
    with pytest.raises(ImageError, match=SENTENCE):
        learn_marks(fresh_pipeline, lot[1])


def test_the_command_line_gives_the_blank_picture_its_row(lot, tiny_model_folder, tmp_path, capsys):
    arguments = [str(lot[0].parent), "--model", str(tiny_model_folder), "--output", str(tmp_path / "out")]
    assert main(["inspect", *arguments]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["results"]
    assert [row["error"] is None for row in rows] == [True, False, True]
    assert rows[1]["error"].startswith(f"`{lot[1]}` {SENTENCE}")
    assert f"{lot[1]}: cannot be inspected: `{lot[1]}` {SENTENCE}" in capsys.readouterr().err


def test_a_batch_of_a_gpu_loses_the_blank_picture_alone(tiny_pipeline, lot, tmp_path):
    inspector = Inspector(tiny_pipeline, tmp_path, overlays=False)
    inspector.batch_size = 3  # as on a GPU
    results = list(inspector(lot, lot[0].parent))
    assert [result.verdict is None for result in results] == [False, True, False]
    assert results[1].error is not None and results[1].error.startswith(f"`{lot[1]}` {SENTENCE}")


def test_a_calibration_leaves_the_blank_picture_out(tiny_pipeline, lot):
    told: dict[Path, str | None] = {}
    calibration = calibrate_with(tiny_pipeline, lot, 0.5, told.__setitem__).calibration
    assert calibration.n == 2 and [told[path] is None for path in lot] == [True, False, True]
    assert str(told[lot[1]]).startswith(f"`{lot[1]}` {SENTENCE}")


def test_the_app_refuses_the_blank_picture_before_it_joins_a_call(tiny_model_folder, lot):
    model = ModelRegistry([str(tiny_model_folder)]).get(tiny_model_folder.name)
    model.batcher = None  # type: ignore[assignment]
    with pytest.raises(ImageError, match=SENTENCE):
        inspect_picture(model, str(lot[1]))


def test_a_mask_may_be_all_white(tiny_pipeline, lot):
    white = np.full((64, 80), 255, np.uint8)
    assert read_roi(white).all()
    assert tiny_pipeline(lot[0], roi=white).score.shape == (1,)
