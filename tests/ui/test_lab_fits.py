"""Fitting from the lab: what is asked for becomes a job, its vectors go to the shelf, and its step to the recipe."""

import json
import time

import pytest
from streamlit.testing.v1 import AppTest

from analysis.spec import Spec, from_code
from capture.errors import UserError
from steering.shelf import find_shelved, shelved
from steering.vector_folder import read_vectors
from tests.ui.test_lab_recipe import choose, column, recipe_of, steps_of  # noqa: F401
from ui import job_kinds, resources
from ui.fit_job import BUNDLED, FIT, LINES, fit_recipe
from ui.job import Cancelled

ASKED = Spec("steering_lab", text="a cat")
PAIRS = "She smiled. | She cried.\nHe was glad. | He was sad.\nThey sang. | They wept.\nWe won. | We lost."


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch, tiny_session):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    monkeypatch.setattr(resources, "store", lambda: None)
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    job_kinds.queue.clear()


def asked(method="mean_difference", texts=(LINES, PAIRS), layers=(1, 2), site="resid_post", options=None):
    return fit_recipe(ASKED, "mine", method, texts, layers, site, {"positions": "all"} if options is None else options)


def test_a_fit_keeps_its_vectors_and_makes_a_view_with_their_step(tiny_session):
    seen = []
    outcome = FIT.work(asked(), lambda share, words: seen.append(share))
    one = find_shelved("vectors", "mine")
    assert outcome.value == one.digest
    assert one.fits(tiny_session.fingerprint)
    (step,) = from_code(outcome.code).interventions
    assert (step["source"], step["name"], len(step["changes"])) == (one.digest, "mine", 2)
    assert sorted(at.layer for at in read_vectors(one.folder).vectors) == [1, 2]
    assert seen == sorted(seen)


def test_a_fit_that_is_cancelled_keeps_nothing():
    def cancelled(share, words):
        if share > 0:
            raise Cancelled("fit")

    with pytest.raises(Cancelled):
        FIT.work(asked(), cancelled)
    assert not [one for one in shelved("vectors") if not one.is_bundled]


REFUSED = {
    "no lines": ({"texts": (LINES, "")}, "must have at least one text"),
    "a line without a bar": ({"texts": (LINES, "She smiled.")}, "line 1 is 'She smiled.'"),
    "equal pairs": ({"texts": (LINES, "a | a")}, "The two texts of a pair must differ"),
    "one class": ({"texts": ("x.csv", "text,label\na,up\nb,up\n")}, "Texts of at least two labels are needed"),
    "no such layout": ({"texts": ("x.json", "{")}, "x.json cannot be read"),
    "too long": ({"texts": (LINES, "a" * 1_000_001)}, "at most 1,000,000 characters"),
    "no layers": ({"layers": ()}, "at least one layer"),
    "one pair of many": ({"method": "act_add", "site": "resid_pre", "options": {"bos": True}}, "needs a single pair"),
    "no such option": ({"options": {"x": 1}}, "No option is called"),
    "no such site": ({"site": "z"}, "is not fitted at 'z'"),
}


@pytest.mark.parametrize(("changed", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_fitted_gets_a_sentence_before_anything_runs(changed, words):
    with pytest.raises(UserError, match=words):
        asked(**changed)


def test_a_bundled_set_is_named_and_not_copied_into_the_recipe():
    assert asked(texts=(BUNDLED, "happy_sad"))["texts"] == [BUNDLED, "happy_sad"]


def finished(app: AppTest) -> AppTest:
    end = time.monotonic() + 60
    while not any(one.label == "Add to the recipe" and "fits" in one.key for one in app.button):
        assert time.monotonic() < end, [one.value for one in app.caption]
        time.sleep(0.2)
        app.run()
    return app


def test_a_fit_is_asked_for_watched_and_added_on_the_page(column, tiny_session):  # noqa: F811
    app = choose(column(), "Fit a vector")
    next(one for one in app.get("segmented_control") if one.key == "steerscope.add.fit.source").set_value("paste").run()
    app.text_area(key="steerscope.add.fit.lines").set_value(PAIRS).run()
    app.text_input(key="steerscope.add.fit.name").set_value("glad").run()
    app.button(key="steerscope.add.fit.go").click().run()
    assert not app.error
    app = finished(app)
    next(one for one in app.button if one.key.startswith("steerscope.fits.add.")).click().run()
    (step,) = steps_of(app)
    assert (step.name, step.source) == ("glad", find_shelved("vectors", "glad").digest)
    assert step.hook_points()[0].layer == tiny_session.shape.n_layers // 2
    assert not any(one.key.startswith("steerscope.fits.") for one in app.button)


def test_what_cannot_be_fitted_is_said_in_the_menu(column):  # noqa: F811
    app = choose(column(), "Fit a vector")
    next(one for one in app.get("segmented_control") if one.key == "steerscope.add.fit.source").set_value("paste").run()
    app.text_area(key="steerscope.add.fit.lines").set_value("only one side").run()
    app.button(key="steerscope.add.fit.go").click().run()
    assert "Each line has the wanted text" in app.error[0].value
    assert recipe_of(app) == []


def test_a_fitted_condition_gates_a_step(column, tiny_session):  # noqa: F811
    recipe = asked("cast_condition", layers=(0, 1), options={})
    FIT.work(recipe, lambda share, words: None)
    from tests.ui.test_lab_recipe import UP

    app = choose(column(UP), "Gate")
    app.button(key="steerscope.add.gate.go").click().run()
    (step,) = steps_of(app)
    assert step.condition.comparator in "<>"
    assert json.loads(app.json[-1].value)[0]["condition"]["at"] == str(step.condition.at)
