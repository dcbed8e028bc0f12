"""The app as a process of its own, and the parts behind the page."""

import asyncio
import html
import json
import os
import re
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import httpx
import numpy as np
import pytest
import torch
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from places import APP

from diffusionad import DiffusionADPipeline, calibrate
from diffusionad.images.image_io import read_image
from diffusionad.loading.bundled import demo_models
from diffusionad.postprocessing.known_marks import KnownMark
from diffusionad.postprocessing.regions import Region
from diffusionad.ui import build_app
from diffusionad.ui.app import Screens
from diffusionad.ui.components.model_picker import ModelPicker
from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.components.snippets import model_card, region_table, verdict_banner
from diffusionad.ui.serving.downloads import DOWNLOADS, download_name
from diffusionad.ui.serving.errors import user_errors
from diffusionad.ui.serving.files import (
    convert_for_browser,
    example_caption,
    inspect_upload,
    serve_bytes,
    serve_file,
    serve_image,
)
from diffusionad.ui.serving.inspection_state import VIEWS, inspect_picture
from diffusionad.ui.serving.model_registry import ModelRegistry
from diffusionad.ui.serving.request_batching import RequestBatcher
from diffusionad.ui.serving.zero_gpu import gpu_seconds, put_on_device
from diffusionad.ui.tabs.inspect import InspectTab

SESSION = Session("with-examples")
DISPLAY = (VIEWS[0], 0.5, "inferno")
CPU_IS_FULL = "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory"


def write(path: Path, picture: np.ndarray) -> Path:
    Image.fromarray(picture).save(path)
    return path


@pytest.fixture
def picture(tmp_path: Path, make_pictures: Callable[..., list[np.ndarray]]) -> Path:
    """A PNG of 96 x 60 pixels."""
    return write(tmp_path / "part.png", make_pictures(1, side=96)[0][:60])


def upload(path: Path) -> dict:
    """The file as Gradio hands it over after an upload."""
    return {"path": serve_file(path), "orig_name": path.name}


# The app as a process of its own.


def inspect(app, path: Path, model: str = "tiny", threshold: float | None = None) -> tuple:
    return app.client.predict(handle_file(path), model, threshold, api_name="/inspect")


def sentence_for(app, path: Path | None, model: str = "tiny", threshold: float | None = None):
    image = None if path is None else handle_file(path)
    with pytest.raises(AppError) as failure:
        app.client.predict(image, model, threshold, api_name="/inspect")
    message = str(failure.value)
    assert "\n" not in message and "Traceback" not in message
    return message


def test_the_entry_of_the_space_is_under_forty_lines():
    assert len(APP.read_text().splitlines()) < 40


def test_the_page_is_served_at_the_port_that_was_asked_for_and_says_so(app):
    page = httpx.get(app.url).text
    assert "what the part should have looked like" in page
    assert app.url.rstrip("/") in app.log.read_text()


def test_the_models_are_listed_by_short_names(app):
    assert app.client.predict(api_name="/models") == [*demo_models(), "tiny"]


def test_the_api_page_shows_three_endpoints_and_no_screen_events(app):
    endpoints = app.client.view_api(return_format="dict", print_info=False)["named_endpoints"]
    assert set(endpoints) == {"/models", "/inspect", "/batch"}
    parameters = [p["parameter_name"] for p in endpoints["/inspect"]["parameters"]]
    assert parameters == ["image", "model", "threshold"]


def test_the_api_answers_as_the_pipeline_does(app, picture, tiny_pipeline):
    expected = tiny_pipeline(picture)
    answer, overlay, reconstruction = inspect(app, picture)
    assert answer["score"] == pytest.approx(expected.score[0], abs=1e-6)
    assert answer["threshold"] == pytest.approx(tiny_pipeline.config.threshold, abs=1e-12)
    assert answer["is_anomalous"] == bool(expected.is_anomalous[0])
    assert answer["p_value"] == pytest.approx(expected.p_value[0])
    assert (answer["n"], answer["false_alarm_rate"]) == (40, pytest.approx(1 / 41))
    assert len(answer["regions"]) == len(expected.regions[0])
    assert answer["model"] == "tiny" and answer["seconds"] > 0
    for path in (overlay, reconstruction):
        with Image.open(path) as image:
            assert (image.format, image.size) == ("PNG", (96, 60))


def test_the_arguments_of_the_api_have_names_and_defaults(app, picture):
    first = (demo_models() or ["tiny"])[0]
    by_name = app.client.predict(image=handle_file(picture), api_name="/inspect")
    assert by_name[0]["score"] == inspect(app, picture, first)[0]["score"]


def test_the_api_honours_the_threshold(app, picture):
    lenient, strict = inspect(app, picture, threshold=1.0)[0], inspect(app, picture, threshold=0.0)[0]
    assert (lenient["verdict"], lenient["regions"]) == ("good", [])
    assert (strict["verdict"], strict["threshold"]) == ("defective", 0.0)
    assert strict["regions"][0]["area"] == 96 * 60
    assert strict["false_alarm_rate"] is None  # promised at the calibrated threshold alone


