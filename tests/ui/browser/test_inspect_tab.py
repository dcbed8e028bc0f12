"""Visitors inspect pictures: on a desk, on a phone, two at once, with wrong files."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from browser_steps import choose, see_verdict, set_slider, sources, width_of_contents
from PIL import Image
from places import PHONE
from playwright.sync_api import Page, expect

from diffusionad import DiffusionADPipeline
from diffusionad.loading.bundled import demo_model
from diffusionad.postprocessing.verdict import score_text

EXAMPLES = Path(demo_model("fabric"), "examples")


@pytest.fixture
def own_picture(tmp_path: Path) -> Path:
    """A photograph of a part as a visitor would bring it: larger than the model's square, and a JPEG."""
    path = tmp_path / "my part.jpg"
    Image.open(EXAMPLES / "hole.png").resize((700, 600)).save(path, quality=95)
    return path


def bring(page: Page, path: Path) -> None:
    """Click the button, choose the file."""
    with page.expect_file_chooser() as chooser:
        page.locator("#upload").click()
    chooser.value.set_files(path)


def test_a_first_visit_needs_one_choice_and_no_reading(visit, own_picture, screenshot, serious_violations):
    page = visit()
    see_verdict(page, "DEFECTIVE")  # an example, before any click
    for answer in ("#verdict", "#found", "#repaired"):  # what, where, what it should have looked like
        expect(page.locator(answer)).to_be_in_viewport(ratio=0.99)
    screenshot(page, "inspect")
    assert serious_violations(page) == []
    pictures = page.locator("#picture, #found, #repaired, #examples").locator("img")
    assert all(picture.get_attribute("alt") for picture in pictures.all())

    started = time.perf_counter()
    bring(page, own_picture)  # one click
    expect(page.locator("#run-line")).to_contain_text("700 × 600 px", timeout=120_000)
    print(f"own picture to verdict: {time.perf_counter() - started:.1f} s")
    said = see_verdict(page, "DEFECTIVE")
    expected = DiffusionADPipeline.from_pretrained(demo_model("fabric"))(own_picture)
    assert f"{score_text(expected.score[0])} >" in said and f"p = {expected.p_value[0]:.3f}" in said


@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_nothing_overflows_and_the_verdict_comes_into_view(
    visit, screenshot, serious_violations, dark
):
    page = visit(PHONE, dark=dark)
    see_verdict(page)
    expect(page.locator("#verdict .word")).to_be_in_viewport(ratio=1)  # without a finger on the page
    table = page.locator("#regions .scroll").evaluate("box => box.scrollWidth - box.clientWidth")
    assert table == 0
    page.locator("#examples button").last.tap()
    see_verdict(page, "GOOD")
    expect(page.locator("#verdict")).to_be_in_viewport()
    assert width_of_contents(page) <= PHONE[0]
    screenshot(page, f"inspect-phone-{'dark' if dark else 'light'}")
    assert serious_violations(page) == []


@pytest.mark.slow
def test_every_control_of_the_inspect_tab_does_what_it_says(visit, screenshot, serious_violations, tmp_path):
    page = visit()
    see_verdict(page, "DEFECTIVE")
    changes(page, "#found", page.locator("#examples button").nth(2).click)  # a hole
    expect(page.locator("#regions tbody tr")).to_have_count(1, timeout=120_000)

    # The threshold: verdict, regions and pictures follow without the model.
    before, ran = sources(page, "#found"), page.locator("#run-line").inner_text()
    set_slider(page.locator("#threshold"), 1)
    said = see_verdict(page, "GOOD")
    assert "Threshold moved by hand" in said and "The model's own is 0.926" in said
    expect(page.locator("#regions")).to_contain_text("No region stands out")
    assert sources(page, "#found") != before and page.locator("#run-line").inner_text() == ran
    set_slider(page.locator("#threshold"), 0.926)
    assert "moved by hand" not in see_verdict(page, "DEFECTIVE")
    assert redraw_seconds(page) < 1  # 0.1 is usual, but machines that test are busy

    # How it is shown.
    for control in ("Contours", "Heat map", "Mask", "Overlay"):
        changes(page, "#found", lambda control=control: page.get_by_label(control, exact=True).check())
    changes(page, "#found", lambda: set_slider(page.locator("#opacity"), 0.9))
    changes(page, "#found", lambda: choose(page, "#colormap", "viridis"))

    # A region, with the mouse and with the keyboard.
    page.locator("#regions tbody tr").first.click()
    expect(page.locator("#enlarged img")).to_have_count(2, timeout=120_000)
    expect(page.locator("#enlarged-line")).to_contain_text("Region 1:")
    screenshot(page, "inspect-region")
    set_slider(page.locator("#threshold"), 0.9)
    expect(page.locator("#enlarged")).to_be_hidden()
    page.locator("#regions tbody button").first.press("Enter")
    expect(page.locator("#enlarged img").first).to_be_visible()

    # Downloads.
    files = {}
    for button in ("Overlay (PNG)", "Mask (PNG)", "Map (16-bit PNG)", "Figures (JSON)"):
        with page.expect_download() as download:
            page.get_by_role("button", name=button).click()
        files[button] = tmp_path / download.value.suggested_filename
        download.value.save_as(files[button])
    assert [path.name for path in files.values()] == [
        "hole_overlay.png",
        "hole_mask.png",
        "hole_map.png",
        "hole_figures.json",
    ]
    overlay, mask, heat = (np.asarray(Image.open(path)) for path in list(files.values())[:3])
    figures = json.loads(files["Figures (JSON)"].read_text())
    assert overlay.shape == (256, 256, 3)
    assert mask.dtype == np.uint8 and set(np.unique(mask)) == {0, 255}
    assert heat.dtype == np.uint16 and np.array_equal(mask > 0, heat / 65535 > 0.9)
    assert figures["regions"][0]["area"] == int((mask > 0).sum()) and figures["threshold"] == 0.9

    # What the model did.
    page.locator("#explain").click()
    expect(page.locator("#steps img")).to_have_count(6, timeout=120_000)
    screenshot(page, "inspect-explained")
    assert serious_violations(page) == []


