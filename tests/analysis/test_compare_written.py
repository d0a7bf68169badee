"""Two views of the steering lab beside each other: where their texts part, what each costs, which fields differ."""

from dataclasses import replace

import numpy as np
import pytest

from analysis.compare import REPORT_LENS
from analysis.compare_written import side_of
from analysis.lens import comparable_lens, find_lens
from analysis.pipeline import run
from analysis.report import Report, read_report
from analysis.spec import Spec, to_code
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import AddVector
from steering.recipe import Step

TEXT = "the bear sat"
VECTOR = AddVector(HookPoint(1, "resid_post"), tuple(np.random.default_rng(0).normal(size=32).tolist()), 1.0)
OPTIONS = {"tokens": 8, "panes": "1, -1", "temperature": 0.0}


def spec_of(strength: float, **fields) -> Spec:
    recipe = Step("push", (VECTOR,), strength=strength).recipe()
    return Spec("steering_lab", text=TEXT, options=OPTIONS, interventions=(recipe,)).with_(**fields)


@pytest.fixture(scope="module")
def report_of(tiny_session):
    return lambda *given, **fields: run(spec_of(*given, **fields), lambda *_: tiny_session, None).report


def compared(left: Report, right: Report) -> Report:
    measured = REPORT_LENS.combine((left, right), {})
    return Report(Spec("compare"), {}, measured.numbers, measured.arrays, measured.findings)


def test_equal_recipes_write_the_same_and_say_so(report_of):
    report = compared(report_of(1.0), report_of(1.0))
    assert report.numbers["notes"] == ["Nothing differs in what was written."]
    assert report.numbers["differences"] == []
    assert [pair["departs"] for pair in report.numbers["pairs"]] == [None, None, None]
    assert [finding.magnitude for finding in report.findings] == [0.0, 0.0]


def test_a_strength_is_told_as_one_field_and_each_pane_by_where_its_texts_part(report_of):
    left, right = report_of(1.0), report_of(40.0)
    report = compared(left, right)
    (row,) = [one for one in report.numbers["differences"] if "intervention" not in one["what"]]
    assert (row["what"], row["left"], row["right"]) == ("1 push: strength", "1", "40")
    for pair in report.numbers["pairs"]:
        texts = [one.numbers["panes"][pair["left"]]["tokens"] for one in (left, right)]
        parts = [step for step, (a, b) in enumerate(zip(*texts, strict=False)) if a != b]
        assert pair["departs"] == (parts[0] if parts else None)
        costs = [float(one.arrays["mean_kl"][pair["left"]]) for one in (left, right)]
        assert [pair["left_kl"], pair["right_kl"]] == pytest.approx(costs)
    assert report.numbers["pairs"][0]["departs"] is None
    assert "The clean texts are the same." in report.numbers["notes"]


def test_panes_are_paired_by_their_multiple(report_of):
    report = compared(report_of(1.0), report_of(1.0, options=OPTIONS | {"panes": "2, 1"}))
    assert [(pair["left"], pair["right"]) for pair in report.numbers["pairs"]] == [(0, 0), (1, 2)]
    assert report.numbers["notes"][-1].startswith("Panes at a multiple")


def test_each_side_is_its_own_view_again(report_of):
    left, right = report_of(1.0), report_of(2.0)
    report = compared(left, right)
    for side, one in (("left", left), ("right", right)):
        again = side_of(report, side)
        assert again.numbers["panes"] == one.numbers["panes"]
        assert again.arrays.keys() == one.arrays.keys()
        for name, array in one.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], array)


def test_text_sets_are_compared_by_how_many_texts_are_the_same(report_of):
    left, right = (report_of(one, text="", text_set="tour") for one in (1.0, 40.0))
    report = compared(left, right)
    rows = [one.numbers["texts"] for one in (left, right)]
    for pair in report.numbers["pairs"]:
        same = sum(a["panes"][pair["left"]] == b["panes"][pair["left"]] for a, b in zip(*rows, strict=True))
        assert pair["n_same"] == same
    assert report.numbers["pairs"][0]["n_same"] == len(rows[0])


def test_another_step_is_told_in_a_few_words(report_of):
    other = Step("pull", (VECTOR,), strength=2.0).recipe()
    report = compared(report_of(1.0), report_of(1.0, interventions=(other,)))
    (row,) = report.numbers["differences"]
    assert row == {"what": "intervention 1", "left": "push: strength 1", "right": "pull: strength 2"}


def test_a_view_without_panes_is_refused(report_of):
    whole = report_of(1.0)
    with pytest.raises(UserError, match="say what its panes wrote"):
        compared(whole, replace(whole, numbers={**whole.numbers, "panes": None}))


def test_links_of_the_lab_run_through_the_pipeline(tiny_session):
    sides = {side: to_code(spec_of(strength)) for side, strength in (("left", 1.0), ("right", 2.0))}
    report = run(Spec("compare", options=sides), lambda *_: tiny_session, None).report
    assert report.numbers["lens"] == "steering_lab"
    assert read_report(report.to_json()).to_json() == report.to_json()
    axes = {one.name: one.axes for one in REPORT_LENS.quantities}
    assert all(array.ndim == len(axes[name]) for name, array in report.arrays.items())


def test_views_of_all_pages_are_still_compared_by_layer_and_token():
    assert find_lens("steering_lab").is_comparable
    assert comparable_lens() != "steering_lab"
