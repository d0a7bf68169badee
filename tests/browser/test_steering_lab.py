"""The steering lab in Chromium: text streams, stops, follows its fields, tells on hover, and a link brings it back."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, TimeoutError, expect

from tests.browser.test_app import PATIENCE_MS, SIZES, after, enter, settled, spec_of

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).resolve().parents[2] / "test-results"
FOOT = "How to read this"
NOT_YET_MS = 10_000
"""What a text that is still being written shows by then."""


@pytest.fixture(scope="module")
def app(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the app with a store of its own."""
    return serve("app.py", STEERSCOPE_HOME=str(tmp_path_factory.mktemp("home")))


@pytest.fixture
def lab(app, browser_page) -> Callable[..., Page]:
    """`lab(**page)` opens the lab, fills it with the tour's example and waits for its text."""

    def opened(**options) -> Page:
        page = browser_page(f"{app}/steering_lab", **options)
        page.get_by_role("button", name="Fill the lab").click(timeout=PATIENCE_MS)
        return written(page)

    return opened


def written(page: Page) -> Page:
    """The page once all panes are scored."""
    settled(page, FOOT)
    expect(page.locator(".legend .bar")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator(".grid.stale, .cursor")).to_have_count(0, timeout=PATIENCE_MS)
    return page


def texts(page: Page) -> list[str]:
    """What each pane has after its prompt."""
    return ["".join(pane.get_by_role("option").all_inner_texts()) for pane in page.locator(".pane").all()]


def put(page: Page, name: str, value: str) -> None:
    """Type into a number box."""
    enter(page.get_by_role("spinbutton", name=name, exact=True), value)


def follow(page: Page, act: Callable[[], None]) -> None:
    """Do something, and wait until its answer is in the address and on screen."""
    written(after(page, act))


def stopped_midway(page: Page) -> tuple[str, list[str], str]:
    """Ask for a long text and stop it while it comes: the tokens asked for, and the texts and address from before."""
    for n_tokens in map(str, range(500, 512)):
        before, address = texts(page), page.url
        put(page, "Tokens", n_tokens)
        try:
            expect(page.locator(".cursor").first).to_be_visible(timeout=NOT_YET_MS)
            expect(page.get_by_text(f"of {n_tokens}").first).to_be_visible(timeout=NOT_YET_MS)
            page.get_by_role("button", name="Stop").click(timeout=NOT_YET_MS)
            expect(page.get_by_text("Stopped.")).to_be_visible(timeout=NOT_YET_MS)
        except (AssertionError, TimeoutError):
            # A quick machine had ended it.
            written(page)
        else:
            return n_tokens, before, address
    raise AssertionError("no text was stopped while it came")


def test_text_streams_and_stop_brings_back_what_was_there(lab):
    page = lab()
    # So hot a text does not end by itself, and takes a while.
    follow(page, lambda: put(page, "T", "2"))
    n_tokens, before, address = stopped_midway(page)
    settled(page, FOOT)
    assert texts(page) == before
    assert page.url == address
    expect(page.get_by_role("spinbutton", name="Tokens")).to_have_value(n_tokens)
    put(page, "Tokens", "12")
    for number in range(3):
        expect(page.locator(".pane").nth(number).get_by_role("option")).to_have_count(12, timeout=PATIENCE_MS)


def test_the_panes_differ_and_the_first_other_token_is_marked(lab):
    page = lab()
    clean, happy, sad = texts(page)
    assert len({clean, happy, sad}) == 3
    assert "happy" in happy
    assert "sad" in sad
    for number in (1, 2):
        pane = page.locator(".pane").nth(number)
        place = pane.locator(".departs").evaluate(
            "box => [...box.parentNode.querySelectorAll('[role=option]')].indexOf(box)"
        )
        tokens = [page.locator(".pane").nth(n).get_by_role("option").all_inner_texts() for n in (0, number)]
        assert tokens[0][:place] == tokens[1][:place]
        assert tokens[0][place] != tokens[1][place]


def test_a_token_tells_its_likeliest_tokens_by_mouse_and_by_keys(lab):
    page = lab()
    pane = page.locator(".pane").nth(1)
    pane.get_by_role("option").nth(3).hover()
    tip = page.locator(".panes [role=tooltip]")
    expect(tip).to_contain_text("new token 4 of")
    assert tip.locator("th").all_inner_texts() == ["clean", "log p", "steered", "log p"]
    assert tip.locator("tbody tr").count() == 5
    pane.get_by_role("option").nth(0).focus()
    page.keyboard.press("ArrowRight")
    expect(tip).to_contain_text("new token 2 of")
    after(page, lambda: page.keyboard.press("Enter"))
    expect(page.locator(".pinned")).to_contain_text("new token 2 of", timeout=PATIENCE_MS)
    assert spec_of(page).pins == {"pane": 1, "step": 1}


def test_another_strength_moves_the_steered_text_alone(lab):
    page = lab()
    before = texts(page)
    box = page.get_by_role("textbox", name="Panes ×")
    follow(page, lambda: enter(box, "0, 3"))
    clean, zero, strong = texts(page)
    assert clean == zero == before[0]
    assert strong not in before


def test_a_link_brings_prompt_recipe_and_text_back(lab, browser_page):
    page = lab()
    again = written(browser_page(page.url))
    assert texts(again) == texts(page)
    assert spec_of(again) == spec_of(page)
    again.reload()
    assert texts(written(again)) == texts(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES, ids=["1280", "400"])
def test_how_the_page_looks(lab, scheme, width, height):
    page = lab(width=width, height=height, scheme=scheme)
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"steering-lab-{width}-{scheme}.png", full_page=True)
    assert page.get_by_text("Traceback").count() == 0
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
    places = [pane.bounding_box() for pane in page.locator(".pane").all()]
    is_stacked = places[1]["y"] >= places[0]["y"] + places[0]["height"]
    assert is_stacked == (width == 400)
