"""Many files at once: uploads and archives, the batch endpoint, the table, calibration by a user."""

import asyncio
import base64
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import httpx
import numpy as np
import pytest
from gradio.route_utils import delete_files_created_by_app
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from diffusionad import DiffusionADPipeline, calibrate
from diffusionad.ui.app import CLEAN_UP_SECONDS, FILE_SECONDS, Screens
from diffusionad.ui.components.batch_runner import Batch, BatchRunner, delete_files
from diffusionad.ui.components.histogram import histogram
from diffusionad.ui.components.page import Page, Session
from diffusionad.ui.components.results_table import results_table
from diffusionad.ui.components.roi_editor import RoiEditor
from diffusionad.ui.serving import temporary, uploads
from diffusionad.ui.serving.batch_inspection import export_results, inspect_batch
from diffusionad.ui.serving.files import serve_file
from diffusionad.ui.serving.inspection_state import inspect_picture
from diffusionad.ui.serving.mcp import is_mcp_enabled
from diffusionad.ui.serving.model_registry import ModelRegistry
from diffusionad.ui.serving.uploads import UploadedPicture, collect_pictures
from diffusionad.ui.tabs.calibrate import CONFIG, CalibrateTab, config_with
from diffusionad.ui.tabs.draw import DrawTab

if TYPE_CHECKING:
    from mcp.types import CallToolResult


def upload(path: Path) -> dict:
    """The file as Gradio hands it over after an upload."""
    return {"path": serve_file(path), "orig_name": path.name}


@pytest.fixture
def pictures(tmp_path: Path, make_pictures: Callable[..., list[np.ndarray]]) -> list[Path]:
    """Three PNGs of 64 x 64 pixels."""
    paths = [tmp_path / f"part {i}.png" for i in range(3)]
    for path, pixels in zip(paths, make_pictures(3), strict=True):
        Image.fromarray(pixels).save(path)
    return paths


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    return folder


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


# What visitors drop.


def test_uploads_are_copied_under_their_own_names(pictures, folder):
    found = collect_pictures([upload(path) for path in pictures], folder)
    assert [dropped.name for dropped in found] == ["part 0.png", "part 1.png", "part 2.png"]
    for dropped, path in zip(found, pictures, strict=True):
        assert dropped.path.read_bytes() == path.read_bytes() and dropped.path.parent == folder


def test_an_archive_gives_its_pictures_in_all_folders_and_nothing_else(pictures, folder, tmp_path):
    data = pictures[0].read_bytes()
    names = ("a.png", "lot/b.PNG", "lot/deep/c.jpg")
    others = ("read me.txt", ".hidden.png", "__MACOSX/a.png", "lot/Thumbs.db", "lot/._b.png")
    archive = pack(tmp_path / "set.zip", dict.fromkeys((*names, *others), data))
    found = collect_pictures([upload(archive)], folder)
    assert tuple(dropped.name for dropped in found) == names
    assert all(dropped.path.read_bytes() == data for dropped in found)
    assert [str(dropped.relative_path) for dropped in found] == list(names)


def test_two_archives_keep_pictures_of_the_same_name_apart(pictures, folder, tmp_path):
    archives = [pack(tmp_path / f"{n}.zip", {"a.png": n.encode()}) for n in ("one", "two")]
    found = collect_pictures([upload(path) for path in [*archives, archives[0]]], folder)
    assert [dropped.name for dropped in found] == ["one/a.png", "two/a.png", "one/a.png"]
    assert [dropped.path.read_bytes() for dropped in found] == [b"one", b"two", b"one"]
    assert len({dropped.relative_path for dropped in found}) == 3


