"""The lab's recipe column in Chromium: by keyboard alone, added from the menu, kept by the link."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from steering.shelf_step import step_from_shelf
from tests.browser.test_app import PATIENCE_MS, SHOTS, SIZES, address, after, enter, idle, settled, spec_of

pytestmark = pytest.mark.browser

FOOT = "How to read this"
HAPPY = step_from_shelf("happy_sad", strength=0.2)
OUT = step_from_shelf("happy_sad", "project_out", name="without happy")


@pytest.fixture(scope="module")
def app(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the app with a store of its own."""
    return serve("app.py", STEERSCOPE_HOME=str(tmp_path_factory.mktemp("home")))


def lab(app: str, browser_page: Callable[..., Page], *size: object) -> Page:
    """The lab on a recipe of two steps, once it has written."""
    recipe = tuple(one.recipe() for one in (HAPPY, OUT))
    return settled(browser_page(address(app, "steering_lab", interventions=recipe), *size), FOOT)


def test_a_step_is_changed_by_keyboard_and_the_link_keeps_it(app, browser_page):
    page = lab(app, browser_page)
    slider = page.get_by_role("slider", name="Strength").first
    slider.focus()
    after(page, lambda: slider.press("ArrowRight"))
    assert spec_of(page).interventions[0]["strength"] == pytest.approx(0.21)
    settled(page, FOOT)
    mute = page.locator("[class*=st-key-steerscope-lab-1-is_muted] button:visible").first
    mute.focus()
    after(page, lambda: mute.press("Enter"))
    settled(page, FOOT)
    box = page.get_by_label("Strength, exactly").first
    after(page, lambda: enter(box, "0.35"))
    settled(page, FOOT)
    again = settled(browser_page(page.url), FOOT)
    first, second = spec_of(again).interventions
    assert (first["strength"], second["is_muted"]) == (0.35, True)
    expect(again.get_by_label("Strength, exactly").first).to_have_value("0.35")


def test_a_vector_is_added_from_the_menu_and_moved_up(app, browser_page):
    page = lab(app, browser_page)
    page.get_by_role("button", name="Add", exact=True).click()
    after(page, lambda: page.get_by_role("button", name="Add to the recipe").click())
    assert [one["name"] for one in spec_of(page).interventions] == ["happy sad", "without happy", "animals people"]
    settled(page, FOOT)
    after(page, lambda: page.locator("[class*=st-key-steerscope-lab-2-up] button:visible").first.click())
    assert [one["name"] for one in spec_of(page).interventions] == ["happy sad", "animals people", "without happy"]


def test_a_moved_slider_draws_the_lab_alone_until_its_text_is_there(app, browser_page):
    page = lab(app, browser_page)
    # So hot a text does not end by itself, and takes a while.
    for name, value in (("T", "2"), ("Tokens", "300")):
        box = page.get_by_role("spinbutton", name=name, exact=True)
        after(page, lambda box=box, value=value: enter(box, value))
    changes = page.locator(".st-key-steerscope-changes")
    slider = page.get_by_role("slider", name="Strength").first
    slider.focus()
    slider.press("ArrowRight")
    expect(page.locator(".cursor").first).to_be_visible(timeout=PATIENCE_MS)
    expect(changes).to_contain_text("happy sad 0.2 ×")
    expect(changes).to_contain_text("happy sad 0.21 ×", timeout=PATIENCE_MS)
    expect(page.locator(".grid.stale, .cursor")).to_have_count(0, timeout=PATIENCE_MS)
    assert spec_of(idle(page)).interventions[0]["strength"] == pytest.approx(0.21)


def test_a_card_is_dragged_behind_another(app, browser_page):
    page = lab(app, browser_page)
    cards = [page.locator(f".st-key-steerscope-lab-step-{place}") for place in (0, 1)]
    handle = cards[0].get_by_label("drag_indicator icon").bounding_box()
    last = cards[1].bounding_box()

    def drag() -> None:
        page.mouse.move(handle["x"] + 5, handle["y"] + 5)
        page.mouse.down()
        page.mouse.move(last["x"] + 20, last["y"] + last["height"] - 8, steps=4)
        page.mouse.up()

    after(page, drag)
    assert [one["name"] for one in spec_of(page).interventions] == ["without happy", "happy sad"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_how_the_column_looks(app, browser_page, scheme, width, height):
    page = lab(app, browser_page, width, height, scheme)
    expect(page.get_by_text("Interference", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"lab-recipe-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
