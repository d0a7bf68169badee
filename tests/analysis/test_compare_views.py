"""Comparing by links: each side is opened from its link, from a kept view, or from the store, on a real lens."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.link import Link
from analysis.link_words import link_words
from analysis.pipeline import run
from analysis.shared_view import changes_since, keep_view, view_of
from analysis.spec import Spec, to_code
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.store import ActivationStore

SHORT = Spec("outliers", text="the bear sat on the mat")
LONGER = SHORT.with_(text="the old bear sat on the mat")


@pytest.fixture
def load(tiny_session):
    return lambda name, dtype: tiny_session


@pytest.fixture
def store(tmp_path):
    store = ActivationStore.open(tmp_path / "store.duckdb")
    yield store
    store.close()


def comparing(left: Spec | str, right: Spec | str) -> Spec:
    texts = [one if isinstance(one, str) else to_code(one) for one in (left, right)]
    return Spec("compare", options=dict(zip(("left", "right"), texts, strict=True)))


def refuse(name, dtype):
    raise AssertionError("the model was loaded")


def test_both_sides_have_the_numbers_of_their_own_views(load):
    report = run(comparing(SHORT, LONGER), load, None).report
    names = [one["name"] for one in report.numbers["quantities"]]
    for side, spec in (("left", SHORT), ("right", LONGER)):
        own = run(spec, load, None).report.arrays
        rows = [row for row, pos in enumerate(report.numbers[f"{side}_pos"]) if pos is not None]
        for place, name in enumerate(names):
            np.testing.assert_array_equal(report.arrays[side][place][:, rows], own[name])


def test_an_intervention_shows_from_its_block_and_position_on(load):
    recipe = {"kind": "add_vector", "at": str(HookPoint(1, "resid_post")), "vector": [1.0] * 32, "strength": 4.0}
    changed = SHORT.with_(interventions=({**recipe, "from_pos": 3},))
    report = run(comparing(SHORT, changed), load, None).report
    # The largest magnitude of a token is its own; its share of the layer's norm is everybody's.
    moved = report.arrays["change"][[one["name"] for one in report.numbers["quantities"]].index("max_abs")] != 0
    assert not moved[0].any()
    assert not moved[:2, :3].any()
    assert moved[1, 3:].all()
    assert report.numbers["differences"][0]["what"] == "intervention 1"


def test_a_view_with_itself_says_that_nothing_differs(load):
    report = run(comparing(SHORT, Link(SHORT).address("http://127.0.0.1/outliers")), load, None).report
    assert report.numbers["notes"][0].startswith("Nothing differs")
    assert not report.arrays["change"].any()


def test_kept_views_are_compared_without_their_model(load, store):
    views = [view_of(spec, [run(spec, load, None).report]) for spec in (SHORT, LONGER)]
    kept = run(comparing(*(keep_view(view, store) for view in views)), refuse, store).report
    assert kept.digest() == run(comparing(SHORT, LONGER), load, None).report.digest()


def test_a_comparison_is_found_in_the_store_the_second_time(load, store):
    first, second = (run(comparing(SHORT, LONGER), load, store) for _ in range(2))
    assert (first.source, second.source) == ("fresh", "store")
    assert first.report.to_json() == second.report.to_json()


def test_the_landing_page_is_compared_by_its_first_lens(load):
    home = [spec.with_(lens="what_stands_out") for spec in (SHORT, LONGER)]
    assert run(comparing(*home), load, None).report.numbers["lens"] == "outliers"


def test_a_kept_comparison_names_the_side_whose_model_changed(load, store):
    report = run(comparing(SHORT, LONGER), load, store).report
    view, name = view_of(report.spec, [report]), report.facts["model"]
    fingerprint = report.facts["sides"][0]["fingerprint"]
    assert changes_since(view, {name: fingerprint}) == ()
    assert changes_since(view, {name: "0" * 32}) == (
        f"The model {name} was {fingerprint[:8]} then and is 00000000 now.",
    )


def test_nothing_is_said_of_a_model_that_was_run_in_two_forms(load):
    report = run(comparing(SHORT, LONGER), load, None).report
    sides = [{**side, "fingerprint": name * 16} for side, name in zip(report.facts["sides"], "ab", strict=True)]
    view = view_of(report.spec, [replace(report, facts={**report.facts, "sides": sides})])
    assert changes_since(view, {report.facts["model"]: "a" * 16}) == ()


@pytest.mark.parametrize(
    ("text", "words"),
    {
        "a code": (to_code(SHORT.with_(bos=False)), "Outliers · stories · “the bear sat on the mat” · BOS left out"),
        "an address": (Link(SHORT.with_(text_set="tour")).address("http://x/"), "Outliers · stories · text set tour"),
        "an id": ("0" * 20, f"kept view {'0' * 20}"),
        "nothing": (" ", ""),
        "noise": ("noise", ""),
    }.values(),
)
def test_a_link_is_told_in_words(text, words):
    assert link_words(text) == words


@pytest.mark.parametrize(
    ("right", "words"),
    {
        "missing": ("", "The right view is missing"),
        "noise": ("not a link", "cannot be read"),
        "not kept": ("0" * 20, "No view 0{20} is kept here"),
        "a comparison": (comparing(SHORT, LONGER), "A view of Compare cannot be compared"),
        "a text set": (Spec("outliers", text_set="tour"), "one of each was given"),
    }.values(),
)
def test_a_side_that_cannot_be_compared_gets_a_sentence(load, store, right, words):
    with pytest.raises(UserError, match=words):
        run(comparing(SHORT, right), load, store)