@pytest.mark.parametrize(
    "name",
    [
        "../../outside.png",
        "/etc/outside.png",
        "..\\..\\outside.png",
        "C:\\outside.png",
        "a/../../../outside.png",
        "a\n\x1b/b.png",
        "x" * 300 + ".png",
        "/".join("d" * 100 for _ in range(60)) + "/e.png",
        "é" * 200 + ".png",
    ],
)
def test_no_name_in_an_archive_leads_out_of_the_folder(folder, tmp_path, name):
    archive = tmp_path / "evil.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        member = zipfile.ZipInfo("picture.png")
        member.filename = name  # as no honest program would write it
        packed.writestr(member, b"data")
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)}
    for dropped in collect_pictures([upload(archive)], folder):
        assert dropped.path.resolve().is_relative_to(folder.resolve())
        assert dropped.path.read_bytes() == b"data"
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(folder)} == before


def test_a_file_and_a_folder_of_one_name_both_arrive(folder, tmp_path):
    archive = pack(tmp_path / "set.zip", {"a.png": b"1", "a.png/b.png": b"2"})
    assert [dropped.path.read_bytes() for dropped in collect_pictures([upload(archive)], folder)] == [
        b"1",
        b"2",
    ]


def test_a_link_in_an_archive_is_no_link_on_the_disk(folder, tmp_path):
    archive = tmp_path / "link.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        link = zipfile.ZipInfo("link.png")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        packed.writestr(link, "/etc/passwd")
    [dropped] = collect_pictures([upload(archive)], folder)
    assert not dropped.path.is_symlink() and dropped.path.read_bytes() == b"/etc/passwd"


