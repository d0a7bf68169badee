"""The sentence adder, the Hypernetwork page and its job, without a browser."""

import json
from types import SimpleNamespace

import pytest
import torch
from streamlit.testing.v1 import AppTest

from capture.errors import UserError
from capture.intervention import operator_from_recipe
from sae.training_curve import write_curve
from steering.concepts import write_concepts
from steering.methods.hypernetwork import SteerBySentence
from steering.sentence_vector import sentence_vector
from steering.shelf import find_shelved
from steering.vector_folder import read_vectors
from tests.steering.hypernetworks import AT, WORDS, shelve_hypernetwork, small_concepts, trained_for
from ui import hypernetwork_pictures as pictures
from ui import resources
from ui.adders.sentence import change_of, keep_vector
from ui.hypernet_job import hypernet_recipe, training_command

PROMPT = (0, 9, 8, 7)
ADDER = """
import streamlit as st
from analysis.spec import Spec
from ui import state
from ui.adders import sentence
asked = Spec("steering_lab", text="a cat sat", interventions=state.session().asked.interventions)
sentence.draw(asked)
st.json([dict(one) for one in state.session().asked.interventions])
"""
PAGE = """
from analysis.spec import Spec
from ui import resources, state
from ui.pages import hypernetwork
from ui.shell import Context
resources.allow("tiny llama")
hypernetwork.draw(Context(Spec("hypernetwork"), None, {}))
"""


@pytest.fixture
def home(monkeypatch, tmp_path, tiny_session):
    """A shelf of its own, and the tiny model in place of any other."""
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("steering.shelf.BUNDLED", tmp_path / "nothing")
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(resources, "store", lambda: None)
    monkeypatch.setattr(resources, "known_fingerprint", lambda name, dtype: tiny_session.fingerprint)
    return tmp_path


def drawn(script):
    app = AppTest.from_string(script, default_timeout=60).run()
    assert not app.exception
    return app


def line(name, part, mean, n_learnt=None):
    found = {"mean": mean, "low": mean - 0.1, "high": mean + 0.1}
    above = {"overall": {"mean": mean - 0.3, "low": mean - 0.4, "high": mean - 0.2}}
    named = {"contestant": name, "part": part, "n": 4, "n_learnt": n_learnt}
    return {**named, "overall": found, "concept": found, "shown": None, "detection": found, "above_random": above}


def report():
    table = [line("small", part, mean, n) for part, mean, n in (("held_in", 0.9, 40), ("held_out", 0.5, 40))]
    table += [
        line("random vector", "held_in", 0.2),
        line("random vector", "held_out", 0.2),
        line("of_10", "held_out", 0.4, 10),
        line("of_40", "held_out", 0.5, 40),
    ]
    return {"table": table, "curve": [one for one in table if one["contestant"].startswith("of_")]}


def test_without_context_the_recipe_holds_the_vector_itself(tiny_session):
    trained = trained_for(tiny_session)
    found = sentence_vector(trained, tiny_session, "the bear")
    (change,) = operator_from_recipe(change_of(found, "d" * 32, trained, 2.0)).placed(PROMPT)
    added = change(torch.zeros(1, 4, 32), AT, 0)[0, 2]
    torch.testing.assert_close(added, 2.0 * found.vector, atol=1e-4, rtol=0)


def test_with_context_the_recipe_names_the_hypernetwork(tiny_session):
    trained = trained_for(tiny_session, "in_context")
    found = sentence_vector(trained, tiny_session, "the bear", PROMPT)
    change = operator_from_recipe(change_of(found, "d" * 32, trained, 2.0))
    assert change == SteerBySentence(AT, "d" * 32, "the bear", 2.0)


def test_a_kept_vector_is_on_the_shelf_under_its_name(home, tiny_session):
    trained = trained_for(tiny_session)
    found = sentence_vector(trained, tiny_session, "the bear")
    kept = keep_vector(found, "small", trained, "my bear")
    assert torch.equal(read_vectors(find_shelved("vectors", "my bear").folder).vectors[AT], found.vector)
    assert kept.fits(tiny_session.fingerprint)


