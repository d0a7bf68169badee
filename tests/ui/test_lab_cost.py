"""The cost column without a browser: what the panes know, a tuning's scores and curves, and using its choice."""

import json

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.report import Report
from analysis.spec import Spec
from analysis.text_set import TextSet
from capture.intervention import operator_from_recipe
from capture.store import ActivationStore
from steering.odds_curve import odds_curve
from steering.proxies import PROXIES, proxy
from steering.tune_plan import TunePlan
from steering.tuning import tune
from tests.steering.planted import planted_pairs, planted_speaker
from tests.steering.test_odds_dynamics import TUNED, UP, doses
from tests.steering.test_tuning import PROMPTS, step
from ui import lab_tuning, resources, state
from ui.dose_picture import dose_curve
from ui.job_kinds import KINDS, queue
from ui.lab_cost import ROWS
from ui.odds_picture import odds_figure
from ui.tune_job import TUNE, tuning_recipe

ASKED = Spec("steering_lab", model="speaker", text="A bear.", interventions=(step((1,)).recipe(),))
PAIRS = [f"{up.text} | {down.text}" for up, down in planted_pairs(4, 3).pairs]


@pytest.fixture
def store(monkeypatch, tmp_path):
    kept = ActivationStore.open(tmp_path / "store.duckdb")
    monkeypatch.setattr(resources, "store", lambda: kept)
    monkeypatch.setattr(resources, "load", lambda name, dtype: planted_speaker())
    monkeypatch.setattr(lab_tuning, "read_text_set", lambda name: TextSet(name, name, PROMPTS))
    yield kept
    kept.close()


def report():
    arrays = {"multiple": [0.0, 2.0, 1.0], "mean_kl": [0.0, 0.4, 0.0312], "repeated": [0.02, 0.5, 0.1]}
    session = planted_speaker()
    return Report(
        ASKED.with_(fingerprint=session.fingerprint), {}, {}, {name: np.array(one) for name, one in arrays.items()}
    )


def column(asked=ASKED, shown=True):
    def script(asked, report):
        from ui import state
        from ui.lab_cost import draw_cost

        state.session().asked = asked
        draw_cost(asked, report)

    return AppTest.from_function(script, args=(asked, report() if shown else None), default_timeout=60).run()


def said(app):
    assert not app.exception
    assert not app.error
    return "\n".join(one.value.replace("\\", "") for one in (*app.markdown, *app.caption))


def plan(**fields):
    return TunePlan(tuple(dict(one) for one in ASKED.interventions), PROMPTS, step=0, **fields)


def button(app, label):
    return next(one for one in app.button if one.label == label)


def test_an_empty_recipe_says_what_to_do():
    assert "Add a step to the recipe" in said(column(ASKED.with_(interventions=()), shown=False))


def test_what_the_panes_know_is_shown_at_no_cost(store):
    words = said(column())
    assert "On this prompt: repetition 10 %, clean 2 %." in words
    assert "On this prompt: KL 0.0312 nats a token along the steered text at × 1." in words
    assert "Not measured yet: press Measure, or Auto-tune." in words


def test_every_score_has_its_formula_one_click_away(store):
    words = said(column())
    behind = [name for _, names in ROWS for name in names]
    assert sorted(behind) == sorted(one.name for one in PROXIES)
    assert all(f"**{one.label}** {one.unit}" in words and one.formula in words for one in PROXIES)


def test_a_tunings_scores_stand_in_the_column_and_its_choice_is_used(store):
    found = tune(planted_speaker(), plan(), store)
    app = column()
    words = said(app)
    assert f"Knee: {found.knee.strength:g} mean norms. Chosen within a KL of 0.1 on 0 pairs and 2 prompts" in words
    assert "Without pairs there is no concept score" in words
    assert "Preference and utility" not in words
    assert f"**Knee (proxy)**: **{found.knee.strength:g}** strength" in words
    assert len(app.get("plotly_chart")) == 2
    button(app, "Use this strength").click()
    asked = {}
    state.change, plain = lambda **fields: asked.update(fields), state.change
    try:
        app.run()
    finally:
        state.change = plain
    (used,) = (operator_from_recipe(dict(one)) for one in asked["interventions"])
    assert used.strength == found.knee.strength


