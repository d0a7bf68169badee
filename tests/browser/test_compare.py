"""Comparing in Chromium: a click on a token or a cell pins both sides, and the address brings it back."""

import pytest
from playwright.sync_api import Page, expect

from analysis.link import Link
from analysis.spec import Spec, from_code, to_code
from tests.browser.test_app import PATIENCE_MS, SIZES, after, app, enter, press_middle, settled, spec_of

pytestmark = pytest.mark.browser

__all__ = ["app"]

LEFT = Spec("outliers", text="Tom had a red ball. He threw it so high that it landed on the roof.")
RIGHT = LEFT.with_(text="Tom had a big red ball. He threw it so high that it landed on the roof.")
FOOT = "How to read this"


def address(app: str, left: Spec = LEFT, right: Spec = RIGHT, **pins: object) -> str:
    options = {"left": to_code(left), "right": to_code(right)}
    return f"{app}/compare?view={to_code(Spec('compare', options=options, pins=pins))}"


def pins_of(page: Page) -> dict[str, object]:
    return dict(from_code(page.url.partition("view=")[2]).pins)


def press(page: Page, place: str) -> None:
    """Press the middle of what has this class, and wait for the address to follow."""
    after(page, lambda: press_middle(page, place))


def test_a_token_of_the_right_text_pins_the_same_token_on_the_left(app, browser_page):
    page = settled(browser_page(address(app, quantity="max_abs", layer=1, pos=0)), FOOT)
    press(page, "[class*=st-key-compare-strip-right] [role=option]:nth-child(6)")
    settled(page, FOOT)
    assert pins_of(page) == {"quantity": "max_abs", "layer": 1, "pos": 5}
    expect(page.get_by_text("position 4 on the left, 5 on the right, after block 1")).to_be_visible()


def test_a_cell_is_brought_back_by_the_address(app, browser_page):
    page = settled(browser_page(address(app)), FOOT)
    press(page, "[class*=st-key-compare-heat] canvas")
    settled(page, FOOT)
    assert {"layer", "pos"} <= set(pins_of(page))
    fresh = settled(browser_page(page.url), FOOT)
    assert spec_of(fresh) == spec_of(page)
    words = [one.get_by_text("after block").first.inner_text() for one in (page, fresh)]
    assert words[0] == words[1]


def test_pasted_links_fill_the_page(app, browser_page):
    page = browser_page(f"{app}/compare")
    for side, spec in (("left", LEFT), ("right", RIGHT)):
        box = page.get_by_label(f"Link of the {side} view")
        expect(box).to_be_visible(timeout=PATIENCE_MS)
        enter(box, Link(spec).address(f"{app}/outliers"))
    settled(page, FOOT)
    assert spec_of(page).options == {"left": to_code(LEFT), "right": to_code(RIGHT)}


def test_the_texts_of_a_comparison_are_shown_and_never_run(app, browser_page):
    hostile = LEFT.with_(text="<img src=x onerror=\"document.title='run'\"> ![x](https://example.org/x.png)")
    page = settled(browser_page(address(app, right=hostile)), FOOT)
    assert page.title() != "run"
    assert page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES, ids=["1280", "400"])
def test_a_comparison_fits_its_window(app, browser_page, width, height, scheme):
    page = settled(browser_page(address(app), width=width, height=height, scheme=scheme), FOOT)
    assert page.get_by_text("Traceback").count() == 0
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