def test_a_truncated_picture_gets_a_sentence(app, picture):
    picture.write_bytes(picture.read_bytes()[: picture.stat().st_size // 2])
    assert sentence_for(app, picture).startswith("`part.png` cannot be read")


def test_a_file_that_is_no_picture_gets_a_sentence(app, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    assert sentence_for(app, path).startswith("`notes.png` is no picture")


def test_a_missing_picture_gets_a_sentence(app):
    assert sentence_for(app, None).startswith("Choose a picture first")


def test_a_picture_of_one_pixel_gets_a_sentence(app, tmp_path):
    path = write(tmp_path / "dot.png", np.zeros((1, 1, 3), np.uint8))
    assert sentence_for(app, path).startswith("`dot.png` is 1 x 1 pixels")


@pytest.mark.parametrize("side", [11_000, 20_000])  # below and above the size that Pillow itself refuses
def test_a_picture_of_absurd_size_gets_a_sentence(app, make_huge_png, side):
    message = sentence_for(app, make_huge_png(side, side))
    assert message.startswith("`huge.png` is") and "crop or shrink it first" in message.lower()


def test_an_upload_above_20_megabytes_is_refused(app):
    answer = httpx.post(f"{app.url}gradio_api/upload", files={"files": ("big.png", b"0" * 21_000_000)})
    assert answer.status_code == 413


def test_a_file_that_was_not_uploaded_is_refused(app, picture):
    copy = app.upload(picture)
    for payload, is_allowed in (
        ({"path": str(picture)}, False),
        ({"path": str(picture), "meta": {"_type": "gradio.FileData"}}, False),
        ({"path": f"{Path(copy).parent}/{os.path.relpath(picture, Path(copy).parent)}"}, False),
        ({"path": copy}, True),
    ):
        call = f"{app.url}gradio_api/call/inspect"
        event = httpx.post(call, json={"data": [payload, "tiny", None]}).json()["event_id"]
        answer = httpx.get(f"{call}/{event}", timeout=60).text
        assert ("score" in answer) == is_allowed and answer.startswith("event: error") != is_allowed


def test_a_threshold_out_of_range_gets_a_sentence(app, picture):
    assert sentence_for(app, picture, threshold=7.0) == "`threshold` is 7.0; give a number in 0..1."


def test_a_model_that_does_not_exist_gets_a_sentence(app, picture):
    assert sentence_for(app, picture, "nonsense").startswith("`nonsense` is neither on the list of models")


def test_a_model_that_the_hub_cannot_deliver_gets_a_sentence(app, picture):
    assert sentence_for(app, picture, "org/name").startswith("The Hub cannot be reached")


def test_many_requests_at_once_agree_and_load_the_model_once(app, picture):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: inspect(app, picture)[0], range(8)))
    assert len({answer["score"] for answer in answers}) == 1
    assert app.log.read_text().count("Loaded tiny on ") == 1


@pytest.mark.slow
def test_another_app_that_ends_takes_along_its_own_files_and_no_other(app, start_app, picture):
    kept = app.upload(picture)
    overlay = app.client.submit(handle_file(picture), "tiny", None, api_name="/inspect").result()[1]
    with start_app() as other:
        gone = other.upload(picture)
        assert other.client.predict(handle_file(picture), "tiny", None, api_name="/inspect")[0]
        assert Path(gone).exists()
    assert not Path(gone).exists() and not Path(gone).parents[2].exists()
    assert Path(kept).exists() and Path(overlay).exists()


# The registry.


class FakePipeline:
    """Loads slowly, so that requests at the same time would load twice if they could."""

    loads: list[str]
    device = "cpu"

    def __init__(self, folder: Path):
        time.sleep(0.02)
        self.loads.append(folder.name)
        if folder.name == "broken":
            raise ValueError(f"`{folder}/unet` is damaged.")

    def set_progress_bar_config(self, disable: bool) -> None:
        pass

    def to(self, device: str) -> "FakePipeline":
        return self


@pytest.fixture
def make_registry(tmp_path: Path, monkeypatch) -> Callable[..., ModelRegistry]:
    monkeypatch.setattr("diffusionad.ui.serving.model_registry.demo_models", list)
    monkeypatch.delenv("SPACE_ID", raising=False)
    FakePipeline.loads = []

    def make(*names: str, **options) -> ModelRegistry:
        for name in (*names, "broken"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
        return ModelRegistry([str(tmp_path / name) for name in names], load=FakePipeline, **options)

    return make


def test_a_model_is_loaded_once_however_many_ask_for_it_at_once(make_registry):
    registry = make_registry("a")
    barrier = threading.Barrier(8)

    def ask(_: int) -> object:
        barrier.wait()
        return registry.get("a")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(map(id, pool.map(ask, range(8))))) == 1
    assert FakePipeline.loads == ["a"]


def test_name_folder_and_relative_folder_are_one_model(make_registry, tmp_path, monkeypatch):
    registry = make_registry("a")
    monkeypatch.chdir(tmp_path)
    assert registry.get("a") is registry.get(f" {tmp_path}/a/ ") is registry.get("./a") is registry.get(None)
    assert FakePipeline.loads == ["a"]


def test_the_least_recently_used_model_makes_room(make_registry):
    registry = make_registry("a", "b", "c", max_models=2)
    for name in "abacab":
        registry.get(name)
    assert FakePipeline.loads == ["a", "b", "c", "b"]  # b went for c, a was used in between; c for b


def test_a_model_that_cannot_be_loaded_pushes_nothing_out_and_is_tried_again(make_registry, tmp_path):
    registry = make_registry("a", "broken", max_models=1)
    registry.get("a")
    for _ in range(2):
        with pytest.raises(gr.Error) as failure:
            registry.get(str(tmp_path / "broken"))
    assert failure.value.message == "`broken/unet` is damaged."
    registry.get("a")
    assert FakePipeline.loads == ["a", "broken", "broken"]
    assert len(registry._entries) == 1  # whatever visitors type leaves nothing behind


def test_the_number_of_loaded_models_comes_from_the_environment(make_registry, monkeypatch):
    assert make_registry("a").max_models == 3
    monkeypatch.setenv("DIFFUSIONAD_MAX_MODELS", "7")
    assert make_registry("a").max_models == 7


def test_folders_of_the_same_name_keep_their_paths(make_registry, tmp_path):
    registry = make_registry("x/part", "y/part", "z")
    assert registry.names() == [f"{tmp_path}/x/part", f"{tmp_path}/y/part", "z"]


def test_embedded_models_come_first_and_keep_their_names(make_registry, tmp_path, monkeypatch):
    monkeypatch.setattr("diffusionad.ui.serving.model_registry.demo_models", lambda: ["washer"])
    monkeypatch.setattr(
        "diffusionad.ui.serving.model_registry.demo_model", lambda name: str(tmp_path / "assets" / name)
    )
    (tmp_path / "assets" / "washer").mkdir(parents=True)
    registry = make_registry("a", "washer")
    assert registry.names() == ["washer", "a", f"{tmp_path}/washer"]
    assert registry.get(None) is registry.get(str(tmp_path / "assets" / "washer"))


def test_without_a_model_the_visitor_is_asked_for_one(make_registry):
    with pytest.raises(gr.Error) as failure:
        make_registry().get(None)
    assert failure.value.message.startswith("Choose a model first")


def test_visitors_reach_the_models_on_offer_but_no_other_folder(make_registry, tmp_path, monkeypatch):
    registry = make_registry("a")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    for name in (str(tmp_path / "broken"), str(tmp_path / "missing"), "broken", "./broken", "../x", "a/../b"):
        with pytest.raises(gr.Error) as failure:
            registry.get(name)
        assert failure.value.message.startswith(f"`{name}` is neither on the list of models, nor the id of")
    with pytest.raises(gr.Error) as failure:
        registry.get("org/name")  # an id on the Hub, not the folder of this name
    assert "Hub" in failure.value.message
    assert FakePipeline.loads == []
    assert registry.get("./a").pipeline is not None


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "model_index.json` is missing"),
        ({"_class_name": "StableDiffusionPipeline"}, "not a DiffusionADPipeline"),
    ],
)
def test_a_listed_folder_that_holds_no_model_of_ours_gets_a_sentence(tmp_path, content, sentence):
    folder = tmp_path / "model"
    folder.mkdir()
    if content is not None:
        (folder / "model_index.json").write_text(json.dumps(content))
    with pytest.raises(gr.Error) as failure:
        ModelRegistry([str(folder)]).get("model")
    assert sentence in failure.value.message and str(folder) not in failure.value.message


