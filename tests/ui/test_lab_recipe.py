"""The recipe column without a browser: each widget of a card edits the Spec; what is added is what was chosen."""

import json
from importlib import import_module

import pytest
from streamlit.testing.v1 import AppTest

from analysis.spec import Spec
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from steering.methods.add_direction import AddDirection
from steering.methods.cast_condition import Condition
from steering.methods.clamp_direction import ClampDirection
from steering.methods.project_out import ProjectOut
from steering.recipe import Step
from steering.schedule import Schedule
from steering.shelf_step import step_from_shelf
from steering.token_scope import TokenScope
from tests.shelves import shelve_for
from ui import resources
from ui.components.order import HANDLE

AT, LATER = HookPoint(1, "resid_post"), HookPoint(2, "resid_post")
X = tuple(float(i == 0) for i in range(32))
UP = Step("up", (AddDirection(AT, X), AddDirection(LATER, X)), 0.5, "relative", {AT: 8.0, LATER: 12.0})
OUT = Step("out", (ProjectOut(AT, X),))
COLUMN = """
import json
import streamlit as st
from analysis.spec import read_spec
from ui import resources, state
from ui.lab_recipe import draw_recipe
resources.warm_up()
session = state.session()
if not session.recent:
    session.asked = read_spec(json.loads({spec!r}))
    session.recent.append(session.asked)
draw_recipe(session.asked)
st.json([dict(one) for one in session.asked.interventions])
"""


@pytest.fixture
def column(monkeypatch, tiny_session):
    """`column(*steps)` is the recipe column over a view of these steps."""
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(resources, "store", lambda: None)
    monkeypatch.setattr(resources, "known_fingerprint", lambda name, dtype: tiny_session.fingerprint)

    def drawn(*steps, text="a cat sat"):
        recipes = tuple(one if isinstance(one, dict) else one.recipe() for one in steps)
        spec = Spec("steering_lab", text=text, interventions=recipes)
        app = AppTest.from_string(COLUMN.format(spec=json.dumps(spec.to_json())), default_timeout=60).run()
        assert not app.exception
        return app

    return drawn


def recipe_of(app):
    assert not app.exception
    return json.loads(app.json[-1].value)


def steps_of(app):
    return [operator_from_recipe(one) for one in recipe_of(app)]


def test_a_card_says_what_its_step_does(column):
    app = column(UP, OUT)
    assert not app.error
    assert [one.value for one in app.markdown][:2] == [f":gray[{HANDLE}] **1** up", f":gray[{HANDLE}] **2** out"]
    assert r"adds at blocks 1 and 2, resid\_post ██" in [one.value for one in app.caption]


CHANGES = {
    "slider": ("slider", "steerscope.lab.0.strength", 0.2, {"strength": 0.2}),
    "number box": ("number_input", "steerscope.lab.0.exact", 3.5, {"strength": 3.5}),
    "scope": ("selectbox", "steerscope.lab.0.scope", "generated", {"scope": TokenScope("generated").recipe()}),
    "name": ("text_input", "steerscope.lab.0.name", "higher", {"name": "higher"}),
    "weight": ("slider", "steerscope.lab.0.weight.2", 0.25, {"weights": {"2": 0.25}}),
    "schedule": ("segmented_control", "steerscope.lab.0.schedule", "ramp", {"schedule": Schedule("ramp").recipe()}),
}


@pytest.mark.parametrize(("kind", "key", "value", "changed"), CHANGES.values(), ids=CHANGES)
def test_a_widget_of_a_card_edits_the_step_and_nothing_else(column, kind, key, value, changed):
    app = column(UP, OUT)
    widget = app.get(kind) if kind == "segmented_control" else getattr(app, kind)
    next(one for one in widget if one.key == key).set_value(value).run()
    assert recipe_of(app) == json.loads(json.dumps([UP.recipe() | changed, OUT.recipe()]))


