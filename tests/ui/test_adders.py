"""What the Add menu puts into a recipe, without a browser."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from analysis.spec import Spec
from capture.intervention import operator_from_recipe
from steering.methods.logit_shift import LogitShift
from steering.recipe import Step
from steering.token_scope import TokenScope
from tests.companions import other_tokenizer, tiny_companion, tiny_companions
from ui import resources
from ui.adders import adders, shift

MENU = """
import json
import streamlit as st
from analysis.spec import read_spec
from ui import resources, state
from ui.adders import shift
from ui.lab_recipe import draw_recipe
resources.warm_up()
session = state.session()
if not session.recent:
    session.asked = read_spec(json.loads({spec!r}))
    session.recent.append(session.asked)
shift.draw(session.asked)
draw_recipe(session.asked)
st.json([dict(one) for one in session.asked.interventions])
"""


@pytest.fixture
def menu(monkeypatch, tiny_session):
    """The menu entry above the recipe column, with two tiny models to choose and one of other tokens."""
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(resources, "store", lambda: None)
    monkeypatch.setattr(resources, "known_fingerprint", lambda name, dtype: tiny_session.fingerprint)
    monkeypatch.setattr(shift, "_names", lambda: ["tuned", "untuned", "other"])
    spec = Spec("steering_lab", text="a cat sat")
    with tiny_companions(other=tiny_companion(7, other_tokenizer())):
        yield AppTest.from_string(MENU.format(spec=json.dumps(spec.to_json())), default_timeout=60).run()


def test_every_entry_of_the_menu_has_a_title_of_its_own():
    titles = [one.TITLE for one in adders()]
    assert shift.TITLE in titles
    assert len(set(titles)) == len(titles)


def test_two_models_become_a_step_of_the_recipe(menu):
    menu.button(key="steerscope.add.shift.go").click().run()
    assert not menu.exception
    assert not menu.error
    (recipe,) = json.loads(menu.json[-1].value)
    wanted = Step("tuned − untuned", (LogitShift("tuned", "untuned"),), method="logit_shift", scope=TokenScope())
    assert operator_from_recipe(recipe) == wanted


def test_models_of_other_tokens_get_a_sentence_and_no_step(menu):
    menu.selectbox(key="steerscope.add.shift.untuned").set_value("other").run()
    menu.button(key="steerscope.add.shift.go").click().run()
    assert "needs models with the same tokens; those of other" in menu.error[0].value
    assert json.loads(menu.json[-1].value) == []
