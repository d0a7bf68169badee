"""The steering lab, run without a browser: its empty state, links, panes, errors and exports."""

import contextlib
import json
import random
from dataclasses import replace
from importlib import import_module
from threading import Event

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from analysis.pipeline import run
from analysis.shared_view import view_of
from analysis.spec import Spec, from_code, to_code
from analysis.tables import tables
from analysis.view_file import read_view_file
from capture.hook_point import HookPoint
from capture.intervention import AddVector
from tests.hostile import changed
from tests.ui.test_pages import APP, BAD_LINKS, load, open_app, shown
from ui import answers, lab_reach, lab_tour, resources, state
from ui.components.text_panes import Pane, text_panes
from ui.figures import pictures_of, sentences_of, strip_of, tables_of
from ui.lab_panes import panes_of
from ui.lab_reach import reaches_page
from ui.recipe_edit import as_step
from ui.session import Session
from ui.view_html import view_html
from ui.view_sections import UNREADABLE

__all__ = ["load", "open_app"]

TEXT = "the bear sat"
VECTOR = AddVector(HookPoint(1, "resid_post"), tuple(np.random.default_rng(0).normal(size=32).tolist()), 1.5)
SPEC = Spec("steering_lab", text=TEXT, options={"tokens": 8, "panes": "1, -1"}, interventions=(VECTOR.recipe(),))
STEP = as_step(VECTOR.recipe())
HOSTILE = "<img src=x onerror=alert(1)>"


class Mounted:
    """Stands in for the component in the browser: keeps what it was sent."""

    def __init__(self, event=None):
        self.event, self.sent = event, []

    def __call__(self, *, data, **_):
        self.sent.append(data)
        return {"pin": self.event}


@pytest.fixture
def mounted(monkeypatch):
    stand_in = Mounted()
    monkeypatch.setattr(import_module("ui.components.text_panes"), "_mount", stand_in)
    return stand_in


@pytest.fixture(scope="module")
def report(tiny_session):
    return run(SPEC, lambda *_: tiny_session, None).report


def said(app) -> str:
    return " ".join(element.value for element in (*app.markdown, *app.caption)).replace("\\", "")


def test_an_empty_recipe_gets_one_sentence_and_one_button(open_app):
    app = open_app(Spec("steering_lab", text=TEXT))
    assert not app.exception
    assert not app.error
    assert "The recipe is empty" in said(app)
    assert any(button.label.startswith("Fill the lab") for button in app.button)


def test_the_page_sends_the_reports_tokens_and_heat_to_the_browser(open_app, mounted, report):
    app = open_app(SPEC)
    assert not app.error
    sent = mounted.sent[-1]
    assert [pane["tokens"] for pane in sent["panes"]] == [pane["tokens"] for pane in report.numbers["panes"]]
    assert [pane["title"] for pane in sent["panes"]] == ["clean", "× 1", "× −1"]
    assert (sent["panes"][0]["kl"], sent["is_live"], sent["is_stale"]) == (None, False, False)
    assert sent["span"] == [0.0, pytest.approx(float(np.nanmax(report.arrays["kl"])))]
    assert report.numbers["sentence"] in said(app)


def test_a_link_restores_prompt_options_recipe_and_pin(open_app, mounted):
    first = shown(open_app(SPEC.with_(bos=False, pins={"pane": 1, "step": 2})))
    again = open_app(first)
    assert not again.error
    assert shown(again) == first
    assert (first.options, first.interventions, first.bos) == (SPEC.options, SPEC.interventions, False)
    assert mounted.sent[-1]["pinned"] == (1, 2)
    assert again.text_area(key="steerscope.lab_prompt").value == TEXT
    assert again.number_input(key="steerscope.near.tokens").value == 8


@pytest.mark.parametrize("name", ["cut", "noise", "too long"])
def test_a_bad_link_gets_one_sentence(open_app, name):
    app = open_app(BAD_LINKS[name])
    assert not app.exception
    assert len(app.error) == 1


def test_another_number_of_tokens_is_written_at_once(open_app, mounted):
    app = open_app(SPEC)
    app.number_input(key="steerscope.near.tokens").set_value(3).run()
    assert not app.error
    assert shown(app).options["tokens"] == 3
    assert [len(pane["tokens"]) for pane in mounted.sent[-1]["panes"]] == [3, 3, 3]


def test_the_next_seed_is_one_press_away(open_app, mounted):
    app = open_app(SPEC)
    next(button for button in app.button if button.label == "Next seed").click().run()
    assert not app.error
    assert shown(app).options["seed"] == 1
    assert mounted.sent[0]["panes"] != mounted.sent[-1]["panes"]


