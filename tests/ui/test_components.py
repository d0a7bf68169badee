"""What the components send to the browser, and what they take from it."""

import base64
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from ui.components import heat_grid, token_strip
from ui.components.payload import encode_floats, texts
from ui.components.pin import as_cell, as_index

TOKENS = ["<s>", "Once", " upon"]


class Browser:
    """Stands in for the mounted component: keeps what it was sent, answers with `event`."""

    def __init__(self, event=None):
        self.event = event
        self.sent = None

    def __call__(self, *, data, **_):
        self.sent = data
        return {"pin": self.event}


@pytest.fixture
def browser(monkeypatch):
    stand_in = Browser()
    # By the modules' names: the package's attributes of these names are the functions.
    for name in ("token_strip", "heat_grid"):
        monkeypatch.setattr(import_module(f"ui.components.{name}"), "_mount", stand_in)
    return stand_in


def strip(pinned=None, values=(1.0, np.nan, 3.0), **options):
    return token_strip(TOKENS, values, key="k", label="L", unit="u", pinned=pinned, **options)


def grid(pinned=None, shape=(2, 3), **options):
    names = {"row_names": ["0", "1"], "column_names": TOKENS}
    return heat_grid(np.ones(shape), **names, key="k", label="L", unit="u", log=False, pinned=pinned, **options)


@given(st.lists(st.floats(width=32), max_size=40))
def test_encoded_floats_decode_to_the_same_bits(values):
    decoded = np.frombuffer(base64.b64decode(encode_floats(values)), dtype="<f4")
    np.testing.assert_array_equal(decoded, np.array(values, dtype=np.float32))


def test_a_press_gives_the_new_place_and_silence_the_kept_one(browser):
    assert strip(pinned=2) == 2
    assert grid(pinned=(1, 2)) == (1, 2)
    browser.event = {"position": 1, "cell": [0, 2]}
    assert strip(pinned=2) == 1
    assert grid(pinned=(1, 2)) == (0, 2)


def test_a_press_on_the_pinned_place_unpins_it(browser):
    browser.event = {"position": None, "cell": None}
    assert strip(pinned=2) is None
    assert grid(pinned=(1, 2)) is None


@pytest.mark.parametrize("bad", [-1, 3, 1.5, True, "1", None, [1], {}, "<img>"])
def test_a_place_outside_the_text_is_no_place(browser, bad):
    assert strip(pinned=bad) is None
    assert grid(pinned=(0, bad)) is None
    browser.event = {"position": bad, "cell": [0, bad]}
    assert strip(pinned=2) is None
    assert grid(pinned=(1, 2)) is None


def test_indices_of_numpy_are_indices():
    assert as_index(np.int32(2), 3) == 2
    assert as_cell((np.int64(1), 2), (2, 3)) == (1, 2)
    assert as_cell([1, 2, 3], (2, 3)) is None


def test_a_value_for_each_token_is_asked_for(browser):
    with pytest.raises(ValueError, match=r"one value a token, got shape \(2,\) for 3 tokens"):
        strip(values=[1.0, 2.0])
    with pytest.raises(ValueError, match=r"values of shape \(2, 3\) for its names, got \(3, 2\)"):
        grid(shape=(3, 2))
    assert browser.sent is None


def test_special_tokens_are_known_by_their_looks_or_as_told(browser):
    strip()
    assert browser.sent["special"] == [True, False, False]
    strip(special=[2])
    assert browser.sent["special"] == [False, False, True]


def test_without_values_no_heat_is_sent(browser):
    strip(values=None)
    assert browser.sent["values"] is None


def test_a_lone_surrogate_is_replaced_and_an_emoji_kept():
    assert texts(["\ud83d", "🙂", 7]) == ["\ufffd", "🙂", "7"]


@pytest.mark.parametrize(("n_rows", "height"), [(1, 206), (6, 254), (48, 494)])
def test_a_grid_is_as_high_as_its_rows_need(browser, n_rows, height):
    heat_grid(np.ones((n_rows, 1)), ["r"] * n_rows, ["c"], key="k", label="L", unit="", log=True, pinned=None)
    assert browser.sent["height"] == height


def test_both_components_mount_in_a_page():
    def page():
        from ui.components import heat_grid, token_strip

        token_strip(["a", "b"], [1, 2], key="strip", label="L", unit="u", pinned=1)
        heat_grid([[1, 2]], ["0"], ["a", "b"], key="grid", label="L", unit="u", log=False, pinned=None)

    app = AppTest.from_function(page, default_timeout=20).run()
    assert not app.exception
    sent = [element.proto.json for element in app.main if element.type == "bidi_component"]
    assert ['"pinned": 1' in text for text in sent] == [True, False]
