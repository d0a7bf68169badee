"""The app in Chromium, as a person uses it: type, click, share, open the address elsewhere, look at it in the dark.

The fixture `browser_page` fails a test whose pages log an error or ask another machine for something.
"""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect

from analysis.spec import Spec, from_code, to_code

pytestmark = pytest.mark.browser

SHOTS = Path(__file__).resolve().parents[2] / "test-results"
TEXT = "Tom had a red ball. He threw it so high that it landed on the roof."
PATIENCE_MS = 240_000
"""Other tests may share the two cores while the model loads."""
SIZES = [(1280, 900), (400, 800)]


@pytest.fixture(scope="module")
def app(serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of the app with a store of its own."""
    return serve("app.py", STEERSCOPE_HOME=str(tmp_path_factory.mktemp("home")))


def address(app: str, lens: str, **fields: object) -> str:
    """The address of a view."""
    path = "" if lens == "what_stands_out" else lens
    return f"{app}/{path}?view={to_code(Spec(lens, text=TEXT).with_(**fields))}"


def idle(page: Page) -> Page:
    """The page once no script runs and the browser has drawn what the last one sent.

    The address changes before what it stands for is drawn: a test that reads the page in between reads the view before.
    """
    expect(page.locator(".stApp[data-test-script-state=notRunning]")).to_have_count(1, timeout=PATIENCE_MS)
    page.evaluate("new Promise(drawn => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(drawn))))")
    return page


def after(page: Page, act: Callable[[], None]) -> Page:
    """The page once something was done to it, its address has changed, and what that stands for is drawn.

    A box may send what was filled in before Enter is pressed: `act` does both.
    """
    before = idle(page).url
    act()
    page.wait_for_function("before => location.href !== before", arg=before, timeout=PATIENCE_MS)
    return idle(page)


def settled(page: Page, words: str) -> Page:
    """The page once it has shown these words, no script runs and nothing is still to be drawn."""
    expect(page.get_by_text(words).first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0, timeout=PATIENCE_MS)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=PATIENCE_MS)
    # Streamlit fetches the code of each kind of widget when it first meets one.
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0, timeout=PATIENCE_MS)
    return idle(page)


def spec_of(page: Page) -> Spec:
    """The Spec that the address spells."""
    return from_code(page.url.partition("view=")[2])


def answered(page: Page, text: str) -> None:
    """Wait until the address spells this text: it does once the text is answered."""
    last = time.monotonic() + PATIENCE_MS / 1000
    while "view=" not in page.url or spec_of(page).text != text:
        assert time.monotonic() < last, page.url
        page.wait_for_timeout(100)


def numbers(page: Page) -> list[str]:
    """Every sentence on the page but the one on where its numbers came from."""
    texts = page.locator("[data-testid=stMain] [data-testid=stMarkdownContainer]").all_inner_texts()
    return [text for text in texts if "fingerprint" not in text]


def press_middle(page: Page, place: str) -> None:
    """Press the middle of the first element that is so placed."""
    box = page.locator(place).first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)


def enter(box: Locator, value: str) -> None:
    """Fill a box and press Enter."""
    box.fill(value)
    box.press("Enter")


def pin_a_cell(page: Page) -> None:
    """Press the cell in the middle of the heat."""
    after(page, lambda: press_middle(page, "[class*=st-key-outliers-heat] canvas"))


FOOT = {"what_stands_out": "Ranked by", "outliers": "How to read this"}


def test_a_newcomer_types_a_sentence_and_follows_what_stands_out(app, browser_page):
    page = settled(browser_page(app), FOOT["what_stands_out"])
    box = page.get_by_label("Type a sentence and press Enter")
    enter(box, TEXT)
    answered(page, TEXT)
    settled(page, FOOT["what_stands_out"])
    page.get_by_role("link", name="Show in Outliers").first.click()
    settled(page, FOOT["outliers"])
    assert spec_of(page).lens == "outliers"
    assert spec_of(page).text == TEXT
    assert spec_of(page).pins


def test_the_address_of_a_clicked_cell_shows_the_same_numbers_in_a_fresh_browser(app, browser_page):
    page = settled(browser_page(address(app, "outliers")), FOOT["outliers"])
    pin_a_cell(page)
    settled(page, FOOT["outliers"])
    assert {"layer", "pos"} <= set(spec_of(page).pins)
    expect(page.get_by_text(f"position {spec_of(page).pins['pos']}, after block")).to_be_visible()
    fresh = settled(browser_page(page.url), FOOT["outliers"])
    assert spec_of(fresh) == spec_of(page)
    assert numbers(fresh) == numbers(page)
    assert any("the median magnitude" in text for text in numbers(fresh))


def test_a_click_draws_the_inspector_and_leaves_the_definitions_alone(app, browser_page):
    page = settled(browser_page(address(app, "outliers")), FOOT["outliers"])
    page.evaluate("document.querySelector('h1').dataset.mark = 'kept'")
    pin_a_cell(page)
    settled(page, FOOT["outliers"])
    assert page.evaluate("document.querySelector('h1').dataset.mark") == "kept"


def test_share_shows_the_address_with_the_latest_pin(app, browser_page):
    page = settled(browser_page(address(app, "outliers")), FOOT["outliers"])
    pin_a_cell(page)
    page.get_by_role("button", name="Share").click()
    link = page.get_by_test_id("stCode").filter(has_text="view=")
    expect(link).to_contain_text(page.url.partition("view=")[2], timeout=PATIENCE_MS)


def test_a_link_that_is_cut_gets_a_sentence_and_the_tour(app, browser_page):
    page = browser_page(address(app, "outliers")[:-30])
    expect(page.get_by_text("This link cannot be read")).to_be_visible(timeout=PATIENCE_MS)
    settled(page, FOOT["outliers"])
    expect(page.get_by_text("This link cannot be read")).to_be_visible()


def test_the_text_of_a_link_is_shown_and_never_run(app, browser_page):
    text = "<img src=x onerror=\"document.title='run'\"> ![x](https://example.org/x.png)"
    page = settled(browser_page(address(app, "outliers", text=text)), FOOT["outliers"])
    assert page.title() != "run"
    assert page.locator("img[src='x']").count() == 0


def test_an_empty_text_leaves_the_view_before(app, browser_page):
    page = settled(browser_page(address(app, "what_stands_out")), FOOT["what_stands_out"])
    before = page.url
    box = page.get_by_label("Type a sentence and press Enter")
    enter(box, "")
    expect(page.get_by_text("at least one character")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("link", name="Show in Outliers").first).to_be_visible()
    assert page.url == before


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), SIZES, ids=["1280", "400"])
@pytest.mark.parametrize("lens", FOOT)
def test_a_page_fits_its_window_in_light_and_dark(app, browser_page, lens, width, height, scheme):
    page = settled(browser_page(address(app, lens), width=width, height=height, scheme=scheme), FOOT[lens])
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{lens}-{width}-{scheme}.png")
    assert page.get_by_text("Traceback").count() == 0
    assert page.evaluate("document.querySelector('[data-testid=stMain]').scrollWidth") <= width
    ground = page.evaluate("getComputedStyle(document.querySelector('.stApp')).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(", "))) < 384) == (scheme == "dark")