def test_numbers_of_a_window_and_a_ramp_are_edited(column):
    app = column(Step("up", (AddDirection(AT, X),), schedule=Schedule("window", 2, 9)))
    app.number_input(key="steerscope.lab.0.start").set_value(4).run()
    app.number_input(key="steerscope.lab.0.end").set_value(6).run()
    assert steps_of(app)[0].schedule == Schedule("window", 4, 6)
    app = column(Step("up", (AddDirection(AT, X),), schedule=Schedule("ramp")))
    app.number_input(key="steerscope.lab.0.high").set_value(2.0).run()
    app.number_input(key="steerscope.lab.0.n_tokens").set_value(5).run()
    assert steps_of(app)[0].schedule == Schedule("ramp", high=2.0, n_tokens=5)


def test_positions_are_typed_and_what_cannot_be_read_gets_a_sentence(column):
    app = column(Step("up", (AddDirection(AT, X),), scope=TokenScope("ranges")))
    app.text_input(key="steerscope.lab.0.ranges").set_value("1-4, 9-").run()
    assert steps_of(app)[0].scope.ranges == ((1, 5), (9, None))
    app.text_input(key="steerscope.lab.0.ranges").set_value("four").run()
    assert "Positions are written as" in app.error[0].value
    assert app.text_input(key="steerscope.lab.0.ranges").value == "four"
    assert steps_of(app)[0].scope.ranges == ((1, 5), (9, None))


def test_how_much_of_a_prompts_ends_is_a_number(column):
    app = column(Step("up", (AddDirection(AT, X),), scope=TokenScope("prompt_ends")))
    app.number_input(key="steerscope.lab.0.ends").set_value(2).run()
    assert steps_of(app)[0].scope == TokenScope("prompt_ends", n_ends=2)


def test_another_unit_is_the_same_change_in_other_words(column):
    app = column(
        Step("up", (AddDirection(AT, tuple(4 * x for x in X)),), 0.5, "relative", {AT: 8.0}, usual_strength=0.5)
    )
    next(one for one in app.get("segmented_control") if one.key == "steerscope.lab.0.unit").set_value("absolute").run()
    (step,) = steps_of(app)
    assert (step.unit, step.strength, step.usual_strength) == ("absolute", 1.0, 1.0)


def test_the_value_of_a_clamp_is_edited(column):
    app = column(Step("clamp", (ClampDirection(AT, X, 1.0),)))
    app.number_input(key="steerscope.lab.0.value").set_value(-2.5).run()
    assert steps_of(app)[0].changes[0].value == -2.5


def test_reset_goes_back_to_the_strength_that_a_step_was_added_at(column):
    app = column(Step("up", (AddDirection(AT, X),), 3.0, usual_strength=0.75))
    app.button(key="steerscope.lab.0.reset").click().run()
    assert recipe_of(app)[0]["strength"] == 0.75


def test_steps_are_moved_muted_soloed_and_removed(column):
    app = column(UP, OUT)
    app.button(key="steerscope.lab.1.up").click().run()
    assert [one.name for one in steps_of(app)] == ["out", "up"]
    app.button(key="steerscope.lab.0.is_muted").click().run()
    app.button(key="steerscope.lab.1.is_solo").click().run()
    assert [(one.is_muted, one.is_solo) for one in steps_of(app)] == [(True, False), (False, True)]
    app.button(key="steerscope.lab.0.remove").click().run()
    assert [one.name for one in steps_of(app)] == ["up"]


def test_a_bare_change_becomes_a_step_when_it_is_edited(column):
    app = column(AddDirection(AT, X, 2.0))
    app.button(key="steerscope.lab.0.is_muted").click().run()
    (step,) = steps_of(app)
    assert (step.changes, step.strength, step.is_muted) == ((AddDirection(AT, X, 2.0),), 1.0, True)


def test_a_step_that_cannot_be_read_gets_a_sentence_and_can_be_removed(column):
    app = column(UP.recipe() | {"strength": 1e9}, OUT)
    assert "must lie within" in app.error[0].value
    app.button(key="steerscope.lab.0.remove").click().run()
    assert not app.error
    assert [one.name for one in steps_of(app)] == ["out"]


def test_a_condition_is_edited_and_says_whether_this_prompt_opens_it(column):
    condition = Condition(AT, X, -1.0)
    app = column(Step("up", (AddDirection(AT, X),), condition=condition))
    assert any("so the step acts" in one.value for one in app.caption)
    app.number_input(key="steerscope.lab.0.threshold").set_value(1.0).run()
    assert any("so the step does not act" in one.value for one in app.caption)
    app.button(key="steerscope.lab.0.uncondition").click().run()
    assert steps_of(app)[0].condition is None


