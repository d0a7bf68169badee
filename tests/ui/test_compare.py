"""The Compare page, run without a browser: it fills, restores, swaps, and says what is missing or does not fit."""

import numpy as np
import pytest

from analysis.link import Link
from analysis.pipeline import run
from analysis.spec import Spec, from_code, to_code
from tests.ui.test_pages import load, open_app, shown
from ui import state
from ui.figures import compare as figures
from ui.figures.compare_place import COLOURS
from ui.numbers import say_number

__all__ = ["load", "open_app"]

LEFT = Spec("outliers", text="Once upon a time a small bear sat near the river.")
RIGHT = LEFT.with_(text="Once upon a time a small old bear sat near the river.")


def comparing(left=LEFT, right=RIGHT, **pins) -> Spec:
    options = {"left": to_code(left) if left else "", "right": to_code(right) if right else ""}
    return Spec("compare", options=options, pins=pins)


def press(app, label):
    next(button for button in app.button if button.label == label).click()
    return app.run()


def said(app) -> str:
    return " ".join(element.value for element in (*app.markdown, *app.caption)).replace("\\", "")


def test_two_views_are_compared_and_the_address_spells_them(open_app):
    app = open_app(comparing())
    assert not app.exception
    assert not app.error
    assert "tokens are in both texts, 0 only on the left and" in said(app)
    assert shown(app).options == comparing().options
    assert shown(app).text == ""


def test_a_link_restores_quantity_and_place(open_app):
    app = open_app(comparing(quantity="max_abs", layer=1, pos=0))
    assert app.selectbox(key="steerscope.pin.quantity").value == "max_abs"
    assert "position 0, after block 1" in said(app)
    assert shown(app).pins == {"quantity": "max_abs", "layer": 1, "pos": 0}


def test_the_cell_has_the_values_of_both_views(open_app, tiny_session):
    app = open_app(comparing(quantity="max_abs", layer=2, pos=1))
    values = [run(one, lambda *_: tiny_session, None).report.arrays["max_abs"][2, 1] for one in (LEFT, RIGHT)]
    boxes = next(one.proto.body for one in app.get("html") if "border-left" in one.proto.body)
    assert all(say_number(float(value)) in boxes for value in values)


def test_a_view_with_itself_says_that_nothing_differs(open_app):
    app = open_app(comparing(LEFT, LEFT))
    assert not app.error
    assert "Nothing differs: both sides are the same view." in said(app)


def test_the_foot_says_how_each_side_was_made(open_app):
    foot = said(open_app(comparing(LEFT, LEFT.with_(bos=False)))).partition("left: ")[2]
    left, _, right = foot.partition("right: ")
    assert "BOS first" in left
    assert "BOS left out" in right


def test_an_empty_page_is_filled_with_the_tour(open_app):
    app = open_app(Spec("compare"))
    assert not app.error
    app = press(app, "Show the tour's example")
    assert not app.error
    left, right = (from_code(shown(app).options[side]) for side in ("left", "right"))
    assert left.text == state.tour_spec().text
    assert right.text != left.text
    assert any("changes most at token" in button.label for button in app.button)


def test_one_missing_view_is_named_without_an_error(open_app):
    app = open_app(comparing(right=None))
    assert not app.error
    assert "The right view is missing" in said(app)


def test_a_pasted_address_becomes_its_code(open_app):
    app = open_app(comparing(right=None))
    app.text_input(key="steerscope.compare.right").set_value(Link(RIGHT).address("http://127.0.0.1:1/outliers")).run()
    assert not app.error
    assert shown(app).options == comparing().options


def test_swapping_exchanges_the_sides(open_app):
    app = press(open_app(comparing()), "Swap sides")
    assert not app.error
    assert shown(app).options == comparing(RIGHT, LEFT).options
    assert not app.warning


def test_a_sentence_shows_its_place(open_app):
    app = open_app(comparing(quantity="kurtosis", layer=0, pos=0))
    app.button(key="compare-finding-0").click().run()
    assert not app.error
    assert shown(app).pins != {"quantity": "kurtosis", "layer": 0, "pos": 0}


@pytest.mark.parametrize("text", ["noise", "![x](https://example.org/x.png)", "<img src=x onerror=alert(1)>", "0" * 20])
def test_what_is_no_link_gets_one_sentence(open_app, text):
    app = open_app(Spec("compare", options={"left": to_code(LEFT), "right": text}))
    assert not app.exception
    assert len(app.error) == 1
    assert all("![x](" not in element.value for element in (*app.markdown, *app.caption, *app.error))


def test_a_model_that_only_a_link_names_is_opened_by_a_person(open_app, tmp_path, load, tiny_session):
    load[str(tmp_path)] = tiny_session
    app = open_app(comparing(right=LEFT.with_(model=str(tmp_path))))
    assert "which nobody opened here yet" in said(app)
    app = press(app, "Open this model")
    assert not app.error
    assert "Nothing differs" in said(app)


def test_text_sets_are_compared_by_layer(open_app):
    left = LEFT.with_(text="", text_set="tour")
    app = open_app(comparing(left, left.with_(bos=False), layer=1))
    assert not app.exception
    assert not app.error
    assert app.select_slider[0].value == 1
    assert "Block 1" in said(app)


def test_hostile_tokens_are_escaped_in_the_figures(tiny_session):
    hostile = [LEFT.with_(text=f"<img src=x onerror=alert({n})>") for n in (1, 2)]
    report = run(comparing(*hostile), lambda *_: tiny_session, None).report
    for picture in figures.pictures(report, {}):
        assert "<" not in picture.figure.to_json().replace("<extra>", "").replace("</extra>", "").replace("<br>", "")


def test_pictures_show_the_pinned_place_on_both_sides(tiny_session):
    report = run(comparing(), lambda *_: tiny_session, None).report
    heat, layers = figures.pictures(report, {"quantity": "kurtosis", "pos": 3})
    names = [one["name"] for one in report.numbers["quantities"]]
    for trace, side in zip(layers.figure.data, ("left", "right"), strict=True):
        np.testing.assert_array_equal(trace.y, report.arrays[side][names.index("kurtosis"), :, 3])
        assert trace.line.color == COLOURS[side]
    np.testing.assert_array_equal(heat.figure.data[0].z, report.arrays["change"][names.index("kurtosis")])
