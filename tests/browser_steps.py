"""Steps that several browser tests share."""

from pathlib import Path

from places import PHONE
from playwright.sync_api import Locator, Page, expect

from diffusionad.loading.bundled import demo_model

SECONDS = 1000
EXAMPLES = Path(demo_model("fabric"), "examples")
GOOD = [EXAMPLES / "good_1.png", EXAMPLES / "good_2.png"]
SLOW = {"timeout": 60_000}  # milliseconds


def see_verdict(page: Page, word: str | None = None) -> str:
    """Wait for the verdict, and return the text of its banner."""
    words = ("good", "defective", "unknown")
    banner = page.locator(", ".join(f"#verdict .verdict.{each}" for each in words))
    expect(banner).to_be_visible(timeout=120 * SECONDS)
    if word:
        expect(banner.locator(".word")).to_contain_text(word, timeout=120 * SECONDS)
    return banner.text_content().replace("\N{NO-BREAK SPACE}", " ")


def set_slider(slider: Locator, value: float) -> None:
    """Type a value into the number beside a slider."""
    number = slider.locator("input[type=number]")
    number.fill(str(value))
    number.press("Enter")
    number.blur()


def choose(page: Page, dropdown: str, option: str) -> None:
    """Choose an option of a dropdown, given by its selector."""
    page.locator(f"{dropdown} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def sources(page: Page, selector: str) -> list[str]:
    """Return the addresses of the pictures in a part of the page."""
    return page.eval_on_selector_all(f"{selector} img", "pictures => pictures.map((p) => p.src)")


def width_of_contents(page: Page) -> int:
    """Return the width of the contents; wider than the window means sideways scrolling."""
    return page.evaluate("document.documentElement.scrollWidth")


def open_tab(page: Page, name: str) -> None:
    """Open a tab by its name."""
    overflow = page.locator(".overflow-menu > button")
    if page.viewport_size["width"] == PHONE[0] and name in ("Calibrate", "About") and overflow.is_visible():
        overflow.click()  # a phone has no room for all tabs
        page.locator(".overflow-dropdown button", has_text=name).click()
    else:
        page.get_by_role("tab", name=name, exact=True).click()


def drop(page: Page, tab: str, files: list[Path]) -> None:
    """Add files to the file list of a tab."""
    page.locator(f"#{tab}-files input[type=file]").set_input_files(files)
    expect(page.locator(f"#{tab}-status")).to_contain_text("Press ", **SLOW)
