"""Report: what is written is what is read."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis.report import Finding, Report, read_report
from analysis.spec import Spec
from capture.errors import UserError

DTYPES = ("float32", "float64", "int64", "int32", "int16", "uint16", "uint8", "bool")
words = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.dictionaries(words, st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | words, max_size=4)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
)
findings = st.builds(Finding, words, numbers, words, numbers, plain, words, st.lists(numbers, max_size=4).map(tuple))
reports = st.builds(
    Report,
    spec=st.builds(Spec, lens=st.just("outliers"), text=words, pins=plain),
    facts=plain,
    numbers=plain,
    arrays=st.dictionaries(words, arrays, max_size=3),
    findings=st.lists(findings, max_size=3).map(tuple),
)
FINDING = {"sentence": "a", "magnitude": 1.0, "unit": "", "score": 1.0, "place": {}, "lens": "", "series": []}


def small_report() -> Report:
    return Report(Spec("outliers", text="a"), {"n_tokens": 1}, {"found": 2}, {"heat": np.arange(6.0).reshape(2, 3)})


@given(reports)
def test_a_report_survives_json(report):
    again = read_report(report.to_json())
    assert (again.spec, again.facts, again.numbers) == (report.spec, report.facts, report.numbers)
    assert again.findings == report.findings
    for name, array in report.arrays.items():
        # assert_array_equal takes NaN in the same place as equal.
        np.testing.assert_array_equal(again.arrays[name], array, strict=True)
    assert again.arrays.keys() == report.arrays.keys()


@given(reports)
def test_writing_again_gives_the_same_bytes_and_digest(report):
    again = read_report(report.to_json())
    assert again.to_json() == report.to_json()
    assert again.digest() == report.digest()


@given(hnp.arrays("float32", (3, 4)))
def test_memory_layout_and_byte_order_do_not_change_the_bytes(array):
    turned = np.asfortranarray(array)
    swapped = array.astype(array.dtype.newbyteorder(">"))
    written = {Report(Spec("outliers"), {}, {}, {"heat": one}).to_json() for one in (array, turned, swapped)}
    assert len(written) == 1


def test_the_digest_is_of_the_numbers_and_not_of_the_facts():
    report = small_report()
    other_facts = Report(report.spec, {"n_tokens": 2}, report.numbers, report.arrays)
    other_numbers = Report(report.spec, report.facts, {"found": 3}, report.arrays)
    assert other_facts.digest() == report.digest()
    assert other_numbers.digest() != report.digest()


def test_an_array_that_was_read_can_be_written_to():
    heat = read_report(small_report().to_json()).arrays["heat"]
    heat[0, 0] = 7
    assert heat[0, 0] == 7


@pytest.mark.parametrize(
    "change",
    [
        {"report_version": 99},
        {"facts": None, "findings": 3},
        {"arrays": {"heat": {"dtype": "object", "shape": [1], "base64": "AAAA"}}},
        {"arrays": {"heat": {"dtype": "float32", "shape": [2, 2], "base64": "AAAA"}}},
        {"arrays": {"heat": {"dtype": "float32", "shape": [1], "base64": "not base64!"}}},
        {"arrays": {"heat": {"dtype": "float32", "shape": [-1], "base64": "AAAAAA=="}}},
        {"arrays": {"heat": {"dtype": "float32", "shape": [1.0], "base64": "AAAAAA=="}}},
        {"arrays": {"heat": {"dtype": "float32", "shape": [True], "base64": "AAAAAA=="}}},
        {"arrays": {"heat": {"dtype": "float32", "shape": [0, 2**40], "base64": ""}}},
        {"arrays": {"heat": {"dtype": "float32", "shape": [1] * 40, "base64": "AAAAAA=="}}},
        {"arrays": {"heat": {"dtype": [], "shape": [1], "base64": "AAAAAA=="}}},
        {"arrays": {"heat": 3}},
        {"arrays": []},
        {"numbers": "many"},
        {"numbers": {"loss": float("nan")}},
        {"findings": [{"sentence": "a"}]},
        {"findings": [FINDING | {"sentence": 3}]},
        {"findings": [FINDING | {"series": ["1"]}]},
        {"findings": [FINDING | {"place": []}]},
        {"findings": ["sentence"]},
    ],
)
def test_a_damaged_report_is_refused_with_a_sentence(change):
    damaged = json.loads(small_report().to_json()) | change
    with pytest.raises(UserError, match="This report cannot be read"):
        read_report(json.dumps(damaged))


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "{", "3"])
def test_text_that_is_no_report_is_refused_with_a_sentence(text):
    with pytest.raises(UserError, match="This report cannot be read"):
        read_report(text)


def test_a_report_with_nan_among_its_numbers_is_a_programmers_mistake():
    report = Report(Spec("outliers"), {}, {"kl_nats": float("nan")}, {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        report.to_json()
