"""Steps that several walks through the app share."""

from playwright.sync_api import Locator, Page, expect

SECONDS = 1000


def see_verdict(page: Page, word: str | None = None) -> str:
    """Wait until the large verdict stands there, and read all that it says."""
    banner = page.locator("#verdict .verdict.good, #verdict .verdict.anomalous")
    expect(banner).to_be_visible(timeout=120 * SECONDS)
    if word:
        expect(banner.locator(".word")).to_contain_text(word, timeout=120 * SECONDS)
    return banner.inner_text().replace("\N{NO-BREAK SPACE}", " ")


def set_slider(slider: Locator, value: float) -> None:
    """Type a value into the number beside a slider."""
    number = slider.locator("input[type=number]")
    number.fill(str(value))
    number.press("Enter")
    number.blur()


def choose(page: Page, dropdown: str, option: str) -> None:
    """Choose from a list by its id."""
    page.locator(f"{dropdown} input").click()
    page.get_by_role("option", name=option, exact=True).click()


def sources(page: Page, selector: str) -> list[str]:
    """Addresses of the pictures in a part of the page."""
    return page.eval_on_selector_all(f"{selector} img", "pictures => pictures.map((p) => p.src)")


def width_of_contents(page: Page) -> int:
    """Wider than the window means that a visitor has to scroll sideways."""
    return page.evaluate("document.documentElement.scrollWidth")