def test_pairs_that_a_person_types_are_tuned_on(store, monkeypatch):
    asked = []
    monkeypatch.setattr(type(queue()), "submit", lambda _, kind, recipe, owner, name: asked.append((kind, recipe)))
    app = column()
    app.selectbox(key="steerscope-tune-pairs").set_value("pairs of my own").run()
    app.text_area(key="steerscope-tune-lines").set_value("\n".join(PAIRS)).run()
    button(app, "Auto-tune").click().run()
    ((kind, recipe),) = asked
    read = TunePlan.from_json(json.loads(json.dumps(recipe))["plan"])
    assert kind == TUNE.slug
    assert [(up.text, down.text) for up, down in read.contrast.pairs] == [tuple(one.split(" | ")) for one in PAIRS]
    assert read.strengths == ()
    app.toggle(key="steerscope-tune-layers").set_value(True).run()
    button(app, "Measure").click().run()
    assert TunePlan.from_json(asked[1][1]["plan"]).strengths == (1.0,)


def test_the_job_does_what_a_tuning_does(store):
    recipe = json.loads(json.dumps(tuning_recipe(ASKED, plan(strengths=(0.1,), n_tokens=3))))
    outcome = KINDS[TUNE.slug].work(recipe, lambda share, words: None)
    assert outcome.value.doses == tune(planted_speaker(), plan(strengths=(0.1,), n_tokens=3)).doses


def test_a_curve_runs_through_what_is_known_at_zero_and_marks_knee_and_budget(store):
    found = tune(planted_speaker(), plan(layers=(0, 1), contrast=planted_pairs(4, 3), n_tokens=3))
    curve = dose_curve(found, "kl", found.knee.strength)
    line = next(trace for trace in curve.data if trace.mode == "lines+markers")
    doses = found.layer_doses(found.knee.layer)
    assert (line.x[0], line.y[0]) == (0.0, 0.0)
    assert list(line.y[1:]) == [one.kl.mean for one in doses]
    assert [note.text for note in curve.layout.annotations] == ["knee", "budget 0.1"]
    assert {shape.x0 for shape in curve.layout.shapes if shape.x0 == shape.x1} == {found.knee.strength}
    assert curve.layout.yaxis.range == (0.0, pytest.approx(0.3))
    assert dose_curve(found, "concept").layout.xaxis.range == found.slider


def test_the_odds_are_drawn_against_the_clean_model_with_their_law():
    curve = odds_curve(doses(UP, TUNED[1:]), (1.5, -150.0))
    drawn = {trace.name: trace for trace in odds_figure(curve).data}
    assert list(drawn) == ["preference, by the law", "preference", "utility, by the law", "utility"]
    assert list(drawn["utility"].y) == pytest.approx([one.utility + 150.0 for one in curve.points])
    law = drawn["utility, by the law"]
    assert law.y[-1] == pytest.approx(float(curve.law.utility([0.8])[0]) + 150.0)
    without = odds_figure(odds_curve(doses(UP, TUNED[1:4]), None))
    assert [trace.name for trace in without.data] == ["preference", "utility"]
    assert without.layout.yaxis.title.text == "odds less those at 0.025 (nats)"


def test_the_odds_stand_below_a_tuning_with_pairs_and_say_what_is_not_known():
    def script():
        from types import SimpleNamespace

        from steering.odds_curve import odds_curve
        from tests.steering.test_odds_dynamics import TUNED, UP, doses
        from ui.lab_odds import draw_odds

        draw_odds(SimpleNamespace(odds=odds_curve(doses(UP, TUNED[1:3]), None)), "mean norms")

    app = AppTest.from_function(script, default_timeout=60).run()
    words = said(app)
    assert "**Preference and utility**" in words
    assert "The law of the odds is not identifiable: at least 4 strengths of one sign" in words
    assert all(proxy(name).formula in words for name in ("dynamics", "preference", "utility"))
    assert len(app.get("plotly_chart")) == 1