def test_a_typed_sentence_shows_its_vector_and_goes_into_the_recipe(home, tiny_session):
    shelve_hypernetwork(tiny_session, home, "small", "no_context")
    app = drawn(ADDER)
    app.text_input(key="steerscope.add.sentence.text").set_value("the bear").run()
    assert not app.error
    assert "promotes" in str(app.table[0].value)
    app.button(key="steerscope.add.sentence.go").click().run()
    (recipe,) = json.loads(app.json[-1].value)
    assert (recipe["kind"], recipe["name"], recipe["unit"]) == ("step", "the bear", "relative")


@pytest.mark.parametrize("variant", ["in_context", "cross_attention"])
def test_a_vector_that_depends_on_the_prompt_says_by_how_much_and_the_recipe_makes_it_anew(home, tiny_session, variant):
    digest = shelve_hypernetwork(tiny_session, home, "small", variant)
    app = drawn(ADDER)
    app.text_input(key="steerscope.add.sentence.text").set_value("the bear").run()
    assert not app.error
    trained, prompt = trained_for(tiny_session, variant), tiny_session.tokens("a cat sat", True)
    found, without = (sentence_vector(trained, tiny_session, "the bear", one).vector for one in (prompt, ()))
    cosine = float(torch.nn.functional.cosine_similarity(found, without, dim=0))
    assert f"cosine {cosine:+.2f} with the vector behind no prompt" in str(app.table[0].value)
    assert any("of this text alone" in one.value for one in app.caption)
    app.button(key="steerscope.add.sentence.go").click().run()
    (recipe,) = json.loads(app.json[-1].value)
    assert (recipe["kind"], recipe["hypernetwork"], recipe["sentence"]) == ("hypernetwork", digest, "the bear")


@pytest.mark.parametrize("sentence", ["sea " * 2500, "b" * 900])
def test_a_sentence_that_is_too_long_gets_a_sentence(home, tiny_session, sentence):
    shelve_hypernetwork(tiny_session, home, "small", "no_context")
    app = drawn(ADDER)
    app.text_input(key="steerscope.add.sentence.text").set_value(sentence).run()
    assert not app.exception
    assert "at most" in app.error[0].value


def test_a_model_without_a_hypernetwork_says_where_to_get_one(home):
    assert "trained on this model" in drawn(ADDER).caption[0].value


def test_the_page_shows_scores_and_curves(home, tiny_session):
    shelve_hypernetwork(tiny_session, home, "small", "no_context")
    folder = find_shelved("hypernetworks", "small").folder
    gains = {"gain_held_in": 0.2, "other_held_in": 0.1, "gain_held_out": 0.1, "other_held_out": 0.1}
    write_curve(folder, [{"step": 1.0 + n, "loss": 2.0, **gains} for n in range(3)])
    (folder / "evaluation.json").write_text(json.dumps(report()))
    app = drawn(PAGE)
    assert not app.error
    said = " ".join(one.value for one in app.markdown)
    assert "trained on 5 concepts of the model tiny llama, with 1 held out" in said
    assert "it beats the random vector" in said


def test_the_page_shows_a_comparison_of_variants_where_there_is_one(home, tiny_session):
    folder = find_shelved("hypernetworks", shelve_hypernetwork(tiny_session, home, "small", "no_context")).folder
    (folder / "evaluation.json").write_text(json.dumps(report()))
    told = {"small": "hypernetwork in context, learnt from 40 concepts", "random vector": "a random direction"}
    (folder / "variants.json").write_text(json.dumps({**report(), "contestants": told}))
    app = drawn(PAGE)
    assert "Variants and losses" in [one.label for one in app.expander]
    said = [one.value.replace("\\", "") for one in app.caption]
    assert f"small: {told['small']}. Measured as above." in said


