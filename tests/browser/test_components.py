"""The token strip and the heat grid, used as a person uses them."""

import json

import numpy as np
import pytest
from playwright.sync_api import expect

from ui.components.payload import FOLDER, encode_floats
from ui.numbers import say_number, token_label

pytestmark = pytest.mark.browser
HARNESS = "tests/browser/harness/components.py"


@pytest.fixture
def harness(serve, browser_page):
    """`harness(query="", **page)` opens the components' page and waits until both are drawn."""

    def visit(query="", **options):
        page = browser_page(serve(HARNESS) + query, **options)
        page.locator("canvas").wait_for()
        page.locator(".strip").nth(1).locator("[role=option]").first.wait_for()
        return page

    return visit


def said(page, token=None, cell=None):
    """What the harness says when these are pinned and only the fragment ran."""
    expect(page.get_by_text(f"pinned token {token}, cell {cell}, page runs 1")).to_be_visible()


def option(page, position):
    return page.locator(".strip").first.locator("[role=option]").nth(position)


def click_cell(page, row, column, n_rows=6, n_columns=15):
    box = page.locator("canvas").bounding_box()
    x, y = (column + 0.5) / n_columns * box["width"], (n_rows - row - 0.5) / n_rows * box["height"]
    page.locator("canvas").click(position={"x": x, "y": y})


def test_a_press_on_a_token_pins_it_and_another_unpins_it(harness):
    page = harness()
    option(page, 4).click()
    said(page, token=4)
    expect(option(page, 4)).to_have_attribute("aria-selected", "true")
    option(page, 4).click()
    said(page)
    expect(option(page, 4)).to_have_attribute("aria-selected", "false")


def test_arrow_keys_move_the_pinned_token(harness):
    page = harness()
    option(page, 4).click()
    said(page, token=4)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    said(page, token=5)
    page.keyboard.press("End")
    said(page, token=14)
    page.keyboard.press("Escape")
    said(page)


def test_arrow_keys_without_a_pin_only_look(harness):
    page = harness()
    option(page, 0).focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".strip [role=tooltip]").first).to_contain_text("position 1 of 15")
    said(page)
    page.keyboard.press("Enter")
    said(page, token=1)


def test_a_pin_set_from_outside_shows_and_goes(harness):
    page = harness()
    option(page, 6).click()
    said(page, token=6)
    page.get_by_role("button", name="pin token 3").click()
    expect(option(page, 3)).to_have_attribute("aria-selected", "true")
    page.get_by_role("button", name="unpin all").click()
    expect(page.locator(".strip").first.locator("[aria-selected=true]")).to_have_count(0)


def test_hovering_a_token_tells_position_value_and_rank(harness):
    page = harness()
    option(page, 0).hover()
    tip = page.locator(".strip [role=tooltip]").first
    expect(tip).to_contain_text("position 0 of 15")
    expect(tip).to_contain_text("300 ×")
    expect(tip).to_contain_text("rank 1 of 14")
    option(page, 2).hover()
    expect(tip).not_to_contain_text("rank")
    assert "no value" in option(page, 2).get_attribute("aria-label")


def test_a_press_on_a_cell_pins_it_and_arrow_keys_move_it(harness):
    page = harness()
    click_cell(page, 3, 4)
    said(page, cell=(3, 4))
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    said(page, cell=(4, 5))
    expect(page.locator(".grid [aria-live]")).to_contain_text("layer 4 · position 5")
    page.keyboard.press("Escape")
    said(page)


def test_hovering_a_cell_tells_its_value_and_rank(harness):
    page = harness()
    box = page.locator("canvas").bounding_box()
    page.mouse.move(box["x"] + 4.5 / 15 * box["width"], box["y"] + 2.5 / 6 * box["height"])
    tip = page.locator(".grid [role=tooltip]")
    expect(tip).to_contain_text("layer 3 · position 4")
    expect(tip).to_contain_text("12.4 k ×")
    expect(tip).to_contain_text("rank 1 of 89")


