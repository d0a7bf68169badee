"""A recipe copied as Python is short where its vectors are on the shelf, and makes the very same recipe again."""

import json
import sys
from dataclasses import replace

import pytest

from analysis import pipeline
from analysis.as_code import python_script
from analysis.spec import Spec
from capture.hook_point import HookPoint
from capture.models import load_session
from steering.methods.cast_condition import Condition
from steering.methods.project_out import ProjectOut
from steering.recipe import Step
from steering.recipe_code import recipe_code
from steering.schedule import Schedule
from steering.shelf_step import step_from_shelf
from steering.token_scope import TokenScope
from tests.analysis.test_as_code import ended

AT = HookPoint(1, "resid_post")
HAPPY = step_from_shelf("happy_sad")
STEPS = {
    "as it comes": HAPPY,
    "changed": replace(
        HAPPY,
        name="it's happy\n",
        strength=0.25,
        weights={2: 0.5},
        scope=TokenScope("ranges", ((1, 4), (9, None))),
        schedule=Schedule("ramp", high=2.0),
        is_solo=True,
    ),
    "projected out everywhere": step_from_shelf(
        "happy_sad",
        "project_out",
        at=[f"blocks.{n}.hook_{site}" for n in range(3) for site in ("resid_pre", "mlp_out")],
    ),
    "clamped": step_from_shelf("happy_sad", "clamp_direction", value=2.5, unit="relative"),
    "gated": replace(HAPPY, condition=Condition(AT, (1.0, 2.0), 0.25, "<")),
    "inline": Step("out", (ProjectOut(AT, (1.0, 0.5)),)),
}


def made_by(code):
    scope = {}
    exec("\n".join([*code.imports, f"recipe = {code.expression}"]), scope)
    return scope["recipe"]


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_the_code_of_a_step_makes_it_again(step):
    given = json.loads(json.dumps(step.recipe()))
    assert json.loads(json.dumps(made_by(recipe_code([given])))) == [given]


def test_a_step_of_the_shelf_is_a_short_call_and_any_other_its_json():
    short = recipe_code([STEPS["changed"].recipe()])
    assert "step_from_shelf(" in short.expression
    assert len(short.expression) < 500
    assert recipe_code([STEPS["inline"].recipe()]).imports == ()


def test_an_edited_vector_is_not_taken_for_the_one_on_the_shelf():
    (change,) = HAPPY.changes
    edited = replace(HAPPY, changes=(replace(change, vector=(*change.vector[:-1], 9.0)),))
    assert "step_from_shelf" not in recipe_code([edited.recipe()]).expression


def test_the_script_of_a_view_under_steps_prints_the_views_numbers():
    steps = (STEPS["changed"].recipe(), STEPS["clamped"].recipe())
    spec = Spec("outliers", text="Once upon a time", interventions=steps)
    script = python_script(spec)
    report = pipeline.run(spec, load_session, None).report
    assert max(map(len, script.splitlines())) < 120
    assert ended([sys.executable, "-c", script]).splitlines()[-1] == f"numbers {report.digest()}"
