"""Compare: planted differences are found where they were planted, and nothing is found where there is none."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as arrays_of

from analysis import compare, compare_written
from analysis.compare import REPORT_LENS, combine
from analysis.quantity import Quantity
from analysis.report import Finding, Report, read_report
from analysis.spec import Spec
from capture.errors import UserError

TOKENS = ["<|bos|>", "The", " cat", " sat", "."]
LENS = SimpleNamespace(
    quantities=(
        Quantity("peak", "peak", ("layer", "pos"), "×", is_log=True),
        Quantity("mean", "mean", ("layer", "pos")),
        Quantity("peak_dim", "dimension of the peak", ("layer", "pos")),
        Quantity("heads", "heads", ("layer", "head")),
    )
)


@pytest.fixture(autouse=True, scope="module")
def _lens_with_quantities():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "find_lens", lambda slug: LENS)
        yield


def report_of(tokens=TOKENS, n_layers=3, findings=(), **fields) -> Report:
    """A view whose values differ from place to place."""
    shape = (n_layers, len(tokens))
    peak = 2.0 + np.arange(n_layers)[:, None] + np.array([len(token) for token in tokens])
    arrays = {"peak": peak.astype(np.float32), "mean": np.ones(shape, np.float32), "peak_dim": np.zeros(shape, int)}
    arrays["heads"] = np.ones((n_layers, 4), np.float32)
    facts = {"model": "tiny", "fingerprint": "a" * 16, "dtype": "float32", "bos": True, "n_tokens": len(tokens)}
    spec = Spec("probe", text="".join(tokens[1:]), **fields)
    return Report(spec, facts, {"tokens": list(tokens)}, arrays, tuple(findings))


def with_array(report, name, array):
    return replace(report, arrays={**report.arrays, name: array})


def planted(report, name, place, value):
    array = report.arrays[name].copy()
    array[place] = value
    return with_array(report, name, array)


def compared(left, right):
    return combine((left, right), {})


def test_a_view_compared_with_itself_is_zero_everywhere_and_says_so():
    found = compared(report_of(), report_of())
    assert not found.arrays["change"].any()
    assert found.numbers["notes"][0].startswith("Nothing differs")
    assert (found.numbers["changes"], found.numbers["differences"], found.findings) == ([], [], ())


def test_a_planted_difference_is_found_where_it_was_planted():
    left = report_of()
    found = compared(left, planted(left, "mean", (1, 3), 8.0))
    first = found.numbers["changes"][0]
    assert (first["quantity"], first["layer"], first["pos"], first["token"]) == ("mean", 1, 3, " sat")
    assert (first["left"], first["right"], first["change"]) == (1.0, 8.0, 7.0)
    assert found.findings[0].place == {"quantity": "mean", "layer": 1, "pos": 3}
    assert np.count_nonzero(found.arrays["change"]) == 1


def test_a_planted_difference_is_found_behind_an_inserted_token():
    left, longer = report_of(), report_of([*TOKENS[:2], " old", *TOKENS[2:]])
    found = compared(left, planted(longer, "mean", (2, 4), 0.0))
    first = found.numbers["changes"][0]
    assert (first["layer"], first["pos"], first["left_pos"], first["right_pos"]) == (2, 4, 3, 4)
    assert first["change"] == -1.0
    assert found.numbers["left_pos"] == [0, 1, None, 2, 3, 4]
    assert np.isnan(found.arrays["change"][:, :, 2]).all()
    assert "5 tokens are in both texts, 0 only on the left and 1 only on the right." in found.numbers["notes"]


def test_ratios_are_compared_as_doublings():
    left = report_of()
    found = compared(left, planted(left, "peak", (0, 2), 4 * left.arrays["peak"][0, 2]))
    assert found.arrays["change"][0, 0, 2] == pytest.approx(2.0)
    assert found.numbers["changes"][0]["weight"] == pytest.approx(2.0)
    assert (found.findings[0].magnitude, found.findings[0].unit) == (pytest.approx(2.0), "doublings")


def test_a_ratio_to_zero_is_no_value_but_counts_as_a_change():
    left = planted(report_of(), "peak", (1, 1), 0.0)
    found = compared(left, report_of())
    assert np.isnan(found.arrays["change"][0, 1, 1])
    assert found.numbers["quantities"][0]["n_changed"] == 1
    assert not compared(left, left).arrays["change"].any()


values = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))


@given(arrays_of(np.float32, (2, 4), elements=values), arrays_of(np.float32, (2, 3), elements=values), st.booleans())
def test_exchanging_the_sides_negates_every_change(mine, its, is_log):
    sides = report_of(list("abca"), 2), report_of(list("bcb"), 2)
    pair = [with_array(one, "peak", array) for one, array in zip(sides, (mine, its), strict=True)]
    there, back = compared(*pair), compared(*pair[::-1])
    rows = {
        (i, j): n for n, (i, j) in enumerate(zip(there.numbers["left_pos"], there.numbers["right_pos"], strict=True))
    }
    order = [rows[i, j] for j, i in zip(back.numbers["left_pos"], back.numbers["right_pos"], strict=True)]
    np.testing.assert_array_equal(back.arrays["change"], -there.arrays["change"][:, :, order])
    np.testing.assert_array_equal(back.arrays["left"], there.arrays["right"][:, :, order])
    weights = [sorted(row["weight"] for row in found.numbers["changes"]) for found in (there, back)]
    assert weights[0] == pytest.approx(weights[1])


def test_models_of_different_depth_are_compared_on_their_common_layers():
    found = compared(report_of(n_layers=5), report_of(n_layers=3))
    assert found.arrays["change"].shape == (2, 3, 5)
    assert any("5 layers" in note and "0 to 2" in note for note in found.numbers["notes"])


def test_indices_and_other_axes_are_not_subtracted():
    found = compared(report_of(), report_of())
    assert [one["name"] for one in found.numbers["quantities"]] == ["peak", "mean"]


def as_set(values, name="tour"):
    view = report_of()
    arrays = {"peak": np.array(values, np.float32), "mean": np.ones(3, np.float32)}
    return replace(view, spec=Spec("probe", text_set=name), numbers={"tokens": []}, arrays=arrays)


def test_text_sets_are_compared_by_layer():
    found = compared(as_set([1, 2, 4]), as_set([1, 2, 8], "stories"))
    assert found.numbers["notes"] == [compare.BY_LAYER]
    np.testing.assert_array_equal(found.arrays["change"], [[0, 0, 1], [0, 0, 0]])
    assert found.numbers["changes"][0]["pos"] is None
    assert found.findings[0].place == {"quantity": "peak", "layer": 2}
    assert {"what": "text set", "left": "tour", "right": "stories"} in found.numbers["differences"]


@pytest.mark.parametrize(
    ("right", "words"),
    {
        "another lens": (replace(report_of(), spec=Spec("sparsity")), "same page"),
        "a text set": (as_set([1, 2, 3]), "one text, or both of a text set"),
        "no tokens": (replace(report_of(), numbers={}), "name its tokens"),
        "too few tokens": (replace(report_of(), numbers={"tokens": ["a"]}), "number for each token"),
        "ragged layers": (with_array(report_of(), "mean", np.ones((2, 5), np.float32)), "one number of layers"),
        "no arrays": (replace(report_of(), arrays={}), "no number for each layer"),
    }.values(),
)
def test_views_that_do_not_fit_get_a_sentence(right, words):
    with pytest.raises(UserError, match=words):
        compared(report_of(), right)


def test_what_was_asked_differently_is_said():
    recipe = {"kind": "add_vector", "at": "blocks.1.hook_resid_post", "vector": [0.5] * 32, "strength": 2.0}
    left = report_of(options={"what_if": "zero"})
    right = replace(report_of(interventions=(recipe,), bos=False, dtype="bfloat16"), facts={"model": "other"})
    rows = {row["what"]: row for row in compared(left, right).numbers["differences"]}
    assert (rows["model"]["left"], rows["model"]["right"]) == ("tiny", "other")
    assert (rows["option what if"]["left"], rows["option what if"]["right"]) == ("zero", "none")
    assert rows["intervention 1"]["right"].startswith("add vector: at blocks.1.hook_resid_post, vector 32 values (")
    assert rows["fingerprint"]["left"] == "a" * 16


def test_vectors_of_one_length_are_told_apart():
    recipes = [{"kind": "add_vector", "vector": [value] * 32} for value in (0.5, 0.6)]
    rows = compared(*(report_of(interventions=(one,)) for one in recipes)).numbers["differences"]
    assert [row["what"] for row in rows] == ["intervention 1"]


def test_a_finding_of_one_side_only_is_a_finding_at_its_aligned_place():
    shared = Finding("Both.", 1.0, "% of the norm", 1.0, {"layer": 0, "pos": 0})
    own = Finding("Kurtosis is 9.", 9.0, "kurtosis", 2.0, {"layer": 1, "pos": 2})
    longer = [*TOKENS[:1], " so", *TOKENS[1:]]
    found = compared(report_of(longer, findings=[shared]), report_of(findings=[shared, own]))
    assert [one.sentence for one in found.findings] == ["Only on the right: Kurtosis is 9."]
    assert found.findings[0].place == {"layer": 1, "pos": 3}
    assert found.numbers["findings"][1] == {"unit": "kurtosis", "left": None, "right": "Kurtosis is 9."}


def test_the_heaviest_change_of_all_quantities_stands_first():
    left = report_of()
    right = planted(planted(left, "peak", (0, 1), 1.1 * left.arrays["peak"][0, 1]), "mean", (2, 2), 15.0)
    right = planted(right, "mean", (0, 0), 2.0)
    weights = [row["weight"] for row in compared(left, right).numbers["changes"]]
    # 1 becomes 15 where 1 is typical: log2(1 + 14 / (1 + 1)).
    assert weights == pytest.approx([3.0, np.log2(1.5), np.log2(1.1)])


def test_a_magnitude_that_both_sides_found_is_compared():
    kinds = ("kurtosis", 3.0, 12.0), ("cosine", 0.5, 0.4)
    sides = [[Finding(f"{kind[0]}.", kind[side], kind[0], 1.0, {"layer": side})] for side in (1, 2) for kind in kinds]
    found = compared(report_of(findings=sides[0] + sides[1]), report_of(findings=sides[2] + sides[3])).findings
    assert len(found) == 1
    assert "3 on the left, 12 on the right (kurtosis)" in found[0].sentence
    assert (found[0].score, found[0].place) == (2.0, {"layer": 2})


def test_a_comparison_survives_json():
    found = compared(report_of(), planted(report_of(TOKENS[:4]), "mean", (0, 0), 3.0))
    report = Report(Spec("compare"), {}, found.numbers, found.arrays, found.findings)
    assert read_report(report.to_json()).to_json() == report.to_json()


def test_every_array_of_a_comparison_is_declared():
    declared = {one.name: one for one in REPORT_LENS.quantities if one not in compare_written.QUANTITIES}
    for found in (compared(report_of(), report_of()), compared(as_set([1, 2, 3]), as_set([1, 2, 3]))):
        axes = {name: one.axes_of(found.arrays[name].ndim) for name, one in declared.items()}
        assert axes.keys() == found.arrays.keys()
        assert all(one.label for one in REPORT_LENS.quantities)
