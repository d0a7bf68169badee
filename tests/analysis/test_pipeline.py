"""The way from a Spec to a Report: what is run, what is taken from the store, what is refused."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from analysis import pipeline, text_set
from analysis.lens import Lens, Measured, Options, Progress, Subject
from analysis.option import Option
from analysis.pipeline import run
from analysis.report import Finding
from analysis.spec import Spec
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession, ModelShape
from capture.store import ActivationStore
from capture.store_timings import size_class

LAST = HookPoint(2, "resid_post")


def _measure(subject: Subject, options: Options, progress: Progress) -> Measured:
    progress(0.5, "adding up")
    if subject.is_text_set:
        return Measured({"n_texts": len(subject.texts)}, {})
    total = float(subject.captures[LAST].sum()) * float(options["factor"])
    return Measured({"total": total}, {"row": subject.captures[LAST][0].numpy()}, (Finding("Big.", total, "", 1.0),))


LENS = Lens(
    slug="total",
    title="Total",
    question="How much is it?",
    paper="",
    how_to_read="",
    options=(Option("factor", "Factor", "Times this.", 1.0, 0.0, 10.0),),
    needs=lambda shape: None,
    hook_points=lambda shape, options: (LAST,),
    measure=_measure,
)


@pytest.fixture(autouse=True)
def _one_lens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "find_lens", {"total": LENS}.__getitem__)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ActivationStore]:
    store = ActivationStore.open(tmp_path / "store.duckdb")
    yield store
    store.close()


@pytest.fixture
def load(tiny_session: ModelSession):
    return lambda name, dtype: tiny_session


def _refuse(name: str, dtype: str) -> ModelSession:
    raise AssertionError("the model was loaded")


SPEC = Spec(lens="total", text="The cat sat.", options={"factor": 2})


def test_a_report_has_the_numbers_of_a_plain_capture(load, tiny_session: ModelSession) -> None:
    report = run(SPEC, load, None).report
    expected = tiny_session.capture(tiny_session.tokens(SPEC.text, True), [LAST])[LAST]
    assert report.numbers["total"] == pytest.approx(2 * float(expected.sum()))
    assert np.array_equal(report.arrays["row"], expected[0].numpy())
    assert report.findings[0].lens == "total"


def test_facts_say_how_the_numbers_were_made(load, tiny_session: ModelSession) -> None:
    facts = run(SPEC.with_(bos=False), load, None).report.facts
    assert facts["fingerprint"] == tiny_session.fingerprint
    assert facts["hook_points"] == ["blocks.2.hook_resid_post"]
    assert (facts["dtype"], facts["processing"], facts["bos"]) == ("float32", "raw", False)
    assert facts["n_tokens"] == len(tiny_session.tokens(SPEC.text, False))


def test_the_second_time_comes_from_the_store_with_the_same_numbers(load, store: ActivationStore) -> None:
    first, second = run(SPEC, load, store), run(SPEC, load, store)
    assert (first.source, second.source) == ("fresh", "store")
    assert first.report.to_json() == second.report.to_json()


def test_a_link_with_a_fingerprint_opens_without_the_model(load, store: ActivationStore) -> None:
    sent = run(SPEC, load, store).report
    opened = run(sent.spec.with_(pins={"layer": 2}), _refuse, store)
    assert opened.source == "store"
    assert opened.report.numbers == sent.numbers
    assert opened.report.spec.pins == {"layer": 2}


def test_a_lens_whose_formula_changed_is_run_again(
    load, store: ActivationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(SPEC, load, store)
    monkeypatch.setattr(pipeline, "find_lens", {"total": replace(LENS, revision=2)}.__getitem__)
    assert run(SPEC, load, store).source == "fresh"


def test_a_changed_text_set_is_run_again(
    load, store: ActivationStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(pipeline, "read_text_set", partial(text_set.read_text_set, folder=tmp_path))
    spec = SPEC.with_(text="", text_set="mine")
    counts = []
    for texts in (["The cat."], ["The cat.", "The dog."]):
        (tmp_path / "mine.json").write_text(json.dumps({"title": "Mine", "texts": texts}))
        counts.append(run(spec, load, store).report.numbers["n_texts"])
    assert counts == [1, 2]


def test_interventions_of_the_spec_act(load) -> None:
    recipe = {"kind": "add_vector", "at": str(LAST), "vector": [1.0] * 32, "strength": 3.0, "from_pos": 1}
    clean, changed = (run(SPEC.with_(interventions=i), load, None).report for i in ((), (recipe,)))
    n_changed = clean.facts["n_tokens"] - 1
    difference = changed.numbers["total"] - clean.numbers["total"]
    assert difference == pytest.approx(2 * 3.0 * 32 * n_changed, rel=1e-4)


def test_a_model_that_lacks_what_a_lens_needs_is_named(load, monkeypatch: pytest.MonkeyPatch) -> None:
    def needs(shape: ModelShape) -> str:
        return f"it has {shape.n_layers} layers and no experts."

    monkeypatch.setattr(pipeline, "find_lens", {"total": replace(LENS, needs=needs)}.__getitem__)
    with pytest.raises(UserError, match="Total cannot look at tiny llama: it has 3 layers and no experts"):
        run(SPEC, load, None)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "absent", "a" * 500])
def test_a_text_set_name_is_never_a_path(name: str) -> None:
    with pytest.raises(UserError, match="No text set is called"):
        text_set.read_text_set(name)


def test_shipped_text_sets_can_be_read() -> None:
    assert "tour" in text_set.text_sets()
    assert all(text_set.read_text_set(name).texts for name in text_set.text_sets())


@pytest.mark.parametrize("content", ["not json", "[]", '{"title": "x"}', '{"title": "x", "texts": [" "]}'])
def test_a_broken_text_set_gets_a_sentence(tmp_path: Path, content: str) -> None:
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(UserError, match="The text set 'broken'"):
        text_set.read_text_set("broken", tmp_path)


def test_progress_can_cancel(load) -> None:
    class Cancelled(Exception):
        pass

    def cancel(share: float, words: str) -> None:
        if words == "adding up":
            raise Cancelled

    with pytest.raises(Cancelled):
        run(SPEC, load, None, cancel)


def test_what_reading_and_making_a_report_took_is_set_side_by_side(store, load):
    answers = [run(SPEC, load, store) for _ in range(3)]
    assert [one.source for one in answers] == ["fresh", "store", "store"]
    (saving,) = [one for one in store.savings() if one.run_shape.startswith("total of")]
    facts = answers[0].report.facts
    assert saving.run_shape == f"total of {facts['fingerprint'][:8]}, {size_class(facts['n_tokens'])} tokens"
    assert (saving.n_reads, saving.n_runs, saving.read_shape) == (2, 1, saving.run_shape)


def test_loading_the_model_is_no_part_of_what_making_took(tmp_path, tiny_session):
    store = ActivationStore(tmp_path / "timed.duckdb", clock=lambda: now[0])
    now = [0.0]

    def load(name: str, dtype: str) -> ModelSession:
        now[0] += 100.0
        return tiny_session

    run(SPEC, load, store)
    assert [one.run_s for one in store.savings() if one.run_shape.startswith("total of")] == [0.0]
    store.close()
