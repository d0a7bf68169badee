"""Laws that every lens keeps; a new lens is covered at once."""

import json
from functools import cache
from itertools import product

import numpy as np
import pytest

from analysis.lens import Measured, Subject, lenses
from analysis.option import read_options
from analysis.report import Report, read_report
from analysis.spec import Spec
from capture.errors import UserError
from capture.session import ModelSession
from tests.models import FAMILIES, tiny_tokenizer
from tests.shelves import shelve_for

TEXTS = ("the bear sat on the mat", "the cat", "she said that the moon was bright and the night was long", "a")
QUICK = {"steering_lab": {"tokens": 6}}
"""Options with which a lens takes no longer than the others."""
every_lens = pytest.mark.parametrize("lens", lenses().values(), ids=lenses())
every_family = pytest.mark.parametrize("family", FAMILIES)


@cache
def session_of(family: str) -> ModelSession:
    return ModelSession(FAMILIES[family](), tiny_tokenizer(), name=f"tiny {family}")


def quiet(share, words):
    pass


def settled(lens, session, options):
    """The options as the pipeline settles them, where the shelf has an SAE for every model."""
    shelve_for(session)
    return lens.settle(read_options(lens.options, QUICK.get(lens.slug, {}) | options), session.fingerprint)


def on_text(lens, session, text=TEXTS[0], bos=True, progress=quiet, **options) -> Measured:
    chosen = settled(lens, session, options)
    tokens = session.tokens(text, bos)
    captures = session.capture(tokens, lens.hook_points(session.shape, chosen))
    return lens.measure(Subject(session, (tokens,), captures, bos), chosen, progress)


def on_set(lens, session, texts=TEXTS, **options) -> Measured:
    tokens = tuple(session.tokens(text, True) for text in texts)
    return lens.measure(Subject(session, tokens, {}, True, True), settled(lens, session, options), quiet)


def report_of(lens, measured) -> Report:
    return Report(Spec(lens.slug), {}, measured.numbers, measured.arrays, measured.findings)


@every_lens
@every_family
def test_a_lens_measures_each_model_or_says_what_it_needs(lens, family):
    session = session_of(family)
    if missing := lens.needs(session.shape):
        assert missing.endswith(".")
        return
    for measured in (on_text(lens, session), on_set(lens, session)):
        assert measured.arrays
        json.dumps(dict(measured.numbers), allow_nan=False)


@every_lens
def test_a_report_survives_json(lens, tiny_session):
    report = report_of(lens, on_text(lens, tiny_session))
    again = read_report(report.to_json())
    assert again.to_json() == report.to_json()
    assert again.digest() == report.digest()
    for name, array in report.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], array)


@every_lens
def test_the_same_question_gets_the_same_bytes(lens, tiny_session):
    first, second = (report_of(lens, on_text(lens, tiny_session)).to_json() for _ in range(2))
    assert first == second


@every_lens
@pytest.mark.parametrize("batch_tokens", [1, 16])
def test_splitting_the_texts_into_batches_does_not_change_the_numbers(lens, tiny_session, monkeypatch, batch_tokens):
    whole = on_set(lens, tiny_session)
    stream = ModelSession.stream

    def in_small_batches(self, texts, at, update, interventions=(), progress=None, batch_tokens_=2048, skip_batches=0):
        return stream(self, texts, at, update, interventions, progress, batch_tokens)

    monkeypatch.setattr(ModelSession, "stream", in_small_batches)
    split = on_set(lens, tiny_session)
    # A forward pass of another shape rounds differently in float32; nothing else may differ.
    for name, array in whole.arrays.items():
        np.testing.assert_allclose(split.arrays[name], array, rtol=1e-4, atol=1e-5, err_msg=name)
    assert_close(dict(whole.numbers), dict(split.numbers))


def assert_close(one, other, where="numbers"):
    """Plain JSON equal but for rounding."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_close(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for n, (mine, its) in enumerate(zip(one, other, strict=True)):
            assert_close(mine, its, f"{where}[{n}]")
    elif isinstance(one, float):
        assert one == pytest.approx(other, rel=1e-4, abs=1e-5), where
    elif not where.endswith("sentence"):
        assert one == other, where


@every_lens
def test_every_choice_of_every_option_is_measured(lens, tiny_session):
    names = [option.name for option in lens.options if option.choices]
    for choice in product(*(option.choices for option in lens.options if option.choices)):
        report = report_of(lens, on_text(lens, tiny_session, **dict(zip(names, choice, strict=True))))
        assert read_report(report.to_json()).digest() == report.digest()


@every_lens
@pytest.mark.parametrize("text", ["a", "at"])
def test_the_shortest_texts_are_measured(lens, tiny_session, text):
    report = report_of(lens, on_text(lens, tiny_session, text, bos=False))
    assert read_report(report.to_json()).digest() == report.digest()


@every_lens
def test_progress_grows_to_1_and_may_cancel(lens, tiny_session):
    shares = []
    on_text(lens, tiny_session, progress=lambda share, words: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    def cancel(share, words):
        raise UserError("Cancelled.", "")

    with pytest.raises(UserError, match="Cancelled"):
        on_text(lens, tiny_session, progress=cancel)


@every_lens
def test_findings_name_a_place_and_a_score(lens, tiny_session):
    measured = on_text(lens, tiny_session)
    for finding in measured.findings:
        assert finding.sentence.endswith(".")
        assert finding.place
        assert np.isfinite([finding.score, finding.magnitude]).all()


@every_lens
def test_captures_are_not_written_to(lens, tiny_session):
    chosen = settled(lens, tiny_session, {})
    tokens = tiny_session.tokens(TEXTS[0], True)
    captures = tiny_session.capture(tokens, lens.hook_points(tiny_session.shape, chosen))
    before = {at: tensor.clone() for at, tensor in captures.items()}
    lens.measure(Subject(tiny_session, (tokens,), captures, True), chosen, quiet)
    assert all((captures[at] == before[at]).all() for at in before)


@every_lens
@every_family
def test_every_array_has_a_quantity_whose_axes_fit(lens, family):
    session, by_name = session_of(family), {one.name: one for one in lens.quantities}
    assert len(by_name) == len(lens.quantities)
    for measured in () if lens.needs(session.shape) else (on_text(lens, session), on_set(lens, session)):
        sizes: dict[str, int] = {}
        for name, array in measured.arrays.items():
            quantity = by_name[name]
            axes = quantity.axes_of(array.ndim)
            assert quantity.label
            assert len(set(axes)) == len(axes)
            for axis, size in zip(axes, array.shape, strict=True):
                assert 0 in array.shape or sizes.setdefault(axis, size) == size, (name, axis)


@every_lens
def test_every_quantity_is_measured_on_a_text(lens, tiny_session):
    assert {one.name for one in lens.quantities} == set(on_text(lens, tiny_session).arrays)
