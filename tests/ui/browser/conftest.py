"""A visitor: the app in a real Chromium, Debian's package. Where no browser is, these tests are skipped."""

import os
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from places import DESKTOP, PHONE, SCREENSHOTS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium")
QUIET = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync "
    "--use-fake-device-for-media-stream --use-fake-ui-for-media-stream"  # a camera of Chromium's own
)
SECONDS = 1000  # of Playwright's time-outs, which are in milliseconds


@pytest.fixture(scope="session")
def browser() -> Iterator["Browser"]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM:
        pytest.skip("no browser here: install Debian's `chromium`, or name one in CHROMIUM")
    with playwright.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=CHROMIUM, args=QUIET.split())
        yield chromium
        chromium.close()


@pytest.fixture
def visit(app, browser) -> Iterator[Callable[..., "Page"]]:
    """Function (size, dark) -> the page as a new visitor sees it; a script error there fails the test."""
    complaints, contexts = [], []

    def open_page(size: tuple[int, int] = DESKTOP, dark: bool = False) -> "Page":
        width, height = size
        context = browser.new_context(
            viewport={"width": width, "height": height},
            has_touch=size == PHONE,
            is_mobile=size == PHONE,
            color_scheme="dark" if dark else "light",
            accept_downloads=True,
            permissions=["camera", "clipboard-read", "clipboard-write"],
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120 * SECONDS)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(app.url, wait_until="domcontentloaded")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture(scope="session")
def screenshot() -> Callable[["Page", str], None]:
    """Function (page, name) -> `build/screenshots/NAME.png`, the whole page."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)

    def take(page: "Page", name: str) -> None:
        page.wait_for_timeout(400)  # transitions
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    return take


@pytest.fixture(scope="session")
def serious_violations() -> Callable[["Page"], list[str]]:
    """Function (page) -> what axe-core finds serious or critical, a line each."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def check(page: "Page") -> list[str]:
        found = axe.run(page).response["violations"]
        return [
            f"{violation['id']}: {node['html'][:160]} ({node['target']})"
            for violation in found
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]

    return check
