"""The form that trains an SAE: what it asks for becomes a job, and what cannot be gets a sentence."""

import json
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from capture.errors import UserError
from sae.library import save_sae
from sae.row_choice import RowChoice
from sae.sae_recipe import SaeRecipe
from tests.saes import made
from ui import job_kinds
from ui.job import JobKind, Outcome
from ui.sae_form import sae_training_recipe

ASKED = {
    "name": "mine",
    "model": "stories",
    "layer": 3,
    "site": "mlp_out",
    "kind": "matryoshka",
    "d_sae": 512,
    "k": 8,
    "m_rows": 0.5,
    "skip_first": False,
    "massive_ratio": 5.0,
}


@pytest.fixture
def text(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    (tmp_path / "tale.txt").write_text("A cat sat.")
    return tmp_path


def test_the_recipe_says_what_was_asked_for(text):
    recipe = sae_training_recipe(**ASKED, text=str(text))
    assert recipe["hook"] == "blocks.3.hook_mlp_out"
    assert recipe["out"] == str((text / "home" / "saes" / "mine").resolve())
    given = SaeRecipe(**recipe["recipe"])
    assert given == SaeRecipe(kind="matryoshka", d_sae=512, k=8, total_rows=500_000)
    assert RowChoice(**recipe["rows"]) == RowChoice(skip_first=False, massive_ratio=5.0)


REFUSED = {
    "k beyond d_sae": ({"k": 513}, "k must be from 1 to d_sae = 512"),
    "a path as name": ({"name": "../up"}, "small letters, digits and hyphens"),
    "no text": ({"text": "/no/such"}, "must have .txt files"),
    "a model of a link": ({"model": "someone/else"}, "was not opened here yet"),
    "no such site": ({"site": "nowhere"}, "No site"),
}


@pytest.mark.parametrize(("changed", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(text, changed, words):
    with pytest.raises(UserError, match=words):
        sae_training_recipe(**{**ASKED, "text": str(text), **changed})


def test_a_name_in_use_is_refused(text):
    save_sae(made("topk"), text / "home" / "saes" / "mine")
    with pytest.raises(UserError, match="is here already"):
        sae_training_recipe(**ASKED, text=str(text))


def form() -> None:
    from ui.sae_form import train_sae_form

    train_sae_form()


def test_the_form_puts_the_training_into_the_queue(text, monkeypatch):
    kind = JobKind(job_kinds.TRAIN_SAE, "program", lambda recipe, progress: Outcome(""))
    monkeypatch.setitem(job_kinds.KINDS, job_kinds.TRAIN_SAE, kind)
    monkeypatch.setattr("ui.resources.store", lambda: None)
    job_kinds.queue.clear()
    app = AppTest.from_function(form, default_timeout=60).run()
    app.button[0].click().run()
    assert "small letters" in app.error[0].value
    app.text_input[0].set_value("mine")
    app.text_input[1].set_value(str(text))
    app.number_input[1].set_value(64)
    app.number_input[2].set_value(4)
    app.button[0].click().run()
    assert not app.error
    mine = job_kinds.queue().jobs(f"browser {app.session_state['steerscope'].visitor}")
    asked = [json.loads(one.row.recipe) for one in mine]
    job_kinds.queue().close()
    assert [(one["model"], one["recipe"]["d_sae"], one["recipe"]["k"]) for one in asked] == [("stories", 64, 4)]
    job_kinds.queue.clear()