@pytest.mark.parametrize(
    ("key", "given", "words"),
    [("near.panes", "1, x", "one to three multiples"), ("lab_prompt", "", "at least one character")],
)
def test_a_refused_change_leaves_the_text_before(open_app, mounted, key, given, words):
    app = open_app(SPEC)
    before = app.query_params["view"]
    field = app.text_area if key == "lab_prompt" else app.text_input
    field(key=f"steerscope.{key}").set_value(given).run()
    assert not app.exception
    assert words in app.error[0].value.replace("\\", "")
    assert app.query_params["view"] == before
    assert mounted.sent[-1]["panes"] == mounted.sent[0]["panes"]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"kind": "nothing"}, "No intervention is of kind"),
        ({**VECTOR.recipe(), "at": "blocks.9.hook_resid_post"}, "Layer 9 does not exist"),
        ({**VECTOR.recipe(), "vector": [1.0]}, "must have 32 entries"),
        ({**VECTOR.recipe(), "strength": 3e38}, "Lower the strength"),
        ({**VECTOR.recipe(), "strength": "x"}, "cannot be read"),
    ],
)
def test_a_bad_recipe_in_a_link_gets_a_sentence(open_app, recipe, words):
    app = open_app(SPEC.with_(interventions=(recipe,)))
    assert not app.exception
    assert words in app.error[0].value.replace("\\", "")


def test_a_text_set_shows_each_text_and_the_means(open_app, tiny_session):
    spec = SPEC.with_(text="", text_set="tour", options={"tokens": 2})
    app = open_app(spec)
    assert not app.exception
    assert not app.error
    report = run(spec, lambda *_: tiny_session, None).report
    assert report.numbers["sentence"] in said(app)
    assert sum("border-left" in one.proto.body for one in app.get("html")) == 2 * report.numbers["n_texts"]


def test_stop_keeps_what_is_asked_for_and_what_is_shown(open_app, mounted, monkeypatch):
    app = open_app(SPEC)
    monkeypatch.setattr(answers, "PATIENCE_S", 0.0)
    monkeypatch.setattr(answers, "answers_of", lambda asked, load, progress, on_partial: wait_for_ever(progress))
    app.number_input(key="steerscope.near.seed").set_value(5).run()
    assert mounted.sent[-1]["is_stale"]
    app.button(key="steerscope.lab-stop").click().run()
    assert not app.error
    assert "Stopped." in said(app)
    assert app.number_input(key="steerscope.near.seed").value == 5
    assert shown(app).options.get("seed", 0) == 0


def wait_for_ever(progress):
    import time

    while True:
        progress(0.5, "token 1 of 8")
        time.sleep(0.01)


def test_partial_texts_are_shown_as_live(open_app, mounted, monkeypatch):
    app = open_app(SPEC)
    monkeypatch.setattr(answers, "PATIENCE_S", 0.2)

    def write(asked, load, progress, on_partial):
        on_partial({"tokens": ["the"], "special": [False], "titles": ["clean", "× 1"], "panes": [[" a"], [HOSTILE]]})
        wait_for_ever(progress)

    monkeypatch.setattr(answers, "answers_of", write)
    app.number_input(key="steerscope.near.seed").set_value(6).run()
    assert mounted.sent[-1]["is_live"]
    assert [pane["tokens"] for pane in mounted.sent[-1]["panes"]] == [[" a"], [HOSTILE]]
    app.button(key="steerscope.lab-stop").click().run()
    assert not app.error


def test_the_tour_fills_the_lab_with_the_vector_at_its_chosen_strength(open_app, monkeypatch):
    monkeypatch.setattr(answers, "_job_for", refuse)
    app = open_app(Spec("steering_lab", text=TEXT))
    next(button for button in app.button if button.label.startswith("Fill the lab")).click().run()
    asked = app.session_state[state._KEY].asked
    (step,) = asked.interventions
    assert (step["kind"], step["strength"], step["unit"]) == ("step", 0.1, "relative")
    assert (asked.text, dict(asked.options)) == (lab_tour.PROMPT, lab_tour.OPTIONS)
    assert (
        json.loads((lab_tour_folder() / "manifest.json").read_text())["scores"]["chosen_strength"] == step["strength"]
    )


def lab_tour_folder():
    from steering.shelf import find_shelved

    return find_shelved("vectors", lab_tour.VECTOR).folder


def refuse(asked):
    from capture.errors import UserError

    raise UserError("Not run here.", "Not needed.")