@pytest.mark.slow
def test_advanced_settings_run_the_model_and_come_back(visit, screenshot, serious_violations):
    page = visit()
    own = see_verdict(page, "DEFECTIVE")
    page.get_by_role("button", name="Advanced").click()
    set_slider(labelled(page, "Steps"), 4)
    expect(page.locator("#expected-time")).to_contain_text("About")
    for label, value in (
        ("Little noise", 100),
        ("A lot of noise", 500),
        ("Guidance weight", 2),
        ("Noise draws", 2),
    ):
        set_slider(labelled(page, label), value)
    page.get_by_label("Seed").fill("7")
    page.locator("#inspect-button").click()
    expect(page.locator("#verdict")).to_contain_text("no p-value", timeout=120_000)
    page.get_by_role("button", name="Back to the model's own settings").click()
    expect(page.locator("#verdict")).to_contain_text("p = ", timeout=120_000)
    assert see_verdict(page) == own

    # Where it looks: not at the border, not at small regions, only where somebody has painted.
    set_slider(labelled(page, "Ignored border"), 40)
    page.locator("#inspect-button").click()
    expect(page.locator("#run-line")).to_contain_text("looked at 47.3", timeout=120_000)
    page.get_by_label("Smallest region").fill("100000")
    page.get_by_label("Smallest region").press("Tab")
    expect(page.locator("#verdict")).to_contain_text("GOOD", timeout=120_000)
    page.get_by_role("button", name="Back to the model's own settings").click()
    expect(page.locator("#verdict")).to_contain_text("p = ", timeout=120_000)
    page.get_by_role("button", name="Where to look").click()
    canvas = page.locator("#roi canvas").first
    canvas.scroll_into_view_if_needed()
    page.wait_for_timeout(2000)  # the canvas draws its background without a sign
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + 0.3 * box["width"], box["y"] + 0.7 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 0.7 * box["height"], steps=8)
    page.mouse.up()
    expect(page.locator("#where-note")).to_contain_text("will look at", timeout=120_000)
    page.locator("#inspect-button").click()
    expect(page.locator("#run-line")).to_contain_text("the rest is dark", timeout=120_000)
    screenshot(page, "inspect-where")
    assert serious_violations(page) == []
    page.get_by_role("button", name="Look everywhere again").click()
    expect(page.locator("#where-note")).to_contain_text("nothing is painted")


@pytest.mark.slow
def test_what_goes_wrong_is_a_sentence_in_the_page(visit, screenshot, tmp_path):
    page = visit()
    see_verdict(page)
    broken = tmp_path / "notes.png"
    broken.write_text("no picture")
    page.get_by_label("Remove Image").click()
    expect(page.locator("#verdict")).to_contain_text("Click an example")
    page.locator("#inspect-button").click()
    expect(page.get_by_text("Choose a picture first")).to_be_visible()
    bring(page, broken)
    expect(page.get_by_text("`notes.png` is no picture that Pillow can read")).to_be_visible()
    expect(page.locator("#verdict")).to_contain_text("was not inspected", timeout=120_000)
    screenshot(page, "inspect-broken-file")

    page.get_by_role("button", name="Use another model").click()
    for name, sentence in (
        ("nonsense", "neither on the list of models, nor the id"),
        ("org/name", "The Hub cannot be reached"),
    ):
        page.locator("#own-model-name textarea, #own-model-name input").fill(name)
        page.locator("#load-model").click()
        expect(page.get_by_text(sentence)).to_be_visible()
    expect(page.locator("#model-card")).to_contain_text("fabric")  # still the one in use
    assert "Traceback" not in page.content()


