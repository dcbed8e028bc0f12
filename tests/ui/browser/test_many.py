"""Visitors paint defects, inspect many pictures, calibrate, and read how it works."""

import csv
import json
import zipfile
from pathlib import Path

import pytest
from browser_steps import EXAMPLES, GOOD, SLOW, drop, open_tab, see_verdict, width_of_contents
from places import DESKTOP, PHONE
from playwright.sync_api import Page, expect

# Gradio's list of files has a button inside of a button, and calls it so.
GRADIOS_OWN = 'aria-label="common.upload"'


def paint(page: Page) -> None:
    """A scratch over the middle of the canvas."""
    box = page.locator("#canvas canvas").first.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y - 20)
    page.mouse.down()
    page.mouse.move(x + 40, y + 30, steps=8)
    page.mouse.up()


@pytest.fixture
def lot(tmp_path: Path) -> list[Path]:
    """A ZIP of two pictures, one more picture, and a file that is none."""
    with zipfile.ZipFile(tmp_path / "lot.zip", "w") as archive:
        archive.write(GOOD[0], "monday/good_1.png")
        archive.write(EXAMPLES / "stain.png", "monday/stain.png")
    (tmp_path / "broken.png").write_text("no picture")
    return [tmp_path / "lot.zip", EXAMPLES / "hole.png", tmp_path / "broken.png"]


def test_a_painted_scratch_turns_a_good_part_into_an_anomalous_one(visit, screenshot):
    page = visit()
    see_verdict(page)
    open_tab(page, "Draw")
    verdict = page.locator("#draw-verdict .word")
    expect(verdict).to_contain_text("GOOD", **SLOW)
    page.wait_for_timeout(500)  # the canvas finds its size
    paint(page)
    expect(verdict).to_contain_text("DEFECTIVE", **SLOW)
    screenshot(page, "draw")
    page.locator("#good-parts button").last.click()
    expect(verdict).to_contain_text("GOOD", **SLOW)


def test_a_batch_becomes_a_table_to_sort_to_open_and_to_take_home(visit, lot, screenshot, tmp_path):
    page = visit()
    see_verdict(page)
    open_tab(page, "Batch")
    drop(page, "batch", lot)
    page.locator("#batch-button").click()
    rows = page.locator("#batch-table tbody tr")
    expect(rows).to_have_count(4, **SLOW)
    expect(page.locator("#batch-status")).to_contain_text("2 defective")
    expect(rows.last).to_contain_text("`broken.png` is no picture")
    expect(page.locator("#batch-histogram svg")).to_have_attribute(
        "aria-label", "Histogram of 3 scores: 2 above the threshold 0.926."
    )
    screenshot(page, "batch")

    page.locator("#batch-table").get_by_role("button", name="Score").click()  # from the lowest
    expect(rows.first).to_contain_text("good_1.png")
    expect(rows.last).to_contain_text("broken.png")
    page.locator("#batch-table").get_by_role("button", name="File").click()
    assert [row.split()[0] for row in rows.all_inner_texts()][:2] == ["broken.png", "hole.png"]

    with page.expect_download() as download:
        page.locator("#batch-csv").click()
    download.value.save_as(tmp_path / "results.csv")
    with (tmp_path / "results.csv").open() as file:
        words = {row["file"]: row["verdict"] for row in csv.DictReader(file)}
    assert words == {
        "lot/monday/good_1.png": "good",
        "lot/monday/stain.png": "defective",
        "hole.png": "defective",
        "broken.png": "error",
    }
    with page.expect_download() as download:
        page.locator("#batch-zip").click()
    download.value.save_as(tmp_path / "overlays.zip")
    assert "overlays/lot/monday/stain.png" in zipfile.ZipFile(tmp_path / "overlays.zip").namelist()

    page.locator("#batch-table").get_by_role("button", name="stain.png").press("Enter")
    expect(page.get_by_role("tab", name="Inspect")).to_have_attribute("aria-selected", "true")
    assert "0.9999 >" in see_verdict(page, "DEFECTIVE")