def test_figures_and_tables_hold_the_reports_numbers(report):
    (picture,) = pictures_of(report, {})
    for pane, trace in enumerate(picture.figure.data, start=1):
        np.testing.assert_allclose(trace.y, report.arrays["kl"][pane])
    (table,) = tables_of(report)
    assert [row[0] for row in table.rows] == ["clean", "× 1", "× −1"]
    np.testing.assert_array_equal(strip_of(report, {}).values, report.arrays["kl"][1])
    assert strip_of(report, {"pane": 1, "step": 3}).pinned == 3
    assert strip_of(report, {"pane": 1, "step": 300}).pinned is None
    assert sentences_of(report)[1].lines[0].endswith(report.numbers["panes"][1]["text"])


def test_exported_tables_have_a_row_for_each_pane_and_step(report):
    made = tables(report)
    assert made["pane_step"].num_rows == 3 * 8
    assert made["pane_step_rank"].num_rows == 3 * 8 * 5
    assert made["pane"].column("multiple").to_pylist() == [0.0, 1.0, -1.0]


def hostile(report):
    numbers = json.loads(json.dumps(dict(report.numbers)))
    for pane in numbers["panes"]:
        pane["tokens"] = [HOSTILE] * len(pane["tokens"])
        pane["text"] = HOSTILE
        pane["top"] = pane["top_clean"] = [[HOSTILE] * 5] * len(pane["tokens"])
    return replace(report, numbers=numbers | {"tokens": [HOSTILE], "special": [False], "sentence": HOSTILE})


def test_hostile_tokens_are_escaped_in_the_page_and_the_figure(report):
    bad = hostile(report)
    page = view_html(view_of(bad.spec, [bad]))
    assert HOSTILE not in page
    assert "&lt;img" in page
    assert HOSTILE not in pictures_of(bad, {})[0].figure.to_json()


def test_hostile_tokens_reach_the_browser_as_data_alone(report, mounted):
    text_panes(panes_of(hostile(report)), [(HOSTILE, False)], key="k", label="l", unit="u", span=(0.0, 1.0))
    assert mounted.sent[0]["panes"][1]["tops"][0]["steered"][0][0] == HOSTILE
    assert "\ud800" not in json.dumps(
        text_panes([Pane("a", "#000", ["\ud800"])], [], key="k", label="l", unit="u", span=None)
        or mounted.sent[-1]["panes"][0]["tokens"],
        ensure_ascii=False,
    )


@pytest.mark.parametrize("place", [None, [0], [0, 99], [9, 0], ["a", 1], [True, 0], "x", [0, -1]])
def test_a_place_that_is_none_is_not_pinned(mounted, place):
    mounted.event = {"place": place}
    assert text_panes([Pane("a", "#000", ["x", "y"])], [], key="k", label="l", unit="u", span=None) is None


def test_a_pane_needs_one_heat_a_token(mounted):
    with pytest.raises(ValueError, match="one heat a token"):
        text_panes([Pane("a", "#000", ["x"], heat=[1.0, 2.0])], [], key="k", label="l", unit="u", span=None)


def test_a_kept_view_shows_its_own_text_and_runs_nothing(load, mounted, monkeypatch, report):
    view = view_of(report.spec, [report])
    monkeypatch.setattr(resources, "kept_view", lambda identity: read_view_file(view.to_bytes()))
    load.clear()
    app = AppTest.from_file(str(APP), default_timeout=90)
    app.query_params["id"] = view.id
    app.run()
    assert not app.exception
    assert not app.error
    assert [pane["tokens"] for pane in mounted.sent[-1]["panes"]] == [
        pane["tokens"] for pane in report.numbers["panes"]
    ]
    assert app.query_params["id"] == view.id


def test_the_first_text_is_shown_as_it_comes(open_app, mounted, monkeypatch):
    resources.warm_up()
    monkeypatch.setattr(answers, "PATIENCE_S", 0.2)

    def write(asked, load, progress, on_partial):
        on_partial({"tokens": ["the"], "special": [False], "titles": ["clean", "× 1"], "panes": [[" a"], [" b"]]})
        wait_for_ever(progress)

    monkeypatch.setattr(answers, "answers_of", write)
    app = open_app(SPEC)
    assert not app.exception
    assert [pane["tokens"] for pane in mounted.sent[-1]["panes"]] == [[" a"], [" b"]]
    app.button(key="steerscope.lab-stop").click().run()
    assert not app.exception
    assert "Stopped." in said(app)
    assert any(button.label == "Run" for button in app.button)