# Requests of one model at the same time.


def tiny_requests(
    pipeline: DiffusionADPipeline, max_batch: int, pictures, settings
) -> tuple[list, list[int]]:
    """Outputs of requests that all wait while the first call runs, and the sizes of the calls."""
    sizes, is_waiting = [], threading.Event()

    def run(batch, seed, settings):
        sizes.append(len(batch))
        is_waiting.wait(30)
        return pipeline(batch, **settings)

    batcher = RequestBatcher(run, max_batch)
    with ThreadPoolExecutor(len(pictures)) as pool:
        outputs = [pool.submit(batcher, picture, 0, s) for picture, s in zip(pictures, settings, strict=True)]
        while len(batcher._waiting) < len(pictures) - 1:
            time.sleep(0.01)
        is_waiting.set()
        return [output.result() for output in outputs], sizes


def test_requests_that_wait_together_share_a_call_where_that_pays(tiny_pipeline, make_pictures):
    pictures = [picture.astype(np.float32) / 255 for picture in make_pictures(5)]
    expected = tiny_pipeline(pictures)
    outputs, sizes = tiny_requests(tiny_pipeline, 8, pictures, [{}] * 5)
    assert sizes == [1, 4]
    assert [output.score[0] for output in outputs] == list(expected.score)
    assert all(len(output.regions) == len(output.mask) == 1 for output in outputs)
    assert all(
        np.array_equal(o.anomaly_map[0], m) for o, m in zip(outputs, expected.anomaly_map, strict=True)
    )
    assert tiny_requests(tiny_pipeline, 1, pictures, [{}] * 5)[1] == [1] * 5


def test_requests_with_other_settings_have_a_call_of_their_own(tiny_pipeline, make_pictures):
    pictures = [picture.astype(np.float32) / 255 for picture in make_pictures(5)]
    roi = np.eye(64, dtype=bool)
    settings = [{}, {"t_fine": 100}, {"roi": roi}, {"roi": roi.copy()}, {"t_fine": 101}]
    outputs, sizes = tiny_requests(tiny_pipeline, 8, pictures, settings)
    assert sorted(sizes) == [1, 1, 1, 2]
    for output, picture, own in zip(outputs, pictures, settings, strict=True):
        assert output.score[0] == tiny_pipeline(picture, **own).score[0]


