"""The page of controllers in Chromium: a prompt is answered and stays in the link; it fits a phone in the dark."""

import pytest
from playwright.sync_api import expect

from analysis.spec import Spec, to_code
from tests.browser.test_app import PATIENCE_MS, app, spec_of

pytestmark = pytest.mark.browser

__all__ = ["app"]

PROMPT = "Tom had lost his ball. He was all alone and began to cry."


def test_a_prompt_of_a_link_is_answered_by_the_bundled_controller(app, browser_page):
    page = browser_page(f"{app}/controllers?view={to_code(Spec('controllers', options={'prompt': PROMPT}))}")
    expect(page.get_by_text("with, α 0.2")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("labels known").first).to_be_visible(timeout=PATIENCE_MS)
    assert spec_of(page).options["prompt"] == PROMPT


def test_used_in_the_lab_it_stands_in_the_recipe_there(app, browser_page):
    page = browser_page(f"{app}/controllers?view={to_code(Spec('controllers', options={'prompt': PROMPT}))}")
    page.get_by_role("button", name="Use in the lab").click(timeout=PATIENCE_MS)
    expect(page.get_by_text("controller cheer-up, α 0.2").first).to_be_visible(timeout=PATIENCE_MS)


def test_the_page_fits_a_phone_in_the_dark(app, browser_page):
    page = browser_page(f"{app}/controllers", width=400, height=800, scheme="dark")
    expect(page.get_by_text("Train a controller")).to_be_visible(timeout=PATIENCE_MS)
    assert page.get_by_text("Traceback").count() == 0
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= 400
