"""Figures: the numbers they are drawn from, the words on them, and the colours."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui import charts
from ui.numbers import escape, say_number, say_quantity, token_label

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (12_400, "12.4 k"),
        (0.83, "0.83"),
        (61, "61"),
        (999.5, "1 k"),
        (5_904_384, "5.9 M"),
        (-1234, "−1.23 k"),
        (0.001, "0.001"),
        (4.2e-5, "4.2×10⁻⁵"),
        (1e15, "1×10¹⁵"),
        (1.125, "1.13"),
        (0, "0"),
        (float("nan"), "no value"),
        (float("-inf"), "−∞"),
    ],
)
def test_numbers_are_said_as_a_person_would(value, words):
    assert say_number(value) == words


@given(st.floats(min_value=1e-3, max_value=9.99e14))
def test_a_said_number_is_within_half_a_unit_of_its_third_digit(value):
    digits, _, step = say_number(value).partition(" ")
    scale = {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[step]
    # Three digits: at most 0.5 in 100 away; 1e-9 for float rounding.
    assert abs(float(digits) * scale - value) <= value * (0.005 + 1e-9)


def test_a_quantity_has_its_unit_only_where_it_has_a_value():
    assert say_quantity(0.83, "nats") == "0.83 nats"
    assert say_quantity(0.83, "") == "0.83"
    assert say_quantity(float("nan"), "nats") == "no value"


def test_token_labels_mark_spaces_and_escape_tags():
    assert token_label(" upon") == "·upon"
    assert token_label("\n") == "⏎"
    assert token_label("") == "∅"
    assert token_label("<b>") == "&lt;b&gt;"
    assert token_label("a" * 20, n_chars=5) == "aaaa…"


def contrast(one: str, other: str) -> float:
    """WCAG 2.1 contrast of two colours #rrggbb, 1 to 21."""

    def light(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722]) + 0.05

    return max(light(one), light(other)) / min(light(one), light(other))


@pytest.mark.parametrize("name", ["CLEAN", "STEERED", "SECOND_STEERED", "THIRD_STEERED", "OK", "CAUTION", "WRONG"])
def test_every_colour_of_the_palette_reads_on_white(name):
    assert contrast(getattr(charts, name), "#FFFFFF") >= 4.5


def test_the_sequential_palette_grows_lighter_throughout():
    assert np.all(np.diff([contrast(colour, "#000000") for colour in charts.SEQUENTIAL]) > 0)


def figures():
    values = np.array([3.0, 1.0, 2.0, 0.5])
    names = ["a", HOSTILE, "c", "d"]
    return {
        "histogram_with_qq": charts.histogram_with_qq(values, [-1, 0, 1], [-2, 0, 2], quantity="value", unit="u"),
        "binned": charts.binned([0, 1, 2, 3, 4], values, quantity="value", unit="u"),
        "ranked_bars": charts.ranked_bars(names, values, quantity="share", unit="u", pinned=1),
        "gate_scatter": charts.gate_scatter([-1, 0, 0.5, 1], values, names, pinned=2),
        "before_after_lines": charts.before_after_lines(values, values / 2, quantity="norm", unit="u"),
        "layer_lines": charts.layer_lines({HOSTILE: values}, quantity="value", unit="u", pinned=1),
        "tokens_bar": charts.tokens_bar(names, values, quantity="KL", unit="nats", pinned=1),
        "spark": charts.spark(values),
    }


@pytest.mark.parametrize("name", list(figures()))
def test_a_figure_has_named_axes_a_clear_ground_and_no_raw_tag(name):
    drawn = figures()[name]
    layout = drawn.layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == charts.CLEAR
    assert HOSTILE not in drawn.to_json()
    if name != "spark":
        assert layout.xaxis.title.text
        assert layout.yaxis.title.text or layout.yaxis.ticktext


