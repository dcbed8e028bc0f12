"""Pictures from a camera and from the clipboard, and what those see who have to wait for others."""

import base64
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import pytest
from browser_steps import EXAMPLES, GOOD, drop, open_tab, see_verdict
from gradio_client import handle_file
from gradio_client.utils import Status
from PIL import Image
from playwright.sync_api import Page, expect

from diffusionad import DiffusionADPipeline
from diffusionad.loading.bundled import demo_model
from diffusionad.postprocessing.verdict import score_text

SLOW = {"timeout": 120_000}  # milliseconds

COPY = """async (data) => {
    const png = await (await fetch(data)).blob();
    await navigator.clipboard.write([new ClipboardItem({"image/png": png})]);
}"""

CAMERA_SHOWS = "() => [...document.querySelectorAll('video')].some((video) => video.videoWidth > 0)"


def copy(page: Page, picture: Image.Image) -> None:
    """Put a picture on the visitor's clipboard."""
    png = BytesIO()
    picture.save(png, "PNG")
    page.bring_to_front()
    page.evaluate(COPY, f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}")


def test_a_picture_from_the_clipboard_is_inspected(visit):
    page = visit()
    see_verdict(page)
    pasted = Image.open(EXAMPLES / "stain.png").convert("RGB").resize((300, 260))
    copy(page, pasted)
    page.get_by_label("Paste from clipboard").first.click()
    expect(page.locator("#run-line")).to_contain_text("300 × 260 px", **SLOW)
    score = DiffusionADPipeline.from_pretrained(demo_model("fabric"))(pasted).score[0]
    assert f"{score_text(score)} >" in see_verdict(page, "DEFECTIVE")


def test_a_picture_from_the_camera_is_inspected(visit, screenshot):
    page = visit()
    see_verdict(page)
    page.get_by_label("Capture from camera").first.click()
    page.get_by_text("Click to Access Webcam").click()
    page.wait_for_function(CAMERA_SHOWS)  # until then a photo is not taken, and nobody is told
    page.get_by_label("capture photo").click()
    expect(page.locator("#run-line")).to_contain_text(" px", **SLOW)
    expect(page.locator("#run-line")).not_to_contain_text("256 × 256", **SLOW)
    see_verdict(page)
    screenshot(page, "inspect-camera")


@contextmanager
def busy(app, endpoint: str, picture: object, jobs: int) -> Iterator[None]:
    """So many others have the app work on pictures of theirs that one of them has to wait."""
    waiting = [app.client.submit(picture, "fabric", None, api_name=endpoint) for _ in range(jobs)]
    while not any(job.status().code == Status.IN_QUEUE for job in waiting):
        time.sleep(0.05)
    yield
    for job in waiting:
        job.cancel()


@pytest.mark.parametrize("tab", ["inspect", "batch"])
def test_who_has_to_wait_sees_the_place_in_the_queue(visit, app, screenshot, tmp_path, tab):
    page = visit()
    see_verdict(page)
    files: list[Path] = [*GOOD, *sorted(EXAMPLES.glob("*.png"))]
    act: Callable[[], None]
    if tab == "batch":
        open_tab(page, "Batch")
        drop(page, "batch", GOOD)
        act, place = page.locator("#batch-button").click, page.locator("#batch-status")
    else:
        act, place = page.locator("#inspect-button").click, page.locator("#verdict")
    many = [handle_file(path) for path in files[:4]]
    others = ("/batch", many, 3) if tab == "batch" else ("/inspect", handle_file(files[-1]), 8)
    with busy(app, *others):
        act()
        expect(place.get_by_test_id("status-tracker")).to_contain_text("queue: ", **SLOW)
        screenshot(page, f"queue-{tab}")
    expect(place).to_contain_text("good" if tab == "batch" else "DEFECTIVE", **SLOW)