def test_the_page_of_an_empty_shelf_says_what_to_do(home):
    app = drawn(PAGE)
    assert not app.error
    assert app.caption[0].value.startswith("No hypernetwork is on the shelf")


def test_an_evaluation_that_cannot_be_read_is_as_none(tmp_path):
    assert pictures.read_evaluation(tmp_path) is None
    (tmp_path / "evaluation.json").write_text("[")
    assert pictures.read_evaluation(tmp_path) is None


def test_the_pictures_have_every_number_and_the_curve_its_own_alone():
    dots = pictures.scores(report()).figure
    assert list(dots.layout.yaxis.ticktext) == ["small", "random vector"]
    assert [list(trace.x) for trace in dots.data] == [[0.9, 0.2], [0.5, 0.2]]
    over = pictures.over_concepts(report()).figure
    held_out = next(trace for trace in over.data if trace.name == "held out")
    assert (list(held_out.x), list(held_out.y)) == ([10, 40], [0.4, 0.5])
    assert pictures.rows(report())[1][3] == "0.40 to 0.60"


def test_gains_are_drawn_over_the_number_of_concepts(tmp_path):
    found = {"mean": 0.1, "low": 0.0, "high": 0.2}
    rows = [{"n_learnt": n, "held_in": {"specific": found}, "held_out": {"specific": found}} for n in (30, 10)]
    (tmp_path / "gains.json").write_text(json.dumps({"rows": rows}))
    drawn = pictures.gains_over_concepts(pictures.read_gains(tmp_path)).figure
    held_out = next(trace for trace in drawn.data if trace.name == "held out")
    assert (list(held_out.x), list(held_out.y)) == ([10, 30], [0.1, 0.1])
    assert pictures.gains_over_concepts(pictures.read_gains(tmp_path / "none")) is None


def test_the_job_is_the_command_line_with_what_differs(home, monkeypatch):
    monkeypatch.setattr(resources, "is_allowed", lambda name: True)
    write_concepts(small_concepts(), home / "words.json")
    recipe = hypernet_recipe("mine", "stories", str(home / "words.json"), str(AT), n_heads=2, n_steps=7)
    assert recipe["recipe"] == {"n_heads": 2, "n_steps": 7}
    command = training_command(recipe)
    assert command[command.index("cli.py") :][:3] == ["cli.py", "hypernet", "train"]
    assert command[-4:] == ["--n-heads", "2", "--n-steps", "7"]


def test_the_form_asks_for_a_variant_and_a_loss(home, monkeypatch):
    submitted = []
    monkeypatch.setattr("ui.hypernet_form.queue", lambda: SimpleNamespace(submit=lambda *job: submitted.append(job)))
    monkeypatch.setattr("ui.hypernet_form.hypernet_recipe", lambda *asked, **changes: changes)
    app = drawn(PAGE)
    choices = {one.label: one for one in app.selectbox}
    choices["It"].set_value("cross_attention")
    choices["It learns by"].set_value("reconstruction")
    next(one for one in app.button if one.label == "Start").click().run()
    ((_, changes, *_),) = submitted
    assert (changes["variant"], changes["loss"]) == ("cross_attention", "reconstruction")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": "../up"}, "small letters, digits and hyphens"),
        ({"model": "someone/else"}, "was not opened here yet"),
        ({"concepts": "no such"}, "no file no such"),
        ({"n_heads": 5}, "5 heads must divide"),
        ({"n_steps": 0}, "n_steps must be at least 1"),
    ],
)
def test_a_training_that_cannot_be_is_refused_before_it_runs(home, changed, message):
    write_concepts(small_concepts(), home / "words.json")
    asked = {"name": "mine", "model": "stories", "concepts": str(home / "words.json"), "hook": str(AT), "n_heads": 2}
    with pytest.raises(UserError, match=message):
        hypernet_recipe(**{**asked, **changed})


def test_words_of_the_tests_are_those_of_the_set():
    assert tuple(one.name for one in small_concepts().concepts) == WORDS
