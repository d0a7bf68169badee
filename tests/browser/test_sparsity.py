"""The Sparsity pages in Chromium: a cell is pinned, a budget pressed, the law measured as a job; both fit a phone."""

import pytest
from playwright.sync_api import expect

from analysis.spec import Spec, to_code
from tests.browser.test_app import PATIENCE_MS, TEXT, after, app, press_middle, settled, spec_of

pytestmark = pytest.mark.browser

__all__ = ["app"]

FOOT = "How to read this"


def address(app: str, lens: str = "sparsity", **fields: object) -> str:
    return f"{app}/{lens}?view={to_code(Spec(lens, text=TEXT).with_(**fields))}"


def test_a_cell_is_pinned_and_a_marked_budget_measured(app, browser_page):
    page = settled(browser_page(address(app)), FOOT)
    after(page, lambda: press_middle(page, "[class*=st-key-sparsity-heat] canvas"))
    settled(page, FOOT)
    assert {"layer", "pos"} <= set(spec_of(page).pins)
    page.get_by_role("radio", name="10 %").or_(page.get_by_role("button", name="10 %")).first.click()
    expect(page.get_by_text("At a budget of 10 %").first).to_be_visible(timeout=PATIENCE_MS)
    settled(page, FOOT)
    assert spec_of(page).options == {"p": 10.0}


def test_the_law_is_measured_on_the_bundled_checkpoints(app, browser_page):
    page = browser_page(address(app, "sparsity_law"), width=400, height=800)
    page.get_by_role("button", name="Measure on the text set tour").click(timeout=PATIENCE_MS)
    settled(page, FOOT)
    expect(page.get_by_text("as the law of this activation says").first).to_be_visible()
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400


def test_the_page_fits_a_phone_in_the_dark(app, browser_page):
    page = settled(browser_page(address(app), width=400, height=800, scheme="dark"), FOOT)
    assert page.get_by_text("Traceback").count() == 0
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400
