"""The app against web sites that send requests through the browser of somebody who may use it."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from diffusionad.ui.serving.allowed_hosts import AllowedHosts, allowed_hosts

EVIL = "evil.example"


@pytest.fixture
def picture(tmp_path: Path, make_pictures: Callable[..., list[np.ndarray]]) -> Path:
    Image.fromarray(make_pictures(1)[0]).save(tmp_path / "part.png")
    return tmp_path / "part.png"


def netloc(app) -> str:
    return urlsplit(app.url).netloc


def answer(app, method: str, path: str, **headers: str) -> httpx.Response:
    return httpx.request(method, f"{app.url}{path}", headers=headers)


def upload(app, **headers: str) -> httpx.Response:
    return httpx.post(f"{app.url}gradio_api/upload", files={"files": ("part.png", b"0")}, headers=headers)


@pytest.mark.parametrize("path", ["", "config", "gradio_api/upload", "gradio_api/call/models"])
def test_a_foreign_name_that_leads_to_this_machine_is_refused(app, path):
    port = netloc(app).rpartition(":")[2]
    for host in (EVIL, f"{EVIL}:{port}", f"127.0.0.1.{EVIL}", f"localhost.{EVIL}", "a@[", "127.1", ""):
        for method in ("GET", "POST"):
            refused = answer(app, method, path, Host=host, Origin=f"http://{host}")
            assert refused.status_code == 403, (method, host)
            assert "DIFFUSIONAD_ALLOWED_HOSTS" in refused.text and "\n" not in refused.text


def test_the_names_of_this_machine_are_answered_to_programs_and_to_the_apps_own_page(app):
    port = netloc(app).rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"LOCALHOST:{port}", f"[::1]:{port}", "localhost"):
        assert answer(app, "GET", "config", Host=host).status_code == 200, host
        assert answer(app, "GET", "config", Host=host, Origin=f"http://{host}").status_code == 200, host


def test_a_page_of_a_foreign_site_can_neither_upload_nor_read_nor_call(app):
    other_port = f"http://{netloc(app)}0"
    for origin in (f"http://{EVIL}", f"http://{EVIL}:7860", "null", "http://[evil", other_port):
        call = answer(app, "POST", "gradio_api/call/models", Origin=origin)
        for refused in (upload(app, Origin=origin), answer(app, "GET", "config", Origin=origin), call):
            assert refused.status_code == 403, origin
            assert origin == other_port or "access-control-allow-origin" not in refused.headers
    asked = {"Origin": f"http://{EVIL}", "Access-Control-Request-Method": "POST"}
    preflight = httpx.options(f"{app.url}gradio_api/upload", headers=asked)
    assert "access-control-allow-origin" not in preflight.headers


def test_what_a_foreign_page_uploads_is_not_stored(app):
    folder = Path(upload(app).json()[0]).parents[1]
    before = sorted(folder.iterdir())
    content = {"files": ("part.png", os.urandom(8))}
    httpx.post(f"{app.url}gradio_api/upload", files=content, headers={"Origin": f"http://{EVIL}"})
    assert sorted(folder.iterdir()) == before


@pytest.mark.slow
def test_names_that_the_operator_lists_are_answered_as_behind_a_proxy(
    start_app: Callable[..., AbstractContextManager],
):
    with start_app(DIFFUSIONAD_ALLOWED_HOSTS=" Inspect.Factory ,") as app:
        public = {"Host": "inspect.factory", "Origin": "https://inspect.factory"}
        assert answer(app, "GET", "config", **public).status_code == 200
        assert upload(app, **public).status_code == 200
        # A proxy that passes on its own address as `Host` leaves the `Origin` as it is.
        assert upload(app, Origin="https://inspect.factory").status_code == 200
        assert answer(app, "GET", "config", Host=netloc(app)).status_code == 200
        assert answer(app, "GET", "config", Host=EVIL).status_code == 403
        assert upload(app, **{**public, "Origin": f"https://{EVIL}"}).status_code == 403


def test_a_space_is_open_to_everybody(monkeypatch):
    monkeypatch.setenv("DIFFUSIONAD_ALLOWED_HOSTS", "a.example, B.example")
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert allowed_hosts() == {"a.example", "b.example"}
    monkeypatch.setenv("SPACE_ID", "org/space")
    assert allowed_hosts() == {"*"}


def test_a_name_that_the_app_listens_on_is_its_own(monkeypatch):
    monkeypatch.delenv("GRADIO_SERVER_NAME", raising=False)
    for server_name, host, expected in (
        (None, "inspect-pc", 403),
        ("Inspect-PC", "inspect-pc:7860", 200),
        ("0.0.0.0", "192.168.1.5:7860", 200),  # no foreign site can redirect an address
        ("0.0.0.0", "inspect-pc:7860", 403),
    ):
        guarded = AllowedHosts(PlainTextResponse("served"), set(), server_name)
        answered = TestClient(guarded).get("/", headers={"Host": host})
        assert answered.status_code == expected, (server_name, host)


def test_no_answer_tells_whether_a_folder_of_the_server_exists(app, picture, tmp_path, tiny_model_folder):
    (tmp_path / "model").symlink_to(tiny_model_folder)
    (tmp_path / "empty").mkdir()
    sentences = set()
    for name in ("model", "empty", "missing", "missing/../model", "model/unet", "empty/model_index.json"):
        typed = f"{tmp_path}/{name}"
        with pytest.raises(AppError) as failure:
            app.client.predict(handle_file(picture), typed, None, api_name="/inspect")
        sentences.add(str(failure.value).replace(typed, "NAME"))
    [sentence] = sentences
    assert sentence.startswith("`NAME` is neither on the list of models, nor the id of one on the Hub")


def test_the_folder_of_a_model_on_the_list_is_one_of_its_names(app, picture, tiny_model_folder):
    typed = f"{tiny_model_folder}/"
    answered, *_ = app.client.predict(handle_file(picture), typed, None, api_name="/inspect")
    assert answered["model"] == "tiny"
