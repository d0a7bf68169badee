"""Sharing in Chromium: a short link opens frozen numbers, a file opens them elsewhere, keys do what the list says."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from analysis.spec import from_code
from tests.browser.test_app import FOOT, PATIENCE_MS, SHOTS, TEXT, address, numbers, pin_a_cell, settled

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def app(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the app with a store of its own."""
    return serve("app.py", STEERSCOPE_HOME=str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="module")
def elsewhere(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Another instance with another store."""
    return serve("app.py", STEERSCOPE_HOME=str(tmp_path_factory.mktemp("elsewhere")))


def shared(page: Page) -> str:
    """The short link of what is on screen."""
    page.get_by_role("button", name="Share").click()
    code = page.get_by_test_id("stCode").filter(has_text="id=").first
    expect(code).to_be_visible(timeout=PATIENCE_MS)
    return code.inner_text().replace("\n", "").strip()


def test_a_short_link_shows_the_same_numbers_frozen(app, browser_page):
    page = settled(browser_page(address(app, "outliers")), FOOT["outliers"])
    pin_a_cell(page)
    settled(page, FOOT["outliers"])
    before = [one for one in numbers(page) if "median" in one]
    fresh = settled(browser_page(shared(page)), FOOT["outliers"])
    expect(fresh.get_by_text("frozen numbers")).to_be_visible()
    assert [one for one in numbers(fresh) if "median" in one] == before
    assert "id=" in fresh.url
    fresh.get_by_role("button", name="Run it now").click()
    expect(fresh.get_by_text("frozen numbers")).to_have_count(0, timeout=PATIENCE_MS)
    settled(fresh, FOOT["outliers"])


def test_a_view_file_opens_in_another_instance(app, elsewhere, browser_page, tmp_path):
    page = settled(browser_page(address(app, "outliers")), FOOT["outliers"])
    page.get_by_role("button", name="Share").click()
    with page.expect_download(timeout=PATIENCE_MS) as download:
        page.get_by_role("button", name="View file", exact=True).click()
    download.value.save_as(tmp_path / "view.steerscope")
    there = settled(browser_page(address(elsewhere, "outliers", text="A cat.")), FOOT["outliers"])
    there.get_by_role("button", name="Open a view file").click()
    there.locator("input[type=file]").set_input_files(tmp_path / "view.steerscope")
    expect(there.get_by_text("frozen numbers")).to_be_visible(timeout=PATIENCE_MS)
    settled(there, FOOT["outliers"])
    assert there.url.startswith(f"{elsewhere}/outliers?id=")
    expect(there.get_by_label("Text", exact=True)).to_have_value(TEXT)


def test_compare_takes_two_views_from_their_pages(app, browser_page):
    page = settled(browser_page(address(app, "outliers")), FOOT["outliers"])
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url("**/compare?*", timeout=PATIENCE_MS)
    options = from_code(page.url.partition("view=")[2]).options
    assert from_code(options["left"]).lens == "outliers"


def test_keys_share_go_to_the_text_and_list_themselves(app, browser_page):
    page = settled(browser_page(address(app, "outliers")), FOOT["outliers"])
    page.wait_for_function("document.documentElement.dataset.steerscopeKeys === 'on'", timeout=PATIENCE_MS)
    page.keyboard.press("?")
    expect(page.get_by_text("cancel what runs")).to_be_visible(timeout=PATIENCE_MS)
    page.keyboard.press("?")
    page.keyboard.press("/")
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    page.keyboard.press("s")
    expect(page.get_by_test_id("stCode")).to_have_count(0)
    page.locator("h1").click()
    page.keyboard.press("s")
    expect(page.get_by_test_id("stCode").first).to_be_visible(timeout=PATIENCE_MS)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_the_store_page_fits_its_window(app, browser_page, width, scheme):
    page = settled(browser_page(f"{app}/store", width=width, scheme=scheme), "Reading against running")
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"store-{width}-{scheme}.png")
    assert page.get_by_text("Traceback").count() == 0
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