def test_a_batch_that_is_too_large_for_the_memory_is_taken_one_by_one(tiny_pipeline, make_pictures):
    pictures = [picture.astype(np.float32) / 255 for picture in make_pictures(4)]

    def run(batch, seed, settings):
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        time.sleep(0.2)
        return tiny_pipeline(batch, **settings)

    batcher = RequestBatcher(run, 8)
    with ThreadPoolExecutor(4) as pool:
        outputs = list(pool.map(lambda picture: batcher(picture, 0, {}), pictures))
    assert [output.score[0] for output in outputs] == list(tiny_pipeline(pictures).score)


def test_a_lent_gpu_is_booked_for_longer_when_there_is_more_to_do():
    picture = np.zeros((8, 8, 3), np.float32)
    short, long = (gpu_seconds("", [picture], 0, {"num_inference_steps": n}) for n in (1, 50))
    assert 0 < short < long <= 60  # Spaces refuse what is too long
    longer, longest, no_longer = (
        gpu_seconds("", [picture] * n, 0, {"num_inference_steps": 50}) for n in (8, 80, 800)
    )
    assert long < longer < longest == no_longer


def test_a_lent_gpu_is_booked_by_the_models_own_settings_where_the_visitor_has_none(tiny_model_folder):
    picture, folder = np.zeros((8, 8, 3), np.float32), "by its own settings"
    pipeline = DiffusionADPipeline.from_pretrained(tiny_model_folder, num_noise_samples=8)
    put_on_device(folder, pipeline)
    asked = {"num_noise_samples": 8}
    assert gpu_seconds(folder, [picture] * 9, 0, {}) == gpu_seconds("", [picture] * 9, 0, asked)


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError(CPU_IS_FULL)]
)
def test_too_little_memory_is_a_sentence(error):
    with pytest.raises(gr.Error, match="too little memory for this picture"), user_errors():
        raise error


# What a visitor sees, without a browser.


@pytest.fixture
def folder(tiny_model_folder: Path, tmp_path: Path, make_pictures) -> Path:
    """A copy of the tiny model, with examples."""
    folder = tmp_path / "models" / "with-examples"
    shutil.copytree(tiny_model_folder, folder)
    (folder / "examples").mkdir()
    for name, pixels in zip(("good_000", "big_hole_001", "big_hole_002"), make_pictures(3), strict=True):
        write(folder / "examples" / f"{name}.png", pixels)
    (folder / "examples" / "notes.txt").write_text("no picture")
    return folder


@pytest.fixture
def tab(folder: Path, tiny_model_folder: Path, monkeypatch) -> InspectTab:
    monkeypatch.setattr("diffusionad.ui.serving.model_registry.demo_models", list)
    registry = ModelRegistry([str(folder), str(tiny_model_folder)])
    with gr.Blocks() as app:
        return InspectTab(Page(app, gr.Tabs(), registry, gr.State(Session()), gr.State(None)))


def own_values(tab: InspectTab) -> list:
    """Threshold and settings as the page holds them after a model was chosen."""
    threshold, *settings, roi = tab.reset_settings(SESSION).values()
    assert roi is None
    return [threshold, *(update["value"] for update in settings)]


def inspect_here(tab: InspectTab, path: Path, threshold: float, *settings, session=SESSION, roi=None) -> dict:
    return tab.inspect(upload(path), session, None, *DISPLAY, threshold, *settings, roi)


def test_at_first_the_visitor_sees_the_first_defective_example_inspected(tab, tiny_pipeline, folder):
    changes = tab.change_model(SESSION, None, False, *DISPLAY)
    assert [name for _, name in changes[tab.examples]["value"]] == ["big hole", "big hole", "good"]
    assert (
        Path(changes[tab.picture]).name == "big_hole_001.png" and changes[tab.examples]["selected_index"] == 0
    )
    assert changes[tab.view.last] is None and "busy" in changes[tab.view.banner]
    inspected = tab.inspect_new(
        {"path": changes[tab.picture]}, SESSION, None, *DISPLAY, *own_values(tab), None
    )[tab.view.last]
    expected = tiny_pipeline(folder / "examples" / "big_hole_001.png")
    assert inspected.verdict.score == pytest.approx(expected.score[0], abs=1e-12)
    kept = tab.inspect_new({"path": inspected.path}, SESSION, inspected, *DISPLAY, *own_values(tab), None)
    assert set(kept) == {tab.view.banner}  # nothing is inspected twice


def test_another_model_keeps_the_visitors_own_picture_but_not_its_verdict(tab):
    changes = tab.change_model(SESSION, None, True, *DISPLAY)
    assert tab.picture not in changes and changes[tab.examples]["selected_index"] is None
    assert changes[tab.view.last] is None and "busy" in changes[tab.view.banner]  # the old one is dimmed


