"""A view file gives back the view it was made of, under the same id; anything else is refused."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from analysis import view_file
from analysis.report import Finding, Report
from analysis.spec import Spec
from analysis.view_file import MAX_FILE_BYTES, MAX_JSON_BYTES, ViewFile, read_view_file
from capture.errors import UserError

texts = st.text(st.characters(codec="utf-8"), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.dictionaries(texts, st.none() | st.integers(-9, 9) | numbers | texts, max_size=3)
specs = st.builds(Spec, lens=texts.filter(bool), text=texts, options=plain, pins=plain)
arrays = st.dictionaries(texts, hnp.arrays("float32", hnp.array_shapes(min_dims=0, min_side=0, max_side=4)), max_size=2)
findings = st.builds(Finding, texts, numbers, texts, numbers, plain, texts, st.lists(numbers).map(tuple))
FACTS = {
    **dict.fromkeys(("model", "revision", "fingerprint", "dtype", "device", "processing"), "x"),
    "bos": True,
    "hook_points": ["blocks.0.hook_resid_post"],
    "n_tokens": 3,
    "faithfulness": None,
}
MADE = {"at": "2030-01-01 00:00:00", "lens_revisions": {"outliers": 1, "gone": None}, "versions": {"torch": "9"}}
reports = st.builds(Report, specs, st.just(FACTS), plain, arrays, st.lists(findings, max_size=2).map(tuple))
views = st.builds(ViewFile, specs, st.lists(reports, min_size=1, max_size=3).map(tuple), st.sampled_from([{}, MADE]))
VIEW = ViewFile(Spec("outliers", text="a"), (Report(Spec("outliers"), FACTS, {"n": 1}, {"a": np.ones(3)}),), MADE)


@settings(deadline=None)
@given(views)
def test_a_view_file_gives_its_view_again_and_the_same_bytes(view):
    again = read_view_file(view.to_bytes())
    assert (again.spec, again.made, again.id) == (view.spec, view.made, view.id)
    assert [one.to_json() for one in again.reports] == [one.to_json() for one in view.reports]
    assert again.to_bytes() == view.to_bytes()


def test_the_id_is_of_spec_pins_and_numbers_and_not_of_when_they_were_made():
    changed = Report(Spec("outliers"), FACTS, {"n": 2}, {"a": np.ones(3)})
    same = ViewFile(VIEW.spec, VIEW.reports, {"at": "later"})
    others = [ViewFile(VIEW.spec.with_(pins={"pos": 1}), VIEW.reports), ViewFile(VIEW.spec, (changed,))]
    assert same.id == VIEW.id
    assert len({VIEW.id, *(other.id for other in others)}) == 3


def packed(**changes):
    """A view file with some of its parts changed."""
    return gzip.compress(json.dumps(json.loads(gzip.decompress(VIEW.to_bytes())) | changes).encode())


def report(**changes):
    return {"reports": [VIEW.reports[0].to_data() | changes]}


BROKEN = {
    "nothing": (b"", "damaged"),
    "no gzip": (b"{}", "damaged"),
    "cut": (VIEW.to_bytes()[:-9], "damaged"),
    "more behind it": (VIEW.to_bytes() + b"x", "damaged"),
    "a bomb": (gzip.compress(bytes(MAX_JSON_BYTES + 1), 1), "unpacks to more"),
    "too large": (bytes(MAX_FILE_BYTES + 1), "at most"),
    "no object": (gzip.compress(b"[]"), "version 'None'"),
    "a later version": (packed(view_version=2), "version '2'"),
    "a wrong id": (packed(id="0" * 20), "changed afterwards"),
    "changed numbers": (packed(**report(numbers={"n": 2})), "changed afterwards"),
    "no reports": (packed(reports=[]), "1 to 100 reports"),
    "many reports": (packed(reports=[{}] * 101), "1 to 100 reports"),
    "a report that is none": (packed(reports=[3]), "report cannot be read"),
    "no spec": (packed(spec=None), "not a set of named fields"),
    "facts that are missing": (packed(**report(facts={})), "how its numbers were made"),
    "facts of another kind": (packed(**report(facts=FACTS | {"model": ["x"]})), "how its numbers were made"),
    "hook points that are none": (packed(**report(facts=FACTS | {"hook_points": [1]})), "how its numbers were made"),
    "revisions of another kind": (packed(made={"lens_revisions": 5}), "how its numbers were made"),
    "versions of another kind": (packed(made={"versions": {"torch": []}}), "how its numbers were made"),
}


@pytest.mark.parametrize(("data", "words"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_with_a_sentence(data, words):
    with pytest.raises(UserError, match=words) as refused:
        read_view_file(data)
    assert len(refused.value.message) < 300
    assert refused.value.hint


def test_a_view_that_could_not_be_read_again_is_not_written(monkeypatch):
    monkeypatch.setattr(view_file, "MAX_JSON_BYTES", 100)
    with pytest.raises(UserError, match="at most 100 bytes"):
        VIEW.to_bytes()
