"""A run over a text set that was stopped goes on, runs nothing twice, and ends in the very same numbers."""

import json
import zlib
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import capture.session
from analysis import pipeline, stream_state, text_set
from analysis.lens import lenses
from analysis.pipeline import run
from analysis.spec import Spec
from analysis.stat_stream import Keep, StatStream
from analysis.store_checkpoint import StoreCheckpoint
from analysis.stream_state import flatten, from_bytes, to_bytes, unflatten
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.store import ActivationStore

AT = HookPoint(1, "resid_post")
N_TEXTS = 9
BATCH_TOKENS = 40
every_lens = pytest.mark.parametrize("lens", [slug for slug in lenses() if slug not in ("sae_quality", "steering_lab")])
"""Those that stream; sae_quality goes on text by text, as its own test says, and the lab writes eight texts at most."""


class StoppedError(Exception):
    """Raised by a progress that cancels."""


@pytest.fixture
def store(tmp_path):
    store = ActivationStore.open(tmp_path / "store.duckdb")
    yield store
    store.close()


@pytest.fixture
def load(tiny_session):
    return lambda name, dtype: tiny_session


@pytest.fixture(autouse=True)
def run_texts(monkeypatch, tmp_path):
    """Nine texts in small batches, saved after each; the list of the texts whose batches were run."""
    texts = [f"the bear number {'so ' * n}sat" for n in range(N_TEXTS)]
    (tmp_path / "mine.json").write_text(json.dumps({"title": "Mine", "texts": texts}))
    monkeypatch.setattr(pipeline, "read_text_set", partial(text_set.read_text_set, folder=tmp_path))
    monkeypatch.setattr(stream_state, "SAVE_EVERY_S", 0.0)
    monkeypatch.setattr(stream_state, "SHARE_SAVING", 1e9)
    batches, make_batch, seen = capture.session.batches, capture.session.make_batch, []
    monkeypatch.setattr(capture.session, "batches", lambda texts, _: batches(texts, BATCH_TOKENS))
    monkeypatch.setattr(capture.session, "make_batch", lambda rows, *more: seen.append(rows) or make_batch(rows, *more))
    return seen


def stop_after(n_batches, heard=None):
    """Progress that cancels after so many batches of the text set."""
    heard = [] if heard is None else heard

    def progress(share, words):
        heard.extend([words] if words.endswith(" texts") else [])
        if len(heard) == n_batches:
            raise StoppedError

    return progress


def stopped(spec, load, store, n_batches):
    with pytest.raises(StoppedError):
        run(spec, load, store, stop_after(n_batches))


@every_lens
@pytest.mark.parametrize("n_batches", [1, 2, 3])
def test_a_stopped_run_goes_on_and_gives_equal_bytes(lens, load, store, run_texts, n_batches):
    spec = Spec(lens, text_set="mine")
    whole = run(spec, load, None).report
    n_whole = len(run_texts)
    stopped(spec, load, store, n_batches)
    assert run(spec, load, store).report.to_json() == whole.to_json()
    assert len(run_texts) == 2 * n_whole
    assert run_texts[:n_whole] == run_texts[n_whole:]
    assert n_whole > 3


def test_a_run_may_be_stopped_again_and_again(load, store, run_texts):
    spec = Spec("outliers", text_set="mine")
    for _ in range(3):
        stopped(spec, load, store, 1)
    report, n_run = run(spec, load, store).report, len(run_texts)
    assert report.to_json() == run(spec, load, None).report.to_json()
    assert len(run_texts) == 2 * n_run


def test_the_state_is_gone_once_the_numbers_are_there(load, store):
    spec = Spec("outliers", text_set="mine")
    stopped(spec, load, store, 2)
    assert kept_states(store) == 1
    run(spec, load, store)
    assert kept_states(store) == 0


def kept_states(store):
    return next(one.n for one in store.contents() if one.kind == "statistics")


@pytest.mark.parametrize(
    "change", [{"bos": False}, {"dtype": "bfloat16"}, {"options": {"what_if": "zero"}}, {"text_set": "other"}]
)
def test_another_question_does_not_go_on_from_it(load, store, run_texts, tmp_path, change):
    (tmp_path / "other.json").write_text((tmp_path / "mine.json").read_text().replace("sat", "ran"))
    spec = Spec("outliers", text_set="mine")
    stopped(spec, load, store, 2)
    del run_texts[:]
    report = run(spec.with_(**change), load, store).report
    assert sum(map(len, run_texts)) >= N_TEXTS
    assert report.digest() == run(spec.with_(**change), load, None).report.digest()