def test_the_address_names_a_model_on_offer_and_no_other(tab, tiny_model_folder):
    with gr.Blocks():
        picker = ModelPicker(tab.page.registry)
    first, second = tab.page.registry.names()
    for named, used in ((second, second), (str(tiny_model_folder.parent), first), ("org/name", first)):
        request = SimpleNamespace(query_params={"model": named, "example": "hole"})
        session, _, card = picker.open(first, Session(), request)
        assert session.model == used and used in card
        assert session.example == ("hole" if named == used else None)


def test_the_line_beside_the_model_follows_the_visits_calibration(tab):
    with gr.Blocks():
        picker = ModelPicker(tab.page.registry)
    assert "Your threshold" not in picker.show_card(SESSION)
    card = picker.show_card(replace(SESSION, calibration=calibrate([i / 200 for i in range(99)], 0.05)))
    assert "Your threshold" in card and "5\N{NO-BREAK SPACE}%, from 99 good parts of yours" in card


def test_the_address_names_the_first_example(tab):
    changes = tab.change_model(replace(SESSION, example="good"), None, False, *DISPLAY)
    assert Path(changes[tab.picture]).name == "good_000.png" and changes[tab.examples]["selected_index"] == 2


def test_a_broken_picture_leaves_the_page_with_its_reason(tab, tmp_path):
    broken = tmp_path / "notes.png"
    broken.write_text("no picture")
    changes = tab.inspect_new(upload(broken), SESSION, None, *DISPLAY, *own_values(tab), None)
    assert "`notes.png` is no picture that Pillow can read" in changes[tab.view.banner]
    assert changes[tab.picture] is None and changes[tab.view.results]["visible"] is False


def test_the_guidance_of_a_distilled_model_cannot_be_set(tab):
    pipeline = tab.page.model(SESSION).pipeline
    guided = tab.settings.values_of(tab.page.model(SESSION))
    assert all(update["interactive"] for update in guided.values())
    pipeline.register_to_config(denoising="distilled", num_inference_steps=1, num_noise_samples=1)
    fixed = {
        name
        for name, control in tab.settings.controls.items()
        if not tab.settings.values_of(tab.page.model(SESSION))[control]["interactive"]
    }
    assert fixed == {"t_coarse", "guidance_weight", "num_inference_steps", "num_noise_samples"}


def test_a_model_without_examples_waits_for_a_picture(tab, tiny_model_folder):
    changes = tab.change_model(Session(str(tiny_model_folder)), None, False, *DISPLAY)
    assert changes[tab.examples]["visible"] is False
    assert changes[tab.picture] is None and changes[tab.view.last] is None


def test_the_slider_at_the_models_threshold_means_all_its_digits(tab, picture, tiny_pipeline):
    threshold, *settings = own_values(tab)
    saved = tiny_pipeline.config.threshold
    assert threshold != saved and threshold == round(saved, 3)
    changes = inspect_here(tab, picture, threshold, *settings)
    assert changes[tab.view.last].verdict.threshold == saved
    assert changes[tab.view.last].verdict.false_alarm_rate == pytest.approx(1 / 41)


def test_moving_the_threshold_redraws_without_the_model(tab, picture):
    threshold, *settings = own_values(tab)
    last = inspect_here(tab, picture, threshold, *settings)[tab.view.last]
    tab.page.registry.get("with-examples").pipeline = None
    for moved in (0.0, last.verdict.score - 0.01, last.verdict.score + 0.01):
        changes = tab.view.judge(last, moved, 0, *DISPLAY)
        word = "DEFECTIVE" if last.verdict.score > moved else "GOOD"
        assert f"</span>{word}</div>" in changes[tab.view.banner]
        assert Image.open(changes[tab.view.found][1]).size == (96, 60)


def test_the_settings_reach_the_pipeline(tab, picture, tiny_pipeline):
    threshold, *settings = own_values(tab)
    settings[:3] = 100, 500, 0.25
    changes = inspect_here(tab, picture, threshold, *settings)
    expected = tiny_pipeline(picture, t_fine=100, t_coarse=500, guidance_weight=0.25)
    assert changes[tab.view.last].verdict.score == pytest.approx(expected.score[0], abs=1e-12)
    assert "no p-value" in changes[tab.view.banner]


def test_another_seed_gives_another_score(tab, picture):
    threshold, *settings = own_values(tab)
    scores = []
    for seed in (0, 1, 1):
        settings[-1] = seed
        changes = inspect_here(tab, picture, threshold, *settings)
        scores.append(changes[tab.view.last].verdict.score)
    assert scores[0] != scores[1] == scores[2]


def test_settings_beyond_the_controls_are_refused(tab, picture):
    threshold, *settings = own_values(tab)
    settings[3] = 500  # steps
    with pytest.raises(gr.Error, match="greater than maximum value 50"):
        inspect_here(tab, picture, threshold, *settings)


def test_the_noise_of_another_seed_has_no_p_value(tab, picture):
    threshold, *settings = own_values(tab)
    settings[-1] = 1
    inspected = inspect_here(tab, picture, threshold, *settings)[tab.view.last]
    assert inspected.verdict.p_value is None and inspected.expected_false_alarms() is None


