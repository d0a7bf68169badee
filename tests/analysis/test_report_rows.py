import numpy as np
import pytest

from analysis.outliers import LENS
from analysis.report import Finding, Report
from analysis.report_rows import MAX_ENTRIES, rows_of
from analysis.spec import Spec

FACTS = {"model": "m", "fingerprint": "f", "dtype": "float32", "bos": True, "n_tokens": 2}


def report_with(arrays, findings=()):
    return Report(Spec("outliers", "m", "a b"), FACTS, {"tokens": ["a", " b"]}, arrays, findings)


def statistics_of(arrays):
    return rows_of(report_with(arrays), LENS.quantities).statistics.to_pylist()


def row(quantity, value, layer=None, pos=None, axis=None, place=None):
    return {"quantity": quantity, "layer": layer, "pos": pos, "axis": axis, "place": place, "value": value}


def test_an_array_of_layers_and_tokens_has_one_row_for_each_entry():
    assert statistics_of({"max_abs": np.array([[1, 2], [3, 4]], dtype=np.float32)}) == [
        row("max_abs", 1.0, 0, 0),
        row("max_abs", 2.0, 0, 1),
        row("max_abs", 3.0, 1, 0),
        row("max_abs", 4.0, 1, 1),
    ]


def test_an_array_of_a_text_set_has_no_positions():
    assert statistics_of({"max_abs": np.array([5.0])}) == [row("max_abs", 5.0, 0)]


def test_a_third_axis_is_named_and_a_value_that_is_no_number_is_null():
    found = statistics_of({"sink_share": np.array([[np.nan, 0.5]])})
    assert found == [row("sink_share", None, 0, None, "head", 0), row("sink_share", 0.5, 0, None, "head", 1)]


def test_large_arrays_whole_vectors_and_unknown_arrays_are_left_out():
    arrays = {"max_abs": np.zeros((1, MAX_ENTRIES + 1)), "residual": np.zeros((1, 2, 3)), "unheard_of": np.zeros(3)}
    assert statistics_of(arrays) == []


def test_facts_tokens_and_findings_are_those_of_the_report():
    rows = rows_of(report_with({}, (Finding("large", 2.0, "x", 1.5),)), ())
    assert rows.facts.drop(["made_at"]).to_pylist() == [FACTS | {"lens": "outliers", "text": "a b", "text_set": ""}]
    assert rows.tokens.to_pylist() == [{"pos": 0, "token": "a"}, {"pos": 1, "token": " b"}]
    assert rows.findings.to_pylist() == [{"sentence": "large", "magnitude": 2.0, "unit": "x", "score": 1.5}]


@pytest.mark.parametrize(
    "quantity", [one for one in LENS.quantities if "dim" not in one.axes], ids=lambda one: one.name
)
def test_every_quantity_of_the_outliers_lens_fits_the_rows(quantity):
    array = np.zeros([1] * len(quantity.axes))
    (found,) = statistics_of({quantity.name: array})
    assert (found["quantity"], found["layer"]) == (quantity.name, 0 if "layer" in quantity.axes else None)
