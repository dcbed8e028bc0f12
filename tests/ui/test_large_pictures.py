"""Pictures that take much memory: a limit of the app's own, and one large picture at a time."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import gradio as gr
import pytest
from gradio_client import handle_file
from gradio_client.exceptions import AppError
from PIL import Image, ImageDraw

from diffusionad.cli.main import main
from diffusionad.images.image_io import ImageError
from diffusionad.ui.serving import large_pictures
from diffusionad.ui.serving.batch_inspection import inspect_batch
from diffusionad.ui.serving.files import convert_for_browser, inspect_upload, read_upload, serve_file
from diffusionad.ui.serving.large_pictures import DEFAULT_LIMIT, LIMIT_VARIABLE, max_megapixels, turn_for
from diffusionad.ui.serving.model_registry import ModelRegistry
from diffusionad.ui.serving.uploads import UploadedPicture


def bilevel(path: Path, width: int, height: int) -> Path:
    """A picture of 1 bit a pixel, which is a small file whatever its size."""
    image = Image.new("1", (width, height), 1)
    ImageDraw.Draw(image).line((0, 0, width, height), 0, 40)
    image.save(path, optimize=True)
    return path


def test_a_small_file_of_a_huge_picture_is_refused_by_the_running_app(app, tmp_path):
    path = bilevel(tmp_path / "huge.png", 9400, 9400)
    assert path.stat().st_size < 100_000
    started = time.perf_counter()
    with pytest.raises(AppError) as failure:
        app.client.predict(handle_file(path), "tiny", None, api_name="/inspect")
    assert str(failure.value).startswith(
        "`huge.png` is 88.4 megapixels; the limit of this app is 20: crop or"
    )
    rows, *_ = app.client.predict([handle_file(path)], "tiny", None, api_name="/batch")
    assert "88.4 megapixels" in rows[0]["error"]
    assert time.perf_counter() - started < 30


def test_every_way_into_the_app_knows_the_limit(tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.setenv(LIMIT_VARIABLE, "0.5")
    path = bilevel(tmp_path / "large.tif", 1000, 600)
    upload = {"path": serve_file(path), "orig_name": path.name}
    model = ModelRegistry([str(tiny_model_folder)]).get(tiny_model_folder.name)
    for read in (lambda: inspect_upload(model, upload), lambda: read_upload(upload, None)):
        with pytest.raises(gr.Error, match=r"`large\.tif` is 0\.6 megapixels; the limit of this app is 0\.5"):
            read()
    assert not isinstance(convert_for_browser(upload), str)  # left to the inspection, which says why
    (row,) = inspect_batch(model, [UploadedPicture("large.tif", path, Path(path.name))], tmp_path)
    assert row.result.error is not None and "0.6 megapixels" in row.result.error
    monkeypatch.setenv(LIMIT_VARIABLE, "0.6")
    assert inspect_upload(model, upload).anomaly_map.shape == (600, 1000)


@pytest.mark.parametrize("value", ["0", "-1", "many", "90", "nan"])
def test_a_limit_that_is_none_stops_the_start_with_a_sentence(value, monkeypatch, capsys):
    monkeypatch.setenv(LIMIT_VARIABLE, value)
    assert main(["serve"]) == 2
    assert f"DIFFUSIONAD_MAX_MEGAPIXELS is '{value}'; give megapixels, at most 89." in capsys.readouterr().err


def test_the_limit_is_what_the_security_policy_says(monkeypatch):
    monkeypatch.delenv(LIMIT_VARIABLE, raising=False)
    policy = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    assert f"above {DEFAULT_LIMIT} megapixels (`{LIMIT_VARIABLE}`)" in policy
    assert max_megapixels() == DEFAULT_LIMIT


def test_large_pictures_take_turns_and_small_ones_do_not_wait(tmp_path, monkeypatch):
    monkeypatch.setattr(large_pictures, "LARGE", 0.1)
    large, small = bilevel(tmp_path / "l.png", 500, 500), bilevel(tmp_path / "s.png", 100, 100)
    at_work, most = [0], [0]
    small_is_done = threading.Event()

    def work() -> None:
        with turn_for(large), turn_for(large):  # reading inside of an inspection
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
            assert small_is_done.wait(30)
            time.sleep(0.02)
            at_work[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    with turn_for(small):
        small_is_done.set()
    for thread in threads:
        thread.join(30)
    assert (at_work[0], most[0]) == (0, 1)


def test_a_picture_that_cannot_be_opened_is_left_to_its_reader(tmp_path):
    (tmp_path / "notes.png").write_text("no picture")
    for name in ("notes.png", "absent.png"):
        with turn_for(tmp_path / name):
            pass
    with (
        pytest.raises(ImageError, match=r"20\.0 megapixels"),
        turn_for(bilevel(tmp_path / "x.png", 5000, 4001)),
    ):
        pass


MEASURE = """
import resource, sys
from diffusionad.ui.serving.inspection_state import inspect_picture
from diffusionad.ui.serving.model_registry import ModelRegistry
model = ModelRegistry([sys.argv[1]]).get(sys.argv[2])
for path in sys.argv[3:]:
    inspect_picture(model, path).draw()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss has other units elsewhere")
def test_a_picture_at_the_limit_takes_well_under_a_gigabyte(tiny_model_folder, tmp_path):
    paths = bilevel(tmp_path / "small.png", 300, 200), bilevel(tmp_path / "large.png", 5000, 4000)
    arguments = [str(tiny_model_folder), tiny_model_folder.name, *map(str, paths)]
    ran = subprocess.run(
        [sys.executable, "-c", MEASURE, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    base, peak = map(int, ran.stdout.split())
    assert peak - base < 800  # megabytes