def test_a_painted_region_is_where_the_model_looks(tab, picture, tiny_pipeline):
    roi = np.zeros((64, 64), bool)
    roi[:32] = True
    inspected = inspect_here(tab, picture, *own_values(tab), roi=roi)[tab.view.last]
    expected = tiny_pipeline(picture, roi=roi)
    assert inspected.score == pytest.approx(expected.score[0], abs=1e-12)
    assert inspected.verdict.p_value is None  # it was calibrated on whole pictures
    assert inspected.inside.mean() == 0.5
    drawn = np.asarray(inspected.at_threshold(1).draw("Contours")).astype(float)
    original = np.asarray(inspected.picture).astype(float)
    assert np.allclose(drawn[:29], original[:29])
    assert drawn[31:].mean() < 0.5 * original[31:].mean()


def test_the_smallest_region_can_be_changed_without_the_model(tab, picture):
    threshold, *settings = own_values(tab)
    last = inspect_here(tab, picture, threshold, *settings)[tab.view.last]
    tab.page.registry.get("with-examples").pipeline = None
    low = last.verdict.score - 0.01
    assert "DEFECTIVE" in tab.view.judge(last, low, 0, *DISPLAY)[tab.view.banner]
    assert "GOOD" in tab.view.judge(last, low, 10**6, *DISPLAY)[tab.view.banner]


def test_a_calibration_of_the_visitors_holds_for_this_visit(tab, picture):
    threshold, *settings = own_values(tab)
    last = inspect_here(tab, picture, threshold, *settings)[tab.view.last]
    own = calibrate(np.linspace(0, 0.5, 50), 0.1)
    session = Session("with-examples", own)
    changes = tab.change_model(session, last, True, *DISPLAY)
    judged = changes[tab.view.last]
    assert judged.verdict.threshold == own.threshold and judged.verdict.false_alarm_rate == 0.1
    assert changes[tab.view.threshold] == round(own.threshold, 3)
    again = inspect_here(tab, picture, changes[tab.view.threshold], *settings, session=session)[tab.view.last]
    assert again.verdict == judged.verdict
    back = tab.change_model(SESSION, judged, True, *DISPLAY)[tab.view.last]
    assert back.verdict == last.verdict


def test_a_picture_of_another_tab_is_inspected_here(tab, picture):
    path = serve_file(picture)
    changes = tab.take_picture(path)
    assert changes[tab.picture] == path and changes[tab.view.last] is None
    assert changes[tab.page.picture_to_inspect] is None and changes[tab.page.tabs].selected == "inspect"
    assert tab.take_picture(None) == {tab.picture: gr.skip()}


def test_the_steps_end_in_the_reconstruction_and_the_map_of_the_inspection(tab, picture, tiny_pipeline):
    threshold, *settings = own_values(tab)
    last = inspect_here(tab, picture, threshold, *settings)[tab.view.last]
    shown = tab.explain(SESSION, last)["value"]
    assert len(shown) == 6 and "t = 200" in shown[0][1]
    expected = tiny_pipeline(picture, output_type="np")
    blend = read_image(shown[4][0])
    assert np.abs(blend - expected.reconstruction[0]).max() < 1 / 255


def test_a_region_is_enlarged_beside_its_reconstruction(model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    inspected = inspect_picture(model, str(write(tmp_path / "large.png", pixels)), max_side=100).at_threshold(
        0.0
    )
    region, repaired = inspected.enlarge_region(0)
    assert region.size == repaired.size == (480, 360)
    one = replace(inspected, regions=(Region((350, 280, 352, 283), 6, (351, 281), 0.9, (351, 281)),))
    small, _ = one.enlarge_region(0)  # from the picture itself, not from the small one that is shown
    seen = np.asarray(small.resize((26, 27), Image.Resampling.BOX)).astype(float)
    assert np.abs(seen[4:-4, 4:-4] - pixels[272:291, 342:360].astype(float)).mean() < 40


def test_the_downloads_are_exact_at_the_size_of_the_picture(model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8)
    inspected = inspect_picture(model, str(write(tmp_path / "large.png", pixels)), max_side=100)
    files = {ending: write(inspected, 0.5, "magma") for ending, write in DOWNLOADS.values()}
    mask, heat = (np.asarray(Image.open(BytesIO(files[name]))) for name in ("mask.png", "map.png"))
    assert mask.dtype == np.uint8 and np.array_equal(mask, inspected.mask * 255)
    assert heat.dtype == np.uint16 and np.abs(heat / 65535 - inspected.anomaly_map).max() < 1 / 65535
    assert Image.open(BytesIO(files["overlay.png"])).size == (400, 300)
    figures = json.loads(files["figures.json"])
    assert figures["score"] == inspected.score and len(figures["regions"]) == len(inspected.regions)
    assert download_name(inspected, "mask.png") == "large_mask.png"


def test_a_comparison_and_an_animation_are_there_to_show_around(model, picture):
    inspected = inspect_picture(model, str(picture), threshold=0.0)
    files = {ending: write(inspected, 0.5, "magma") for ending, write in DOWNLOADS.values()}
    comparison = Image.open(BytesIO(files["comparison.png"]))
    assert comparison.width > 3 * 320
    animation = Image.open(BytesIO(files["before_after.gif"]))
    assert (animation.n_frames, animation.size) == (2, (96, 60))
    animation.seek(1)
    difference = np.abs(np.asarray(animation.convert("RGB"), float) - np.asarray(inspected.repaired, float))
    assert np.median(difference) < 32  # a palette of 256 colours


def test_a_file_of_two_visitors_is_whole_at_any_moment():
    data = [bytes([i]) * 300_000 for i in range(2)]
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda i: serve_bytes(data[i % 2], "same name.png"), range(64)))
    assert len(set(paths)) == 2
    assert [Path(path).read_bytes() for path in paths[:2]] == data
    assert [file.name for file in Path(paths[0]).parent.iterdir()] == ["same name.png"]