@pytest.mark.parametrize("break_it", [lambda data: data[:-9], lambda data: b"", lambda data: zlib.compress(b"PK")])
def test_a_damaged_state_is_begun_again(load, store, monkeypatch, break_it):
    spec = Spec("outliers", text_set="mine")
    stopped(spec, load, store, 2)
    read = store.statistics
    monkeypatch.setattr(store, "statistics", lambda key: break_it(read(key)))
    assert run(spec, load, store).report.digest() == run(spec, load, None).report.digest()


def test_a_store_that_cannot_keep_the_state_is_asked_once_and_ends_nothing(load, store, monkeypatch):
    asked = []

    def refuse(key, data):
        asked.append(key)
        raise UserError("The disk is full.")

    monkeypatch.setattr(store, "keep_statistics", refuse)
    spec = Spec("outliers", text_set="mine")
    assert run(spec, load, store).report.digest() == run(spec, load, None).report.digest()
    assert len(asked) == 1


def test_a_state_is_saved_every_few_seconds_and_more_rarely_where_saving_is_slow(load, store, monkeypatch):
    now, saved = [0.0], []
    monkeypatch.setattr(stream_state, "SAVE_EVERY_S", 5.0)
    monkeypatch.setattr(stream_state, "SHARE_SAVING", 0.05)
    monkeypatch.setattr(stream_state.time, "monotonic", lambda: now[0])

    class Slow:
        def load(self):
            raise AssertionError

        def save(self, state):
            saved.append(now[0])
            now[0] += 1.0

    save = stream_state._saver(Slow(), StubGather(), BATCH_TOKENS)
    for second in range(60):
        now[0] = max(now[0], float(second))
        save(second)
    assert saved == [5.0, 26.0, 47.0]


class StubGather:
    """Has gathered nothing."""

    def state(self):
        return {}

    def update(self, at, values, text_index, pos):
        raise AssertionError

    def go_on_from(self, state):
        raise AssertionError


@pytest.mark.parametrize("revision", [0, stream_state.STATE_REVISION + 1])
def test_a_state_of_another_revision_is_refused(monkeypatch, revision):
    monkeypatch.setattr(stream_state, "STATE_REVISION", revision)
    data = to_bytes({}, 3, BATCH_TOKENS)
    monkeypatch.undo()
    assert from_bytes(data, BATCH_TOKENS) is None


def test_a_state_of_other_batches_is_refused():
    assert from_bytes(to_bytes({}, 3, BATCH_TOKENS), BATCH_TOKENS + 1) is None
    assert int(from_bytes(to_bytes({}, 3, BATCH_TOKENS), BATCH_TOKENS)["n_batches"]) == 3


@settings(deadline=None)
@given(
    st.dictionaries(
        st.text("abc._ 0/", min_size=1, max_size=8).filter(lambda name: name.strip("/. ")),
        arrays(
            st.sampled_from(["float32", "float64", "int64", "uint64", "bool"]), array_shapes(min_dims=0, min_side=0)
        ),
        max_size=3,
    )
)
def test_a_state_survives_its_bytes(state):
    again = from_bytes(to_bytes(state, 1, BATCH_TOKENS), BATCH_TOKENS)
    for name, array in state.items():
        assert (again[name].dtype, again[name].tobytes()) == (array.dtype, array.tobytes())


@pytest.mark.parametrize("keep", [Keep(), Keep(0, False), Keep(3, True, True, 2)])
def test_what_a_stream_has_seen_survives_its_arrays_and_goes_on_alike(keep):
    rows = np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32)
    one, other = StatStream(AT, keep), StatStream(AT, keep)
    one.update(rows[:12], np.zeros(12, int), np.arange(12))
    state = from_bytes(to_bytes(flatten(one.seen, "at"), 1, BATCH_TOKENS), BATCH_TOKENS)
    other.seen = unflatten(state, "at")
    for stream in (one, other):
        stream.update(rows[12:], np.zeros(8, int), np.arange(12, 20))
    first, second = flatten(one.seen, "at"), flatten(other.seen, "at")
    assert first.keys() == second.keys()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)
    assert type(other.seen.moments.n) is int


def test_nothing_seen_is_nothing_again():
    assert unflatten(flatten(None, "at"), "at") is None


def test_a_checkpoint_that_was_removed_is_empty(store):
    checkpoint = StoreCheckpoint(store, "key")
    checkpoint.save(b"one")
    checkpoint.save(b"two")
    assert checkpoint.load() == b"two"
    checkpoint.remove()
    assert checkpoint.load() is None
