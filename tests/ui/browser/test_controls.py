"""The controls that no other walk touches, each once."""

import re
import shutil

import numpy as np
import pytest
from browser_steps import EXAMPLES, GOOD, drop, open_tab, see_verdict
from PIL import Image
from playwright.sync_api import Locator, Page, expect

pytestmark = pytest.mark.slow

SLOW = {"timeout": 60_000}  # milliseconds


def drag(page: Page, part: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """From one place on a part of the page to another, both as shares of its width and height."""
    part.scroll_into_view_if_needed()
    box = part.bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=8)
    page.mouse.up()


def open_where_to_look(page: Page) -> Locator:
    """The canvas to paint a region on."""
    page.get_by_role("button", name="Where to look").click()
    canvas = page.locator("#roi canvas").first
    expect(canvas).to_be_visible(**SLOW)
    page.wait_for_timeout(2000)  # the canvas draws its background without a sign
    return canvas


def test_a_painted_region_follows_to_the_next_picture_and_goes_with_the_model(visit, screenshot):
    page = visit()
    see_verdict(page)
    note = page.locator("#where-note .note")
    canvas = open_where_to_look(page)
    drag(page, canvas, (0.4, 0.4), (0.6, 0.6))
    expect(note).to_contain_text("will look at", **SLOW)
    said = note.inner_text()
    page.locator("#examples button").nth(4).click()
    expect(page.locator("#run-line")).to_contain_text("the rest is dark", **SLOW)
    page.wait_for_timeout(2000)
    assert note.inner_text() == said
    screenshot(page, "inspect-where-next")

    # A further stroke adds to it; the eraser takes all of it away again.
    drag(page, canvas, (0.4, 0.6), (0.6, 0.4))
    expect(note).not_to_have_text(said, **SLOW)
    page.locator("#roi").get_by_label("Erase").click()
    for y in np.arange(0.3, 0.71, 0.05):
        drag(page, canvas, (0.2, float(y)), (0.8, float(y)))
    expect(note).to_contain_text("nothing is painted", **SLOW)


def test_the_models_own_settings_look_everywhere(visit):
    page = visit()
    see_verdict(page)
    canvas = open_where_to_look(page)
    drag(page, canvas, (0.4, 0.4), (0.6, 0.6))
    expect(page.locator("#where-note")).to_contain_text("will look at", **SLOW)
    page.get_by_role("button", name="Advanced").click()
    page.get_by_role("button", name="Back to the model's own settings").click()
    expect(page.locator("#where-note")).to_contain_text("nothing is painted", **SLOW)
    expect(page.locator("#verdict")).to_contain_text("p = ", **SLOW)


@pytest.mark.parametrize("part", ["#found", "#repaired"])
def test_the_handle_of_a_slider_brings_the_picture_back(visit, part):
    page = visit()
    see_verdict(page)
    pictures = page.locator(part)
    before = pictures.screenshot()
    drag(page, pictures, (0.5, 0.5), (0.9, 0.5))
    page.wait_for_timeout(500)
    assert pictures.screenshot() != before


def test_a_tiff_in_the_frame_is_shown_and_inspected(visit, tmp_path):
    with Image.open(EXAMPLES / "stain.png") as picture:
        picture.resize((200, 180)).save(tmp_path / "stain.tiff")
    page = visit()
    see_verdict(page)
    page.get_by_label("Remove Image").click()
    page.locator("#picture input[type=file]").set_input_files(tmp_path / "stain.tiff")
    expect(page.locator("#run-line")).to_contain_text("200 × 180 px", **SLOW)
    see_verdict(page, "DEFECTIVE")
    page.wait_for_function("document.querySelector('#picture img')?.naturalWidth == 200")


def test_a_file_that_is_too_large_is_a_sentence(visit, tmp_path):
    huge = tmp_path / "huge.png"
    huge.write_bytes(bytes(21 * 2**20))
    page = visit()
    see_verdict(page)
    page.locator("input[type=file]").first.set_input_files(huge)
    expect(page.get_by_text("maximum allowed size of 20").first).to_be_visible(**SLOW)
    assert "Traceback" not in page.content()


def test_an_own_part_can_be_drawn_on(visit, tmp_path):
    with Image.open(GOOD[0]) as part:
        part.crop((0, 0, 200, 200)).save(tmp_path / "part.png")
    page = visit()
    see_verdict(page)
    open_tab(page, "Draw")
    expect(page.locator("#draw-verdict .word")).to_contain_text("GOOD", **SLOW)
    page.locator("#canvas input[type=file]").set_input_files(tmp_path / "part.png")
    expect(page.locator("#draw-run-line")).to_contain_text("200 × 200 px", **SLOW)


def test_a_batch_can_be_stopped_and_a_file_be_taken_out(visit, tmp_path):
    page = visit()
    see_verdict(page)
    open_tab(page, "Batch")
    files = [shutil.copy(GOOD[0], tmp_path / f"{i:02d}.png") for i in range(40)]
    drop(page, "batch", files)
    rows = page.locator("#batch-files").get_by_label("Remove this file")
    expect(rows).to_have_count(len(files))
    rows.first.click()
    expect(rows).to_have_count(len(files) - 1)
    page.locator("#batch-button").click()
    expect(page.locator("#batch-status")).to_contain_text(re.compile(r"[1-9]\d* of 39"), **SLOW)
    page.locator("#batch-stop").click()
    table = page.locator("#batch-table tbody tr")
    expect(table.first).to_be_visible(**SLOW)
    assert 1 <= table.count() < len(files) - 1
    table.first.locator("img").click()  # anywhere on the row
    expect(page.get_by_role("tab", name="Inspect")).to_have_attribute("aria-selected", "true", **SLOW)
    see_verdict(page)


def test_a_row_of_the_calibration_opens_in_inspect(visit):
    page = visit()
    see_verdict(page, "DEFECTIVE")
    open_tab(page, "Calibrate")
    drop(page, "calibrate", GOOD)
    page.locator("#calibrate-button").click()
    page.locator("#calibrate-table tbody tr").first.click(**SLOW)
    expect(page.get_by_role("tab", name="Inspect")).to_have_attribute("aria-selected", "true", **SLOW)
    see_verdict(page, "GOOD")


def test_a_model_of_ones_own_is_loaded_by_enter(visit, tiny_model_folder):
    page = visit()
    see_verdict(page)
    page.get_by_role("button", name="Use another model").click()
    name = page.locator("#own-model-name textarea, #own-model-name input")
    name.fill(str(tiny_model_folder))
    name.press("Enter")
    expect(page.locator("#model input")).to_have_value("tiny", **SLOW)