def test_large_pictures_are_shown_as_jpeg_and_masks_never():
    assert serve_image(Image.new("RGB", (1280, 900))).endswith(".jpg")
    assert serve_image(Image.new("RGB", (256, 256))).endswith(".png")
    assert serve_image(Image.new("L", (1280, 900))).endswith(".png")


def test_very_wide_pictures_are_shown_one_above_the_other(tab, tmp_path, make_pictures):
    [large] = make_pictures(1, side=200)
    wide, square = large[:50], large[:50, :50]
    threshold, *settings = own_values(tab)
    columns = []
    for i, pixels in enumerate((wide, square)):
        path = write(tmp_path / f"{i}.png", pixels)
        changes = inspect_here(tab, path, threshold, *settings)
        columns.append(changes[tab.view.picture_columns[0]]["min_width"])
    assert columns[0] > columns[1]


@pytest.fixture
def model(tiny_model_folder: Path):
    return ModelRegistry([str(tiny_model_folder)]).get(str(tiny_model_folder))


@pytest.mark.parametrize("min_region_area", [0, 40, 10**6])
def test_judging_again_is_what_the_pipeline_says_at_that_threshold(
    model, picture, min_region_area, monkeypatch
):
    model.pipeline.configure(min_region_area=min_region_area)
    at_own = inspect_picture(model, str(picture))
    for threshold in np.quantile(at_own.anomaly_map, [0.1, 0.5, 0.9, 0.999]):
        there = inspect_picture(model, str(picture), threshold=float(threshold))
        again = at_own.at_threshold(float(threshold))
        assert again.verdict == there.verdict and again.regions == there.regions
        assert np.array_equal(again.mask, there.mask)
    assert at_own.at_threshold(at_own.own_threshold).verdict == at_own.verdict


def test_what_is_shown_is_small_and_what_is_judged_is_not(model, tmp_path):
    path = write(tmp_path / "large.png", np.random.default_rng(0).integers(0, 255, (300, 400, 3), np.uint8))
    inspected = inspect_picture(model, str(path), max_side=100)
    assert inspected.anomaly_map.shape == (300, 400)
    assert inspected.picture.size == inspected.reconstruction.size == (100, 75)
    for view in VIEWS:
        assert inspected.draw(view).size == (100, 75)


def test_small_regions_survive_in_a_picture_that_is_shown_smaller(model, tmp_path, make_pictures):
    path = write(tmp_path / "large.png", make_pictures(1, side=400)[0])
    inspected = inspect_picture(model, str(path), max_side=100)
    inspected.mask[:] = False
    inspected.mask[201, 201] = True
    assert np.asarray(inspected.draw("Mask")).any()


def test_the_banner_names_verdict_score_threshold_p_value_rate_and_n(model, picture):
    inspected = inspect_picture(model, str(picture))
    text = html.unescape(re.sub("<[^>]*>", " ", verdict_banner(inspected))).replace("\N{NO-BREAK SPACE}", " ")
    verdict = inspected.verdict
    assert ("DEFECTIVE" if verdict.is_anomalous else "GOOD") in text
    for part in (f"{verdict.score:.3f}", f"{verdict.threshold:.3f}", f"p = {verdict.p_value:.3f}"):
        assert part in text
    assert "false-alarm rate 2.44 %, n = 40" in text
    moved = verdict_banner(inspected.at_threshold(0.123))
    assert "Threshold moved by hand" in moved and f"{inspected.own_threshold:.3f}" in moved


def test_the_banner_counts_the_known_marks_that_were_left_out(model, picture):
    inspected = inspect_picture(model, str(picture))
    assert "left out" not in verdict_banner(inspected)
    mark = KnownMark(position=(3, 4), peak=0.9, remaining_fraction=0.0, similarity=0.99)
    for count, text in ((1, "1 known mark left out"), (2, "2 known marks left out")):
        marked = replace(inspected, known_marks=(mark,) * count)
        assert text in verdict_banner(marked.at_threshold(marked.own_threshold))


def test_the_table_lists_the_regions_and_stops_at_ten(model, picture):
    inspected = inspect_picture(model, str(picture))
    assert "No region" in region_table(inspected.at_threshold(1.0))
    whole = region_table(inspected.at_threshold(0.0))
    assert "96 × 60 px" in whole and whole.count("<tr") == 2
    many = max((inspected.at_threshold(t) for t in np.linspace(0.1, 0.9, 60)), key=lambda i: len(i.regions))
    assert len(many.regions) > 10
    table = region_table(many)
    assert table.count("<tr") == 11 and f"{len(many.regions) - 10} more" in table


def test_names_of_models_cannot_smuggle_html_into_the_page(tab, picture):
    model = tab.page.registry.get("with-examples")
    model.name = "<script>alert(1)</script>"
    threshold, *settings = own_values(tab)
    changes = inspect_here(tab, picture, threshold, *settings)
    assert "<script>" not in changes[tab.view.run_line]