def test_interference_is_said_below_the_cards(column):
    app = column(Step("up", (AddDirection(AT, X, 2.0),)), OUT)
    said = " ".join(one.value for one in app.caption).replace("\\", "")
    assert "1 then 2 is not 2 then 1: at block 1, resid_post they differ by 2" in said
    assert "1·2 = 1 cosine, residual stream" in said


def test_a_solo_step_has_nothing_to_interfere_with(column):
    app = column(Step("up", (AddDirection(AT, X, 2.0),), is_solo=True), OUT)
    assert "there is nothing to interfere with" in " ".join(one.value for one in app.caption)


def choose(app, title):
    return app.selectbox(key="steerscope.lab.add").set_value(title).run()


def test_a_latent_is_added_as_a_step(column, tiny_session):
    digest = shelve_for(tiny_session)
    app = choose(column(), "SAE latent")
    app.number_input(key="steerscope.add.latent").set_value(7).run()
    app.button(key="steerscope.add.latent.go").click().run()
    (step,) = steps_of(app)
    assert (step.name, step.changes[0].latent, step.changes[0].sae) == ("latent 7 add 4", 7, digest)


@pytest.fixture
def stories(monkeypatch):
    """The fingerprint of the bundled vectors' model, in place of the tiny one's."""
    from steering.shelf import find_shelved

    found = find_shelved("vectors", "happy_sad")
    monkeypatch.setattr(resources, "known_fingerprint", lambda name, dtype: found.facts["fingerprint"])
    return found


def test_a_bundled_vector_is_added_with_the_strength_and_range_of_its_scores(column, stories):
    app = column()
    app.selectbox(key="steerscope.add.vector").set_value(stories.digest).run()
    app.button(key="steerscope.add.vector.go").click().run()
    assert recipe_of(app) == json.loads(json.dumps([step_from_shelf("happy_sad").recipe()]))
    (step,) = [operator_from_recipe(one) for one in recipe_of(app)]
    assert (step.source, step.unit, step.strength_range) == (stories.digest, "relative", (-0.4, 0.4))


def test_a_bundled_direction_is_taken_out_at_every_block(column, stories, tiny_session):
    app = choose(column(), "Ablate a direction")
    app.selectbox(key="steerscope.add.ablate").set_value(stories.digest).run()
    app.button(key="steerscope.add.ablate.go").click().run()
    (recipe,) = recipe_of(app)
    assert {one["kind"] for one in recipe["changes"]} == {"project_out"}
    assert len(recipe["changes"]) == 3 * tiny_session.shape.n_layers


class Dropped:
    """Stands in for the component that listens for a drop."""

    def __init__(self, drop):
        self.drop = drop

    def __call__(self, **_):
        drop, self.drop = self.drop, None
        return {"order": drop}


@pytest.mark.parametrize(
    ("drop", "names"),
    [
        ({"from": 0, "to": 1}, ["out", "up"]),
        ({"from": 1, "to": 0}, ["out", "up"]),
        ({"from": 0, "to": 9}, ["up", "out"]),
        ("x", ["up", "out"]),
    ],
)
def test_a_dropped_card_is_where_it_was_dropped(column, monkeypatch, drop, names):
    monkeypatch.setattr(import_module("ui.components.order"), "_mount", Dropped(drop))
    assert [one["name"] for one in recipe_of(column(UP, OUT))] == names


def test_a_strength_past_the_limit_gets_a_sentence_and_the_recipe_stays(column):
    app = column(UP)
    before = recipe_of(app)
    app.number_input(key="steerscope.lab.0.exact").set_value(1e9).run()
    assert app.error[0].value.startswith("**A strength lies between −1,000,000 and 1,000,000; 1,000,000,000 was given")
    assert recipe_of(app) == before
    app.number_input(key="steerscope.lab.0.exact").set_value(2.0).run()
    assert not app.error
    assert recipe_of(app)[0]["strength"] == 2.0