def test_an_archive_that_unpacks_to_too_much_is_refused_before_unpacking(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_UNPACKED", 1_000_000)
    archive = pack(tmp_path / "bomb.zip", {"a.png": bytes(700_000), "b.png": bytes(700_000)})
    assert archive.stat().st_size < 5_000
    [dropped] = collect_pictures([upload(archive)], folder)
    assert dropped.path is None and dropped.error.startswith("`bomb.zip` unpacks to 0.0 GB")
    assert list(folder.iterdir()) == []


def test_an_entry_never_unpacks_to_more_than_it_claims(folder, tmp_path):
    archive = pack(tmp_path / "liar.zip", {"a.png": bytes(3_000_000)})
    data = archive.read_bytes()
    size = (3_000_000).to_bytes(4, "little")
    assert data.count(size) == 2
    archive.write_bytes(data.replace(size, (100).to_bytes(4, "little")))
    [dropped] = collect_pictures([upload(archive)], folder)
    assert dropped.path is None and "damaged" in dropped.error
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= 100


def test_what_cannot_be_unpacked_becomes_an_entry_with_its_error(folder, tmp_path, pictures):
    (tmp_path / "broken.zip").write_bytes(b"PK\3\4 nonsense")
    pack(tmp_path / "empty.zip", {"notes.txt": b"no picture"})
    pack(tmp_path / "nested.zip", {"inner.zip": b"", "ok.png": pictures[0].read_bytes()})
    secret = pack(tmp_path / "secret.zip", {"a.png": b"data"})
    data = bytearray(secret.read_bytes())
    data[6] |= 1  # the flag of an encrypted entry, in its own head and in the directory
    data[data.index(b"PK\1\2") + 8] |= 1
    secret.write_bytes(data)
    names = ("broken", "empty", "nested", "secret")
    found = collect_pictures([upload(tmp_path / f"{name}.zip") for name in names], folder)
    errors = {dropped.name: dropped.error for dropped in found}
    assert errors.pop("nested/ok.png") is None
    assert "no ZIP archive" in errors["broken.zip"]
    assert "holds no picture" in errors["empty.zip"]
    assert "inside an archive" in errors["nested/inner.zip"]
    assert "encrypted" in errors["secret/a.png"]


def test_too_many_pictures_are_refused(folder, tmp_path, pictures, monkeypatch):
    monkeypatch.setattr(uploads, "MAX_PICTURES", 2)
    with pytest.raises(ValueError, match="At most"):
        collect_pictures([upload(path) for path in pictures], folder)
    archive = pack(tmp_path / "many.zip", dict.fromkeys(("a.png", "b.png", "c.png"), b""))
    with pytest.raises(ValueError, match="At most"):
        collect_pictures([upload(archive)], folder)


def test_nothing_dropped_and_a_file_that_was_not_uploaded_get_a_sentence(folder, pictures):
    with pytest.raises(ValueError, match="Choose pictures first"):
        collect_pictures([], folder)
    with pytest.raises(ValueError, match="has to be uploaded"):
        collect_pictures([{"path": str(pictures[0])}], folder)


# Many pictures through a model.


@pytest.fixture
def registry(tiny_model_folder: Path, monkeypatch) -> ModelRegistry:
    monkeypatch.setattr("diffusionad.ui.serving.model_registry.demo_models", list)
    return ModelRegistry([str(tiny_model_folder)])


@pytest.fixture
def dropped(pictures: list[Path]) -> list[UploadedPicture]:
    """Three pictures, one that is none, one that could not be unpacked."""
    broken = pictures[0].with_name("broken.png")
    broken.write_text("no picture")
    found = [UploadedPicture(f"lot/{path.name}", path, Path(path.name)) for path in [*pictures, broken]]
    return [*found, UploadedPicture("bad.zip", error="`bad.zip` is no ZIP archive.")]


def test_every_picture_becomes_a_row_and_a_broken_one_its_error(registry, dropped, folder, tiny_pipeline):
    rows = list(inspect_batch(registry.get(None), dropped, folder))
    assert [str(row.result.file) for row in rows] == [picture.name for picture in dropped]
    expected = tiny_pipeline([picture.path for picture in dropped[:3]])
    for row, score, regions in zip(rows[:3], expected.score, expected.regions, strict=True):
        assert row.result.verdict.score == pytest.approx(score, abs=1e-12)
        assert list(row.result.regions) == regions
        assert (folder / row.result.overlay).is_file() and row.thumbnail.startswith("data:image/jpeg;base64,")
    assert rows[3].result.error.startswith("`lot/broken.png` is no picture") and rows[3].path is None
    assert rows[4].result.error == "`bad.zip` is no ZIP archive."


def test_a_run_that_is_stopped_inspects_no_more(registry, dropped, folder, monkeypatch):
    inspected = []

    def inspect_and_count(*args, **arguments):
        inspected.append(args)
        return inspect_picture(*args, **arguments)

    monkeypatch.setattr("diffusionad.ui.serving.batch_inspection.inspect_picture", inspect_and_count)
    run = inspect_batch(registry.get(None), dropped[:3] * 20, folder)
    next(run)
    run.close()
    time.sleep(0.5)
    assert 1 <= len(inspected) < 20


def test_the_export_names_files_as_the_visitor_does_and_packs_every_overlay(registry, dropped, folder):
    model = registry.get(None)
    csv, archive = export_results(model, list(inspect_batch(model, dropped, folder)), folder)
    text = csv.read_text()
    assert "lot/part 0.png,good" in text or "lot/part 0.png,defective" in text
    assert "bad.zip,error" in text and str(folder) not in text
    with zipfile.ZipFile(archive) as packed:
        names = set(packed.namelist())
        assert names == {"results.csv", "results.json", *(f"overlays/part {i}.png" for i in range(3))}
        results = json.loads(packed.read("results.json"))
    assert (results["model"], results["summary"]["unreadable"]) == ("tiny", 2)


def test_the_table_starts_with_the_highest_score_and_escapes_names(registry, dropped, folder):
    evil = UploadedPicture("<img src=x onerror=alert(1)>.png", dropped[0].path, Path("evil.png"))
    rows = list(inspect_batch(registry.get(None), [*dropped, evil], folder))
    html = results_table(rows)
    assert "<img src=x" not in html
    scores = [float(score) for score in re.findall(r'data-value="(0\.\d+)"', html)]
    assert len(scores) == 4 and scores == sorted(scores, reverse=True)
    assert html.index("bad.zip") > html.index("part 2.png")
    assert html.count("<th ") == 6 and "p-value" in html


def test_the_histogram_counts_every_score_once_and_splits_the_bar_at_the_threshold():
    svg = histogram([0.0, 0.11, 0.119, 0.5, 1.0], {"threshold": 0.115})
    assert "5 scores: 3 above the threshold 0.115" in svg
    heights = {
        kind: [float(h) for h in re.findall(rf'class="{kind}".*?height="([\d.]+)"', svg)]
        for kind in ("good", "defective")
    }
    unit = min(heights["good"])
    assert [round(h / unit) for h in heights["good"]] == [1, 1]
    assert [round(h / unit) for h in heights["defective"]] == [1, 1, 1]


# The endpoint.


def test_the_batch_endpoint_answers_for_pictures_archives_and_broken_files(
    app, pictures, tmp_path, tiny_pipeline
):
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    archive = pack(tmp_path / "set.zip", {"lot/a.png": pictures[1].read_bytes()})
    files = [handle_file(path) for path in (pictures[0], archive, broken)]
    results, csv, overlays = app.client.predict(files, "tiny", api_name="/batch")
    assert [result["file"] for result in results] == ["part 0.png", "set/lot/a.png", "broken.png"]
    expected = tiny_pipeline(pictures[:2])
    assert [r["score"] for r in results[:2]] == pytest.approx(list(expected.score), abs=1e-6)
    assert len(results[0]["regions"]) == len(expected.regions[0]) and results[0]["n"] == 40
    assert results[2]["error"].startswith("`broken.png` is no picture")
    assert Path(csv).read_text().count("\n") == 4
    with zipfile.ZipFile(overlays) as packed:
        assert {"overlays/part 0.png", "overlays/set/lot/a.png"} < set(packed.namelist())


def test_the_batch_endpoint_honours_the_threshold_and_says_what_it_has_to_be(app, pictures):
    files = [handle_file(pictures[0])]
    [result] = app.client.predict(files, "tiny", 0.0, api_name="/batch")[0]
    assert (result["verdict"], result["threshold"]) == ("defective", 0.0)
    with pytest.raises(AppError, match=r"`threshold` is 7.0; give a number in 0..1."):
        app.client.predict(files, "tiny", 7.0, api_name="/batch")
    with pytest.raises(AppError, match="Choose pictures first"):
        app.client.predict([], "tiny", api_name="/batch")


def test_the_batch_endpoint_refuses_files_that_were_not_uploaded(app, pictures):
    copy = app.upload(pictures[0])
    detour = f"{Path(copy).parent}/{os.path.relpath(pictures[0], Path(copy).parent)}"
    for path, is_allowed in ((str(pictures[0]), False), (detour, False), (copy, True)):
        file = {"path": path, "meta": {"_type": "gradio.FileData"}}
        call = f"{app.url}gradio_api/call/batch"
        event = httpx.post(call, json={"data": [[file], "tiny", None]}).json()["event_id"]
        answer = httpx.get(f"{call}/{event}", timeout=60).text
        assert ("score" in answer) == is_allowed and answer.startswith("event: error") != is_allowed


def test_language_models_get_the_same_answers_as_tools(app, pictures):
    pytest.importorskip("mcp")
    url = f"data:image/png;base64,{base64.b64encode(pictures[0].read_bytes()).decode()}"
    # In a thread of its own: Playwright's event loop stays in the tests' after the first browser.
    with ThreadPoolExecutor(1) as thread:
        call = call_tool(app.url, "inspect", {"image": url, "model": "tiny"})
        tools, answer = thread.submit(asyncio.run, call).result()
    assert sorted(tools) == ["inspect", "models"]
    score = app.client.predict(handle_file(pictures[0]), "tiny", api_name="/inspect")[0]["score"]
    assert not answer.isError and f"'score': {score}" in answer.content[0].text


async def call_tool(url: str, name: str, arguments: dict) -> tuple[list[str], "CallToolResult"]:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamablehttp_client

    async with (
        streamablehttp_client(f"{url}gradio_api/mcp/") as (read, write, _),
        ClientSession(read, write) as session,
    ):
        await session.initialize()
        tools = [tool.name for tool in (await session.list_tools()).tools]
        return tools, await session.call_tool(name, arguments)


def test_tools_that_are_asked_for_in_vain_leave_a_sentence_in_the_log(monkeypatch, caplog):
    monkeypatch.setenv("GRADIO_MCP_SERVER", "True")
    monkeypatch.setattr("diffusionad.ui.serving.mcp.find_spec", lambda name: None)
    assert is_mcp_enabled() is False and "diffusionad[mcp]" in caplog.text
    monkeypatch.setattr("diffusionad.ui.serving.mcp.find_spec", lambda name: object())
    assert is_mcp_enabled() is True
    monkeypatch.delenv("GRADIO_MCP_SERVER")
    assert is_mcp_enabled() is False


# The tabs, without a browser.


@pytest.fixture
def page(registry: ModelRegistry) -> Page:
    with gr.Blocks() as app:
        return Page(app, gr.Tabs(), registry, gr.State(Session()), gr.State(None))


def run_of(
    page: Page, runner: BatchRunner, files: list[Path], session: Session, last: Batch | None = None
) -> Batch:
    changes = list(runner.run([upload(path) for path in files], session, last))
    [batch] = [c[runner.batch] for c in changes if c.get(runner.batch) is not None]
    return batch


def in_page(page: Page, build: Callable) -> object:
    with page.app, page.tabs, gr.Tab("x"):
        return build(page)


def test_a_new_run_and_a_visitor_who_leaves_take_the_files_along(page, pictures):
    runner = in_page(page, lambda page: BatchRunner(page, "batch", "Parts", "Go", "Drop"))
    runner.build_status()
    first = run_of(page, runner, pictures[:1], Session())
    assert first.folder.is_dir() and len(first.rows) == 1
    second = run_of(page, runner, pictures[:2], Session(), last=first)
    assert not first.folder.exists() and second.folder.is_dir()
    assert runner.batch.delete_callback is delete_files
    delete_files(second)
    assert not second.folder.exists()


def test_a_run_uses_the_visitors_calibration(page, pictures):
    runner = in_page(page, lambda page: BatchRunner(page, "batch", "Parts", "Go", "Drop"))
    runner.build_status()
    batch = run_of(page, runner, pictures, Session(None, calibrate([0.0, 0.001])))
    assert batch.threshold == 0.001
    assert all(row.result.verdict.is_anomalous and row.result.verdict.n == 2 for row in batch.rows)


@pytest.fixture
def tab(page: Page) -> CalibrateTab:
    return in_page(page, CalibrateTab)


def test_calibrating_gives_the_threshold_of_the_library(page, tab, pictures):
    session = Session("tiny")
    batch = run_of(page, tab.runner, pictures, session)
    changes = tab.finish(batch, 50.0)
    peaks = [row.peak for row in batch.rows]
    expected = calibrate(batch.scores(), 0.5, peaks)
    assert all(peak >= score for peak, score in zip(peaks, batch.scores(), strict=True))
    proposal = changes[tab.proposal]
    assert proposal.calibration == expected
    text = changes[tab.runner.status]
    assert f"{expected.threshold:.3f}" in text and "at most <strong>50" in text
    assert "3 pictures can promise 25" in text.replace("\N{NO-BREAK SPACE}", " ")
    assert tab.accept(session, proposal).calibration == expected
    with pytest.raises(gr.Error, match="another model"):
        tab.accept(Session("other"), proposal)


def test_too_few_pictures_say_how_many_it_takes(page, tab, pictures):
    batch = run_of(page, tab.runner, pictures, Session("tiny"))
    changes = tab.finish(batch, 1.0)
    text = changes[tab.runner.status].replace("\N{NO-BREAK SPACE}", " ")
    assert "3 good pictures can promise 25 % false alarms at best. For 1 % it takes 99: 96 more." in text
    assert changes[tab.proposal].calibration is None and changes[tab.use]["visible"] is False
    with pytest.raises(gr.Error, match="Find a threshold first"):
        tab.accept(Session("tiny"), changes[tab.proposal])
    for percent in (None, 0, 100, -3):
        again = tab.judge(batch, percent, changes[tab.proposal])
        assert (again[tab.proposal].calibration is not None) == (percent is None)  # as much as they can


def test_pictures_that_set_the_threshold_can_be_left_out(page, tab, pictures):
    batch = run_of(page, tab.runner, pictures, Session("tiny"))
    scores = batch.scores()
    highest, second, _ = np.argsort(scores)[::-1].tolist()
    proposal = tab.finish(batch, None)[tab.proposal]
    changes = tab.finish(batch, 25.0)
    assert [row for _, row in changes[tab.left_out]["choices"]] == [highest]
    changes = tab.judge(batch, 50.0, proposal, [highest])
    calibration = changes[tab.proposal].calibration
    assert (calibration.n, calibration.left_out, calibration.threshold) == (2, 1, scores[second])
    shown = changes[tab.left_out]
    assert [row for _, row in shown["choices"]] == [highest, second] and shown["value"] == [highest]
    assert "1 more left out by hand" in changes[tab.runner.status]


def test_the_config_to_download_is_the_models_own_with_another_calibration(registry, tmp_path):
    model = registry.get(None)
    calibration = calibrate([0.2, 0.4, 0.6], 0.25)
    own = model.pipeline.config.calibration
    copy = tmp_path / "copy"
    shutil.copytree(model.folder, copy)
    (copy / CONFIG).write_bytes(config_with(model, calibration))
    loaded = DiffusionADPipeline.from_pretrained(copy)
    assert loaded.config.threshold == 0.6
    assert loaded.config.calibration == calibration.to_dict()
    assert model.pipeline.config.calibration == own  # other visitors' model
    before = json.loads((model.folder / CONFIG).read_text())
    after = json.loads((copy / CONFIG).read_text())
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {"threshold", "calibration"}


def test_what_is_painted_is_inspected_and_only_if_it_was_uploaded(page, pictures, tiny_pipeline):
    draw = in_page(page, DrawTab)
    canvas = {"background": upload(pictures[0]), "layers": [], "composite": upload(pictures[1])}
    changes = draw.inspect(canvas, Session())
    score = tiny_pipeline(pictures[1]).score[0]
    assert f"{score:.3f}" in changes[draw.banner]
    with pytest.raises(gr.Error, match="has to be uploaded"):
        draw.inspect({"composite": {"path": str(pictures[0])}}, Session())
    for empty in (None, {"background": None, "layers": [], "composite": None}):
        assert "Choose a good part first" in draw.inspect(empty, Session())[draw.banner]


def test_temporary_files_lie_in_a_folder_that_goes_away_with_the_process():
    root = temporary.new_folder().parent
    assert root == Path(temporary._root().name)
    assert os.path.isdir(root) and temporary._root()._finalizer.alive


@pytest.fixture
def roi_editor(page) -> RoiEditor:
    with gr.Blocks():
        return RoiEditor(page)


def test_a_painted_region_is_what_a_layer_covers_and_only_if_it_was_uploaded(roi_editor, pictures, tmp_path):
    layer = np.zeros((64, 64, 4), np.uint8)
    layer[10:20, 5:15, 3] = 128
    Image.fromarray(layer).save(tmp_path / "layer.png")
    roi, note = roi_editor.read_region({"layers": [upload(tmp_path / "layer.png")]}, Session())
    assert np.array_equal(roi, layer[..., 3] > 0) and "2 % of the picture" in note
    assert roi_editor.read_region({"layers": []}, Session())[0] is None
    with pytest.raises(gr.Error, match="has to be uploaded"):
        roi_editor.read_region({"layers": [{"path": str(pictures[0])}]}, Session())


def test_a_painted_region_stays_when_the_picture_is_another_one(roi_editor, pictures, tmp_path):
    roi = np.zeros((64, 64), bool)
    roi[10:20, 5:15] = True
    canvas, note = roi_editor.update_canvas(True, upload(pictures[1]), roi, Session())
    assert "2 % of the picture" in note
    with Image.open(canvas["layers"][0]) as layer:
        assert np.array_equal(np.asarray(layer)[..., 3] > 0, roi)
    assert canvas["background"] != roi_editor.lay_out(upload(pictures[0]), None)["background"]
    assert roi_editor.update_canvas(False, upload(pictures[1]), roi, Session())[0] == gr.skip()  # hidden


def test_the_canvas_of_one_visitor_is_not_written_again_for_the_next(roi_editor, pictures):
    first = roi_editor.lay_out(upload(pictures[0]), None)
    written = os.stat(roi_editor.canvas.postprocess(first).background.path)
    second = roi_editor.canvas.postprocess(roi_editor.lay_out(upload(pictures[0]), None))
    again = os.stat(second.background.path)
    assert (again.st_ino, again.st_size) == (written.st_ino, written.st_size)
    assert second.background.path == second.composite.path == first["background"]


def test_an_event_that_names_a_folder_does_not_stop_the_clean_up_of_uploads(pictures, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "uploads"))
    with Screens() as screens:
        gr.Button().click(lambda upload: "seen", gr.Image(type="filepath"), gr.Textbox(), preprocess=False)
    [event] = screens.default_config.fns

    def send(path: str | Path) -> dict:
        file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
        return asyncio.run(screens.process_api(event, [file]))

    file = Path(upload(pictures[0])["path"])
    assert send(file)["data"] == ["seen"]
    (file.parent / "link.png").symlink_to(file.parent)
    absent = file.with_name("absent.png")
    too_long = f"{file.parent}/{'x' * 300}.png"
    for path in (file.parent, file.parent / "link.png", too_long, f"{file}\0", absent):
        with pytest.raises(gr.Error, match=r"no uploaded file|no longer kept"):
            send(path)
    with pytest.raises(gr.Error, match="did not work here"):  # does not say whether it exists
        send(tmp_path)
    delete_files_created_by_app(screens, age=None)
    assert not file.exists()