def test_the_card_says_what_is_promised(model):
    card = model_card(model)
    assert "trained on good noise only, it has never seen a defect; sees 64 × 64 px" in card
    assert f"<dd>{model.pipeline.config.threshold:.3f}</dd>" in card and "from 40 good parts" in card
    assert "AUROC" not in card  # nobody has measured this model


def test_the_card_says_that_a_model_sees_tiles(model):
    model.pipeline.configure(resize_mode="tile", calibration=None)
    assert "sees tiles of 64 × 64 px, runs on" in model_card(model)
    model.pipeline.configure(shorter_side=80)
    assert "sees tiles of 64 × 64 px, the shorter side at 80 px, runs on" in model_card(model)


def test_a_picture_in_tiles_is_inspected_and_explained_where_it_stands_out(model, tmp_path, make_pictures):
    model.pipeline.configure(resize_mode="tile", calibration=None)
    pixels = make_pictures(1, side=150)[0][:100]
    roi = np.zeros((100, 150), bool)
    roi[:, 90:] = True
    inspected = inspect_picture(model, str(write(tmp_path / "part.png", pixels)), roi=roi)
    assert inspected.inside.shape == (100, 150) and (inspected.inside == roi).all()
    assert inspected.reconstruction.size == inspected.draw().size == (150, 100)
    y, x = inspected.peak()
    assert inspected.anomaly_map[int(100 * y), int(150 * x)] == inspected.anomaly_map.max() and x > 0.6
    shown = model.explain(read_image(inspected.path), inspected.seed, {}, inspected.peak())
    assert len(shown) == 7 and shown[0][1] == "The tile that stands out most, of 6"
    assert {image.size for image, _ in shown} == {(64, 64)}
    top = 0 if y < 0.5 else 36
    np.testing.assert_array_equal(np.asarray(shown[0][0]), pixels[top : top + 64, 86:])
    steps = {"num_inference_steps": 5}
    one, six = (gpu_seconds(str(model.folder), [p], 0, steps) for p in (pixels[:64, :64], pixels))
    assert six > one


def test_the_card_warns_of_a_model_that_is_weak_or_was_not_measured(model, tmp_path):
    model.folder = tmp_path
    for auroc, warns in ((0.987, False), (0.55, True)):
        figures = {"image_auroc": {"value": auroc, "interval": [auroc - 0.01, auroc + 0.01]}, "aupro": 0.5}
        (tmp_path / "metrics.json").write_text(json.dumps(figures))
        assert ("Weak: image AUROC 0.55" in model_card(model)) == warns
        assert "AUPRO" not in model_card(model) and "Not measured" not in model_card(model)
    (tmp_path / "metrics.json").write_text("{")
    assert "Not measured on defects." in model_card(model)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16"])
def test_a_tiff_becomes_a_png_of_the_same_pixels_for_the_browser(tmp_path, mode):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3))
    array = {"L": pixels[:, :, 0].astype(np.uint8), "RGB": pixels.astype(np.uint8)}.get(
        mode, (pixels[:, :, 0] * 257).astype(np.uint16)
    )
    path = write(tmp_path / "camera.tif", array)
    png = convert_for_browser(upload(path))
    assert Path(png).suffix == ".png"
    assert np.array_equal(read_image(png), read_image(path))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_broken_tiff_is_left_to_the_inspection(model, tmp_path):
    path = tmp_path / "camera.tif"
    path.write_bytes(b"II*\0 nonsense")
    assert convert_for_browser(upload(path)) == gr.skip()
    with pytest.raises(gr.Error, match=r"`camera\.tif`"):
        inspect_upload(model, upload(path))


def test_an_unforeseen_error_is_a_sentence_too_and_goes_into_the_log(model, picture, monkeypatch, caplog):
    def fail(*args, **kwargs):
        raise KeyError("internal")

    monkeypatch.setattr(model, "pipeline", DiffusionADPipeline.from_pretrained(model.folder))
    monkeypatch.setattr(DiffusionADPipeline, "__call__", fail)
    with pytest.raises(gr.Error) as failure:
        inspect_upload(model, upload(picture))
    assert failure.value.message.startswith("Something went wrong")
    assert "KeyError" in caplog.text


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"path": "gone.png"}, "bring the picture again"),
        ({"path": None, "url": None}, "please try again"),
    ],
)
def test_what_gradio_itself_fails_at_is_a_sentence_too(caplog, value, sentence):
    with Screens() as screens:
        gr.Button().click(lambda pixels: None, gr.Image(), None)
    with ThreadPoolExecutor(1) as thread, pytest.raises(gr.Error, match=sentence):
        # In a thread of its own, for the reason that test_ui_batch.py gives.
        thread.submit(asyncio.run, screens.process_api(screens.fns[0], [value])).result()
    assert "Traceback" in caplog.text


def test_captions_are_words():
    assert example_caption(Path("broken_thread_003.png")) == "broken thread"
    assert example_caption(Path("007.png")) == "007"


def test_an_app_without_any_model_can_be_built(monkeypatch):
    monkeypatch.setattr("diffusionad.ui.serving.model_registry.demo_models", list)
    app = build_app([])
    assert "analytics_enabled" in app.config and app.config["analytics_enabled"] is False