def test_text_of_a_token_never_becomes_markup(harness):
    page = harness()
    option(page, 8).hover()
    expect(page.locator(".strip [role=tooltip]").first).to_contain_text("<img·src=x")
    for summary in page.locator("summary").all():
        summary.click()
    expect(page.locator(".grid table")).to_contain_text("<img·src=x·onerror=window.hacked=1>")
    assert page.locator("section img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_spaces_and_newlines_are_marked_and_special_tokens_outlined(harness):
    page = harness()
    assert [option(page, place).text_content() for place in (0, 2, 10, 12, 13)] == ["<s>", "·upon", "⏎", "·", "שלום"]
    assert page.locator(".strip").first.locator(".special").all_text_contents() == ["<s>"]


def test_the_tables_hold_the_numbers_of_the_pictures(harness):
    page = harness()
    for summary in page.locator("summary").all():
        summary.click()
    strip = page.locator(".strip").first.locator("tbody tr")
    assert strip.nth(0).locator("th, td").all_text_contents() == ["0", "<s>", "300 ×", "rank 1 of 14"]
    assert strip.nth(2).locator("th, td").all_text_contents() == ["2", "·upon", "no value", ""]
    row = page.locator(".grid tbody tr").nth(3)
    assert row.locator("th").text_content() == "3"
    assert row.locator("td").nth(4).text_content() == "12.4 k"


CONTRAST = """boxes => boxes.map(box => {
  const light = colour => {
    const [r, g, b] = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255)
      .map(share => share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const [ink, ground] = [getComputedStyle(box).color, box.style.background].map(light);
  return Math.max(ink, ground) / Math.min(ink, ground);
})"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_token_reads_on_its_heat(harness, scheme):
    page = harness("?long=1", scheme=scheme)
    contrasts = page.locator("[role=option][style*=background]").evaluate_all(CONTRAST)
    assert len(contrasts) > 1000
    assert min(contrasts) >= 4.5


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_is_wider_than_the_window(harness, width):
    page = harness(width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for part in page.locator("section.strip, section.grid").all():
        box = part.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_a_large_grid_scrolls_to_the_pinned_cell(harness):
    page = harness("?long=1")
    page.locator("canvas").focus()
    page.keyboard.press("End")
    page.keyboard.press("PageUp")
    page.keyboard.press("Enter")
    said(page, cell=(47, 511))
    assert page.locator(".scroller").evaluate("e => e.scrollLeft + e.clientWidth >= 511 * 6")
    assert page.locator("canvas").bounding_box()["width"] == 512 * 6
    expect(page.locator(".grid .columns .on")).to_contain_text("511")


def test_the_page_stays_as_high_when_a_cell_is_pinned(harness):
    page = harness()
    before = page.locator("section.grid").bounding_box()
    click_cell(page, 2, 2)
    said(page, cell=(2, 2))
    page.locator(".grid summary").click()
    assert page.locator("section.grid").bounding_box() == before


def test_layer_0_is_at_the_bottom(harness):
    page = harness()
    labels = page.locator(".grid .rows span")
    tops = {label.text_content(): label.bounding_box()["y"] for label in labels.all()}
    assert sorted(tops, key=tops.get) == ["5", "4", "3", "2", "1", "0"]
    pixel = "(c, [x, y]) => [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data.slice(0, 3)]"
    largest = page.locator("canvas").evaluate(pixel, [4.5 / 15, 2.5 / 6])
    assert largest == [0xFF, 0xEA, 0x46]
    assert page.locator("canvas").evaluate(pixel, [4.5 / 15, 3.5 / 6]) != largest


@pytest.fixture(scope="module")
def shared(chromium):
    """`shared(expression)` evaluates JavaScript beside the functions that both components share."""
    page = chromium.new_page()
    source = (FOLDER / "heat.js").read_text(encoding="utf-8")
    yield lambda expression: page.evaluate(f"() => {{ {source}\n return {expression}; }}")
    page.close()


def test_the_browser_says_numbers_as_python_does(shared):
    sizes = [0, 1, 12_400, 999.4, 999.5, 999_500, 1.125, 0.001, 0.00099951, 4.2e-5, 9.995e14, 1e15, 0.1 + 0.2, 1e-40]
    sizes += list(10.0 ** np.random.default_rng(0).uniform(-12, 18, size=300))
    values = [*sizes, *(-size for size in sizes)]
    assert shared(f"{json.dumps(values)}.map(say)") == [say_number(value) for value in values]
    assert shared("[NaN, Infinity, -Infinity].map(say)") == [say_number(float(x)) for x in ("nan", "inf", "-inf")]


def test_the_browser_marks_tokens_as_python_does(shared):
    tokens = [" upon", "\n\n", "a\tb", "", "שלום", "é", "🙂"]
    assert shared(f"{json.dumps(tokens)}.map(plainGlyphs)") == [token_label(token) for token in tokens]
    assert shared(r"""plainGlyphs("\u202e\u200b")""") == "U+202EU+200B"


def test_the_browser_reads_the_floats_that_python_wrote(shared):
    values = np.array([[0.5, -3e38, np.inf], [1e-7, 0.0, 12.0]], dtype=np.float32)
    assert shared(f"[...decodeFloats('{encode_floats(values)}')].map(String)") == [
        "0.5", "-3.0000000054977558e+38", "Infinity", "1.0000000116860974e-7", "0", "12",
    ]  # fmt: skip
    assert shared(f"[...decodeFloats('{encode_floats([np.nan])}')].map(Number.isNaN)") == [True]


def test_equal_values_share_the_better_rank_and_no_value_has_none(shared):
    result = shared("(found => ({ranks: [...found.ranks], n: found.n}))(ranksOf([3, NaN, 7, 3, -1, Infinity]))")
    assert result == {"ranks": [3, 0, 2, 3, 5, 1], "n": 5}


@pytest.mark.parametrize(
    ("values", "options", "colours"),
    [
        ([0, 5, 10], {}, [[0, 0, 0], [128, 128, 128], [255, 255, 255]]),
        ([1, 10, 100, 0], {"log": True}, [[0, 0, 0], [128, 128, 128], [255, 255, 255], [0, 0, 0]]),
        ([-1, 0, 4, -4], {"diverging": True}, [[96, 96, 96], [128, 128, 128], [255, 255, 255], [0, 0, 0]]),
        ([5, 5], {}, [[0, 0, 0], [0, 0, 0]]),
        ([1, 50], {"span": [0, 10]}, [[26, 26, 26], [255, 255, 255]]),
    ],
)
def test_colours_follow_the_values(shared, values, options, colours):
    scale = f"makeScale(values, {json.dumps({'palette': ['#000000', '#FFFFFF'], **options})})"
    found = shared(f"(values => values.map({scale}.colour))({json.dumps(values)})")
    assert np.abs(np.array(found) - colours).max() <= 1


def test_a_late_answer_does_not_move_the_pin_but_a_new_one_does(shared):
    steps = """(pin => {
      pin.hear(null);
      pin.set(5);
      pin.hear(null);
      const early = pin.get();
      return new Promise(done => setTimeout(() => {
        pin.set(6);
        setTimeout(() => {
          pin.hear(5);
          const late = pin.get();
          pin.hear(6);
          const own = pin.get();
          pin.hear(2);
          done([early, late, own, pin.get()]);
        }, 20);
      }, 20));
    })(makePin((a, b) => a === b, () => {}))"""
    assert shared(steps) == [5, 6, 6, 2]