@pytest.mark.slow
def test_a_visitor_calibrates_for_this_visit_and_no_other(visit, screenshot, tmp_path):
    page, other = visit(), visit()
    see_verdict(page)
    open_tab(page, "Calibrate")
    drop(page, "calibrate", GOOD)
    page.locator("#calibrate-button").click()
    status = page.locator("#calibrate-status")
    expect(status).to_contain_text("For 1 % it takes 99: 97 more.", **SLOW)
    expect(page.locator("#calibrate-use")).to_be_hidden()
    page.locator("#calibrate-rate input").fill("40")
    expect(status).to_contain_text("New threshold", **SLOW)
    expect(status).to_contain_text("6 of 6")
    screenshot(page, "calibrate")
    with page.expect_download() as download:
        page.locator("#calibrate-config").click()
    download.value.save_as(tmp_path / "model_index.json")
    config = json.loads((tmp_path / "model_index.json").read_text())
    assert config["calibration"]["n"] == 2 and config["threshold"] == config["calibration"]["threshold"]

    page.locator("#calibrate-use").click()
    expect(page.locator("#calibrate-in-use")).to_contain_text("in use on all tabs")
    open_tab(page, "Inspect")
    expect(page.locator("#verdict")).to_contain_text("n = 2", **SLOW)
    assert "n = 999" in see_verdict(other)
    open_tab(page, "Calibrate")
    page.locator("#calibrate-back").click()
    expect(page.locator("#calibrate-in-use")).to_be_hidden()
    open_tab(page, "Inspect")
    expect(page.locator("#verdict")).to_contain_text("n = 999", **SLOW)


@pytest.mark.slow
def test_about_shows_four_pictures_and_the_address_of_this_app(visit, app, screenshot, serious_violations):
    page = visit()
    see_verdict(page)
    open_tab(page, "About")
    expect(page.locator("#about-steps img")).to_have_count(4, **SLOW)
    expect(page.locator("#about-snippet")).to_contain_text(f'Client("{app.url}")')
    screenshot(page, "about")
    assert serious_violations(page) == []


@pytest.mark.slow
@pytest.mark.parametrize(("size", "light"), [("phone", "dark"), ("desk", "dark"), ("desk", "bright")])
def test_every_tab_fits_and_can_be_read(visit, lot, screenshot, serious_violations, size, light):
    page = visit(PHONE if size == "phone" else DESKTOP, dark=light == "dark")
    see_verdict(page)
    open_tab(page, "Draw")
    expect(page.locator("#draw-verdict")).to_contain_text("GOOD", **SLOW)
    page.wait_for_timeout(500)
    paint(page)
    expect(page.locator("#draw-verdict")).to_contain_text("DEFECTIVE", **SLOW)
    look(page, f"draw-{size}-{light}", screenshot, serious_violations)
    for tab, files in (("batch", lot), ("calibrate", GOOD)):
        open_tab(page, tab.capitalize())
        drop(page, tab, files)
        page.locator(f"#{tab}-button").click()
        expect(page.locator(f"#{tab}-table tbody tr").first).to_be_visible(**SLOW)
        if tab == "calibrate":
            page.locator("#calibrate-rate input").fill("40")
            expect(page.locator("#calibrate-use")).to_be_visible(**SLOW)
        look(page, f"{tab}-{size}-{light}", screenshot, serious_violations)
    open_tab(page, "About")
    expect(page.locator("#about-steps img")).to_have_count(4, **SLOW)
    look(page, f"about-{size}-{light}", screenshot, serious_violations)


def look(page: Page, name: str, screenshot, serious_violations) -> None:
    screenshot(page, name)
    assert width_of_contents(page) <= page.viewport_size["width"], name
    assert [found for found in serious_violations(page) if GRADIOS_OWN not in found] == [], name