def test_a_unit_is_no_markup_in_a_label():
    drawn = [charts.ranked_bars(["a"], [1.0], quantity="q", unit=HOSTILE)]
    drawn += [charts.tokens_bar(["a"], [1.0], quantity="q", unit=HOSTILE)]
    drawn += [charts.layer_lines({"a": [1.0]}, quantity="q", unit=HOSTILE)]
    drawn += [charts.binned([0, 1], [1.0], quantity="q", unit=HOSTILE)]
    assert [one.to_json() for one in drawn if "<img" in str(one.to_dict())] == []


def test_a_legend_is_shown_only_for_two_series():
    one = charts.layer_lines({"a": [1, 2]}, quantity="value")
    two = charts.layer_lines({"a": [1, 2], "b": [2, 3]}, quantity="value")
    assert (one.layout.showlegend, two.layout.showlegend) == (False, True)
    assert [trace.name for trace in two.data] == ["a", "b"]
    assert two.data[0].line.color != two.data[1].line.color


def test_ranked_bars_keep_the_order_with_the_first_on_top():
    drawn = charts.ranked_bars(["x", "y"], [5.0, 12_400.0], quantity="norm", unit="u", pinned=0)
    assert list(drawn.data[0].x) == [5.0, 12_400.0]
    assert list(drawn.layout.yaxis.ticktext) == ["x", "y"]
    assert drawn.layout.yaxis.range[0] > drawn.layout.yaxis.range[1]
    assert list(drawn.data[0].text) == ["5", "12.4 k"]
    assert list(drawn.data[0].hovertext) == ["x: 5 u", "y: 12.4 k u"]
    assert list(drawn.data[0].marker.opacity) == [1.0, charts.FAINT]


def test_bars_leave_room_for_their_numbers_on_both_sides():
    span = charts.ranked_bars(["a", "b", "c"], [-10.0, 5.0, np.nan], quantity="value").layout.xaxis.range
    assert span[0] < -11.5
    assert span[1] > 5.9
    assert charts.ranked_bars([], [], quantity="value").layout.xaxis.range is None


def test_the_line_of_normal_quantiles_runs_through_the_quartiles():
    normal = np.array([-2, -0.6745, 0, 0.6745, 2])
    drawn = charts.histogram_with_qq([1.0], normal, 10 + 3 * normal, quantity="value")
    np.testing.assert_allclose(drawn.data[1].y, 10 + 3 * normal, rtol=1e-12)
    np.testing.assert_array_equal(drawn.data[2].x, normal)


def test_a_binned_count_spans_its_bin():
    drawn = charts.binned([1, 10, 100], [7, 12_400], quantity="size", unit="u", log_x=True)
    assert list(drawn.data[0].x) == [1, 10, 100]
    assert list(drawn.data[0].y) == [7, 12_400, 12_400]
    assert drawn.data[0].text[1] == "12.4 k entries from 10 to 100 u"
    assert drawn.layout.xaxis.type == drawn.layout.yaxis.type == "log"


def test_many_neurons_are_drawn_by_the_graphics_card():
    n = charts.MANY_POINTS + 1
    drawn = charts.gate_scatter(np.zeros(n), np.ones(n), [str(i) for i in range(n)], pinned=5)
    assert [trace.type for trace in drawn.data] == ["scattergl", "scattergl"]
    assert drawn.data[1].text[0] == "5"


def test_token_bars_label_at_most_a_dozen_tokens():
    drawn = charts.tokens_bar([f"t{i}" for i in range(480)], np.arange(480), quantity="KL", unit="nats")
    assert len(drawn.data[0].y) == 480
    assert list(drawn.layout.xaxis.ticktext) == [f"t{i}" for i in range(0, 480, 40)]
    for n in (0, 1, 12, 13, 25):
        drawn = charts.tokens_bar([f"t{i}" for i in range(n)], np.arange(n), quantity="KL", unit="nats")
        assert len(drawn.layout.xaxis.ticktext or ()) <= charts.MAX_TOKEN_LABELS


def test_escaping_leaves_other_text_alone():
    assert escape("naïve 'quoted' · שלום") == "naïve 'quoted' · שלום"