START_AND_WAIT = """
from diffusionad.ui.serving.temporary import new_folder
(new_folder() / "upload.png").touch()
print(new_folder().parent, flush=True)
input()
"""


@pytest.mark.slow
def test_files_of_a_killed_app_are_removed_at_the_next_start_and_those_of_a_living_one_kept(tmp_path):
    def start() -> tuple[subprocess.Popen, Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", START_AND_WAIT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"GRADIO_TEMP_DIR": str(tmp_path)},
        )
        return process, Path(process.stdout.readline().strip())

    (tmp_path / "diffusionad-of-somebody-else").mkdir()
    living, kept = start()
    killed, left = start()
    killed.kill()
    killed.wait()
    assert list(left.glob("*/upload.png"))
    third, own = start()
    assert set(tmp_path.iterdir()) == {kept, own, tmp_path / "diffusionad-of-somebody-else"}
    for process in (living, third):
        process.communicate("\n", timeout=60)
    assert [path.name for path in tmp_path.iterdir()] == ["diffusionad-of-somebody-else"]


def test_the_security_policy_says_how_long_uploads_are_kept():
    policy = Path(__file__).parents[2].joinpath("SECURITY.md").read_text()
    assert f"deleted after {FILE_SECONDS // 3600} hours, or half an hour later at most" in policy
    assert CLEAN_UP_SECONDS == 1800
