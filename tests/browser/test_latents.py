"""The Latents page in Chromium: a token, a latent, its label, a change, a link opened anew, and the keys."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.test_app import PATIENCE_MS, SIZES, address, after, idle, settled, spec_of

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).resolve().parents[2] / "test-results"
FOOT = "How to read this"
LABEL = "stories begin here"


@pytest.fixture(scope="module")
def app(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the app with a store of its own."""
    return serve("app.py", STEERSCOPE_HOME=str(tmp_path_factory.mktemp("home")))


def press_row(page: Page, key: str, row: int, x: float = 20.0) -> None:
    """Press a row of a table: they are drawn on a canvas, with rows of 35 pixels below a head of as many."""
    table = page.locator(f"[class*=st-key-steerscope-{key}] canvas").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + x, box["y"] + 35 * (row + 1.5))


def latent_of(page: Page) -> int:
    """The latent whose card is shown, once that is the pinned one."""
    pinned = spec_of(page).pins.get("latent")
    if pinned is not None:
        expect(page.get_by_role("heading", name=f"Latent {pinned}", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    return int(page.get_by_role("heading", name=re.compile(r"^Latent \d")).inner_text().removeprefix("Latent "))


def test_a_token_a_latent_its_label_and_the_link_to_it(app, browser_page):
    page = settled(browser_page(address(app, "latents")), FOOT)
    after(page, lambda: page.get_by_role("option").nth(5).click())
    assert spec_of(page).pins == {"pos": 5}
    after(page, lambda: press_row(page, "token-latents-5", 2))
    latent = latent_of(page)
    box = page.get_by_label("Label", exact=True)
    # The field of the latent from before stays until the run that draws this one has ended.
    expect(box).to_have_count(1, timeout=PATIENCE_MS)
    idle(page)
    box.fill(LABEL)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("by visitor").first).to_be_visible(timeout=PATIENCE_MS)
    again = settled(browser_page(page.url), FOOT)
    assert latent_of(again) == latent
    assert spec_of(again).pins == {"pos": 5, "latent": latent}
    assert spec_of(again).options["sae"]
    expect(again.get_by_label("Label", exact=True)).to_have_value(LABEL)


def test_the_keys_step_through_latents(app, browser_page):
    page = settled(browser_page(address(app, "latents", pins={"pos": 3, "latent": 100})), FOOT)
    page.wait_for_function("document.documentElement.dataset.steerscopeKeys === 'on'", timeout=PATIENCE_MS)
    for key, latent in (("]", 101), ("[", 100), ("[", 99)):
        after(page, lambda key=key: page.keyboard.press(key))
        assert latent_of(settled(page, FOOT)) == latent
    after(page, lambda: page.keyboard.press("r"))
    assert latent_of(page) != 99


def test_a_latent_added_to_the_changes_acts_on_every_page_until_it_is_removed(app, browser_page):
    page = settled(browser_page(address(app, "latents", pins={"pos": 3, "latent": 100})), FOOT)
    page.get_by_role("button", name="Change it").click()
    after(page, lambda: page.get_by_role("button", name="Add to changes").click())
    (change,) = spec_of(page).interventions
    assert (change["kind"], change["latent"], change["mode"]) == ("edit_latent", 100, "add")
    settled(page, FOOT)
    page.get_by_role("link", name="Outliers").click()
    settled(page, "What the definitions say")
    assert spec_of(page).interventions == (change,)
    # Streamlit may keep a hidden copy of what the page before drew.
    remove = page.locator("[class*=st-key-steerscope-change-0-remove] button:visible").first
    after(page, remove.click)
    assert spec_of(page).interventions == ()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_how_the_page_looks(app, browser_page, scheme, width, height):
    page = settled(browser_page(address(app, "latents"), width, height, scheme), FOOT)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"latents-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
