"""The Library page in Chromium: a row, a bundle that is saved and imported again, a step in the recipe, removal."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from steering.vector_file import read_vector_file
from tests.browser.test_app import PATIENCE_MS, SIZES, address, after, idle, settled, spec_of
from tests.browser.test_latents import press_row

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).resolve().parents[2] / "test-results"
FOOT = "How to read this"


@pytest.fixture(scope="module")
def app(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the app with a shelf of its own."""
    return serve("app.py", STEERSCOPE_HOME=str(tmp_path_factory.mktemp("home")))


def card(page: Page, name: str) -> None:
    """Wait for the card of that name."""
    expect(page.get_by_role("heading", name=name, exact=True)).to_be_visible(timeout=PATIENCE_MS)


def saved(page: Page, button: str, folder: Path) -> Path:
    """Press a button that saves a file; where it was saved."""
    with page.expect_download(timeout=PATIENCE_MS) as download:
        page.get_by_role("button", name=button).click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def upload(page: Page, path: Path) -> None:
    """Choose a file in the dialog, and wait until the server has it."""
    idle(page).locator("input[type=file]").last.set_input_files(str(path))
    expect(page.get_by_test_id("stFileChip")).to_be_visible()
    expect(page.get_by_test_id("stFileChipIconSpinner")).to_have_count(0)
    idle(page)


def test_a_row_opens_its_card_and_the_link_opens_it_anew(app, browser_page):
    page = settled(browser_page(address(app, "library")), FOOT)
    after(page, lambda: press_row(page, "library-vectors", 3))
    card(settled(page, FOOT), "happy_sad")
    again = settled(browser_page(page.url), FOOT)
    card(again, "happy_sad")
    assert spec_of(again).options == spec_of(page).options


def test_a_bundle_is_saved_imported_named_used_and_removed(app, browser_page, tmp_path):
    page = settled(browser_page(address(app, "library")), FOOT)
    page.get_by_role("button", name="Export").click()
    bundle = saved(page, "Bundle (ZIP", tmp_path)
    with zipfile.ZipFile(bundle) as archive:
        (tmp_path / "a.gguf").write_bytes(archive.read("control_vector.gguf"))
    assert [at.layer for at in read_vector_file(tmp_path / "a.gguf").vectors] == [2]
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Import a file").click()
    upload(page, bundle)
    page.get_by_label("Name", exact=True).fill("from a friend")
    page.get_by_label("Name", exact=True).press("Tab")
    after(page, lambda: page.get_by_role("button", name="Import", exact=True).click())
    card(settled(page, FOOT), "from a friend")
    after(page, lambda: page.get_by_role("button", name="Use in the lab").click())
    expect(page.get_by_test_id("stSidebar").get_by_text("from a friend").first).to_be_visible(timeout=PATIENCE_MS)
    assert [one["name"] for one in spec_of(page).interventions] == ["from a friend"]
    page = settled(browser_page(address(app, "library")), FOOT)
    expect(page.get_by_role("radio", name="Vectors (9)")).to_be_visible(timeout=PATIENCE_MS)
    after(page, lambda: press_row(page, "library-vectors", 8))
    card(settled(page, FOOT), "from a friend")
    idle(page).get_by_role("button", name="Remove").click()
    after(page, lambda: page.get_by_role("button", name="Remove it for good").click())
    expect(page.get_by_role("radio", name="Vectors (8)")).to_be_visible(timeout=PATIENCE_MS)


def test_a_file_that_is_none_gets_a_sentence_and_the_page_stays(app, browser_page, tmp_path):
    (tmp_path / "bad.gguf").write_bytes(b"GGUF" + b"\xff" * 60)
    page = settled(browser_page(address(app, "library")), FOOT)
    page.get_by_role("button", name="Import a file").click()
    upload(page, tmp_path / "bad.gguf")
    page.get_by_role("button", name="Import", exact=True).click()
    expect(page.get_by_text("cannot be read as a GGUF control vector")).to_be_visible(timeout=PATIENCE_MS)
    card(page, "animals_people")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_page_fits_its_window(app, browser_page, width, height, scheme):
    page = settled(browser_page(address(app, "library"), width, height, scheme), FOOT)
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=PATIENCE_MS)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"library-{scheme}-{width}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