def test_compare_takes_the_view_as_it_is_and_puts_two_of_them_side_by_side(open_app, mounted):
    app = open_app(SPEC)
    app.button(key="steerscope.compare").click().run()
    assert not app.exception
    left = from_code(shown(app).options["left"])
    assert (left.lens, left.text, left.options, left.interventions) == (
        "steering_lab",
        TEXT,
        SPEC.options,
        SPEC.interventions,
    )


def test_two_views_of_the_lab_are_compared_pane_by_pane(open_app, mounted, report):
    other = SPEC.with_(interventions=(STEP | {"strength": 40.0},))
    left = SPEC.with_(interventions=(STEP,))
    app = open_app(Spec("compare", options={"left": to_code(left), "right": to_code(other)}))
    assert not app.exception
    assert not app.error
    assert [[pane["title"] for pane in sent["panes"]] for sent in mounted.sent[-2:]] == [["clean", "× 1", "× −1"]] * 2
    assert mounted.sent[-1]["span"] == mounted.sent[-2]["span"]
    assert [pane["tokens"] for pane in mounted.sent[-2]["panes"]] == [
        pane["tokens"] for pane in report.numbers["panes"]
    ]
    assert "The clean texts are the same." in said(app)
    assert "Left, × 1" in "".join(view_of_page(app))


def view_of_page(app) -> list[str]:
    """The headings of what an export would say of the comparison on screen."""
    answered = app.session_state[state._KEY].answers
    (only,) = next(reversed(answered.values()))
    return [one.title for one in sentences_of(only.report)]


@pytest.mark.parametrize("seed", range(40))
def test_damaged_numbers_are_drawn_or_refused_as_unreadable(report, seed):
    numbers = changed(random.Random(seed), json.loads(json.dumps(dict(report.numbers))))
    bad = replace(report, numbers=numbers)
    for draw in (panes_of, strip_of, pictures_of, tables_of, sentences_of):
        with contextlib.suppress(*UNREADABLE):
            draw(bad, *([{}] if draw in (strip_of, pictures_of) else []))


CHANGED = {
    "a strength": ({"interventions": (STEP | {"strength": 2.0},)}, False),
    "a seed": ({"options": {"seed": 3}}, False),
    "a prompt": ({"text": "the bear"}, False),
    "a step more": ({"interventions": (STEP, STEP)}, True),
    "no step": ({"interventions": ()}, True),
    "another precision": ({"dtype": "bfloat16"}, True),
    "a text set": ({"text_set": "tour"}, True),
}


@pytest.mark.parametrize(("fields", "reaches"), CHANGED.values(), ids=CHANGED)
def test_a_change_of_values_alone_leaves_the_page_until_it_is_answered(monkeypatch, fields, reaches):
    drawn = SPEC.with_(interventions=(STEP,))
    monkeypatch.setattr(state, "session", lambda: Session(asked=drawn))
    monkeypatch.setattr(lab_reach, "is_to_come", lambda asked: True)
    assert reaches_page(drawn, drawn.with_(**fields)) is reaches
    monkeypatch.setattr(lab_reach, "is_to_come", lambda asked: False)
    assert reaches_page(drawn, drawn.with_(**fields))


def test_a_stop_and_a_kept_view_reach_the_page(monkeypatch):
    session = Session(asked=SPEC)
    monkeypatch.setattr(state, "session", lambda: session)
    monkeypatch.setattr(lab_reach, "is_to_come", lambda asked: True)
    other = SPEC.with_(options={"seed": 3})
    assert not reaches_page(SPEC, other)
    session.is_idle = True
    assert reaches_page(SPEC, other)


def test_what_the_page_shows_already_is_not_asked_again(monkeypatch):
    session = Session(asked=SPEC)
    monkeypatch.setattr(state, "session", lambda: session)
    monkeypatch.setattr(lab_reach, "is_to_come", refuse)
    state.keep_answer(SPEC, ())
    assert not reaches_page(SPEC, SPEC.with_(pins={"pane": 1}))


def test_an_answer_is_to_come_from_its_first_part_until_it_ended(monkeypatch):
    session, go_on = Session(asked=SPEC), Event()
    monkeypatch.setattr(state, "session", lambda: session)
    monkeypatch.setattr(answers, "PATIENCE_S", 20.0)

    def write(asked, load, progress, on_partial):
        on_partial({"panes": [[" a"]]})
        go_on.wait(20)

    monkeypatch.setattr(answers, "answers_of", write)
    assert answers.is_to_come(SPEC)
    assert session.job.so_far == {"panes": [[" a"]]}
    go_on.set()
    assert session.job.wait(20)
    # The page has not looked at it yet, so that its poll goes on.
    assert (answers.is_to_come(SPEC), answers.is_under_way()) == (False, True)