@pytest.mark.slow
def test_the_old_answer_keeps_its_place_and_an_example_has_an_address(visit):
    page = visit()
    see_verdict(page)
    results = page.locator("#results")
    top = results.bounding_box()["y"]
    page.locator("#examples button").nth(2).click()  # a hole
    expect(page.locator("#verdict .busy")).to_be_visible()
    expect(results).to_have_css("opacity", "0.35")
    assert results.bounding_box()["y"] == top
    see_verdict(page, "DEFECTIVE")
    expect(results).to_have_css("opacity", "1")
    page.wait_for_url("**/?model=fabric&example=hole")
    choose(page, "#model", "washer")
    page.wait_for_url("**/?model=washer&example=chip", timeout=120_000)
    expect(page.locator("#examples .selected")).to_contain_text("chip")  # the one that is shown


@pytest.mark.slow
def test_two_visitors_at_once_do_not_meet(visit, own_picture, tiny_model_folder):
    first, second = visit(), visit()
    see_verdict(first)
    see_verdict(second)
    choose(first, "#model", "tiny")
    expect(first.locator("#model-card")).to_contain_text("noise", timeout=120_000)
    expect(first.locator("#examples")).to_be_hidden(timeout=120_000)  # it has none
    bring(first, own_picture)
    set_slider(second.locator("#threshold"), 1)
    see_verdict(second, "GOOD")
    expect(first.locator("#run-line")).to_contain_text("model tiny", timeout=120_000)
    first.locator("#inspect-button").click()
    second.locator("#inspect-button").click()
    expect(second.locator("#run-line")).to_contain_text("model fabric", timeout=120_000)
    see_verdict(second, "GOOD")
    assert "700 × 600 px" in first.locator("#run-line").inner_text()
    assert "256 × 256 px" in second.locator("#run-line").inner_text()
    expect(first.locator("#threshold input[type=number]")).not_to_have_value("1")

    # A model of the visitor's own is on the visitor's list, and on nobody else's.
    first.get_by_role("button", name="Use another model").click()
    first.locator("#own-model-name textarea, #own-model-name input").fill(str(tiny_model_folder))
    first.locator("#load-model").click()
    expect(first.locator("#model input")).to_have_value("tiny")
    second.reload()
    see_verdict(second, "DEFECTIVE")
    assert second.locator("#threshold input[type=number]").input_value() == "0.926"


def labelled(page: Page, label: str):
    """The slider with this label."""
    return page.locator(".block", has=page.get_by_text(label, exact=True)).last


def changes(page: Page, selector: str, act) -> None:
    """Do something and see other pictures there."""
    before = sources(page, selector)
    act()
    page.wait_for_function(
        "([s, old]) => Array.from(document.querySelectorAll(`${s} img`)).map((p) => p.src).join() != old",
        arg=[selector, ",".join(before)],
    )


# A promise of milliseconds by the browser's own clock: the driver's keyboard takes as long as a redraw.
TIME_A_REDRAW = """() => { window.redraw = new Promise((done) => {
    const found = document.querySelector("#found");
    let started;
    document.querySelector("#threshold input[type=range]")
        .addEventListener("input", () => { started = performance.now(); }, {once: true, capture: true});
    new MutationObserver(async (changes, observer) => {
        const picture = changes.map((change) => change.target).find((node) => node.tagName == "IMG");
        if (!picture) return;
        observer.disconnect();
        await picture.decode();
        done(performance.now() - started);
    }).observe(found, {subtree: true, attributeFilter: ["src"]});
}); }"""


def redraw_seconds(page: Page) -> float:
    """From a move of the threshold's slider to the other picture on the screen, the fastest of five."""
    times = []
    for _ in range(5):
        page.evaluate(TIME_A_REDRAW)
        page.locator("#threshold input[type=range]").press("ArrowLeft")
        times.append(page.evaluate("() => window.redraw") / 1000)
    print(f"redraw: {1000 * min(times):.0f} ms")
    return min(times)
