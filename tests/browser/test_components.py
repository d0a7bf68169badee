"""The token strip and the heat grid, used as a person uses them."""

import pytest

pytestmark = pytest.mark.browser


def test_hello(serve, browser_page):
    page = browser_page(serve("tests/browser/harness/components.py"))
    page.get_by_text("hello").wait_for()
