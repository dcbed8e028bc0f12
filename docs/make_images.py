"""Make the README's pictures of the app, docs/images/app.png and demo.gif, from the app itself.

    python -m docs.make_images

This needs playwright and a Chromium: Debian's `chromium`, or the executable in CHROMIUM.
"""

import os
import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

from diffusionad.ui import LAUNCH_OPTIONS, build_app

IMAGES = Path(__file__).parent / "images"
WIDTH, HEIGHT, APP_HEIGHT = 1080, 620, 946
GIF_WIDTH = 720  # pixels
COLORS = 96  # of the palette: enough for the text, few enough for a small file
SLOW = 120_000  # milliseconds

# Strokes like a scratch and a hook: offsets from the middle of the canvas, in fractions of its side.
STROKES = [[(-0.12, -0.10), (-0.04, -0.05), (0.02, 0.03), (0.05, 0.12)], [(0.16, -0.12), (0.10, -0.06)]]

Frame = tuple[Image.Image, int]  # picture and duration in milliseconds


def main() -> None:
    """Start the app, walk through it, write the pictures."""
    app = build_app([]).queue()
    _, address, _ = app.launch(prevent_thread_lock=True, quiet=True, **LAUNCH_OPTIONS)
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM") or shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDTH, "height": APP_HEIGHT})
        page.goto(address, wait_until="domcontentloaded")
        # Its seconds are those of this machine, which may be busy.
        page.add_style_tag(content="#draw-run-line { visibility: hidden; }")
        expect(page.locator("#verdict .word")).to_contain_text("DEFECTIVE", timeout=SLOW)
        photograph(page, IMAGES / "app.png")
        page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
        write_gif(list(paint(page)), IMAGES / "demo.gif")
        browser.close()
    app.close()


def photograph(page: Page, path: Path) -> None:
    """Photograph the first screen, with the defect that is seen best."""
    page.locator("#examples button", has_text="stain").click()
    page.wait_for_timeout(1000)  # until the previous verdict has gone
    expect(page.locator("#verdict .word")).to_contain_text("DEFECTIVE", timeout=SLOW)
    expect(page.locator("#repaired img").first).to_be_visible(timeout=SLOW)
    page.wait_for_timeout(1500)
    page.mouse.move(0, 0)
    page.evaluate("window.scrollTo(0, 0)")
    page.screenshot(path=path, clip={"x": 0, "y": 0, "width": WIDTH, "height": APP_HEIGHT})


def paint(page: Page) -> Iterator[Frame]:
    """Yield a good part; a defect, stroke by stroke; the verdict; another good part."""
    page.get_by_role("tab", name="Draw", exact=True).click()
    verdict = page.locator("#draw-verdict .word")
    expect(verdict).to_contain_text("GOOD", timeout=SLOW)
    page.wait_for_timeout(2000)
    yield frame(page), 1600
    box = page.locator("#canvas canvas").first.bounding_box()
    assert box is not None, "the canvas is visible"
    side = min(box["width"], box["height"])
    found = page.locator("#draw-found img")
    middle_x, middle_y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    for stroke in STROKES:
        points = [(middle_x + x * side, middle_y + y * side) for x, y in stroke]
        before = found.get_attribute("src") or ""
        page.mouse.move(*points[0])
        page.mouse.down()
        for point in points[1:]:
            page.mouse.move(*point, steps=6)
            yield frame(page), 180
        page.mouse.up()
        expect(found).not_to_have_attribute("src", before, timeout=SLOW)
        page.wait_for_timeout(1000)
        yield frame(page), 1800
    page.locator("#good-parts button").last.click()
    expect(verdict).to_contain_text("GOOD", timeout=SLOW)
    page.wait_for_timeout(2000)
    yield frame(page), 1600


def frame(page: Page) -> Image.Image:
    """Photograph the window, at the size of the GIF."""
    page.evaluate("document.getElementById('draw').scrollIntoView()")
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    size = GIF_WIDTH, round(picture.height * GIF_WIDTH / picture.width)
    return picture.resize(size, Image.Resampling.LANCZOS)


def write_gif(frames: list[Frame], path: Path) -> None:
    """Write a GIF with one palette and no dithering: pixels that stay equal cost nothing."""
    pictures, durations = zip(*frames, strict=True)
    sheet = Image.new("RGB", (GIF_WIDTH, sum(picture.height for picture in pictures)))
    top = 0
    for picture in pictures:
        sheet.paste(picture, (0, top))
        top += picture.height
    palette = sheet.quantize(COLORS)
    first, *others = (picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures)
    first.save(path, save_all=True, append_images=others, duration=list(durations), loop=0, optimize=False)


if __name__ == "__main__":
    main()
