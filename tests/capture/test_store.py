import threading
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.store import ActivationStore, Contents

POINTS = (HookPoint(0, "resid_post"), HookPoint(1, "pattern"), HookPoint(None, "embed"))


class Clock:
    """A clock that moves by one millisecond a look, and as far as a run pushes it."""

    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        self.now_s += 0.001
        return self.now_s


@dataclass
class FakeSession:
    """A runner whose activations depend on tokens and hook point alone, and whose runs take what they are told."""

    clock: Clock = field(default_factory=Clock)
    run_s: float = 0.5
    dtype: str = "bfloat16"
    fingerprint: str = "f" * 32
    device: str = "cpu"
    processing: str = "raw"
    n_runs: int = 0

    def capture(self, tokens, at, interventions=()):
        self.n_runs += 1
        self.clock.now_s += self.run_s
        return {point: self.value(tokens, point) for point in at}

    def value(self, tokens, point):
        shape = (4, len(tokens), len(tokens)) if point.site == "pattern" else (len(tokens), 6)
        seed = torch.Generator().manual_seed(hash((*tokens, str(point))) % 2**31)
        return torch.randn(shape, generator=seed).to(torch.bfloat16)


@pytest.fixture
def store(tmp_path):
    opened = ActivationStore.open(tmp_path / "steerscope.duckdb")
    yield opened
    opened.close()


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[point], other[point]) for point in one)


def test_a_capture_that_was_not_asked_to_be_kept_is_not_kept(store):
    session = FakeSession()
    assert [store.captures(session, (1, 2), POINTS)[1] for _ in range(2)] == ["fresh", "fresh"]
    assert store.contents()[3] == Contents("capture", 0, 0, None)


def test_a_kept_capture_is_read_as_it_was_run(store):
    session = FakeSession()
    fresh, source = store.captures(session, (1, 2, 3), POINTS, keep=True)
    kept, source_later = store.captures(session, (1, 2, 3), POINTS)
    assert (source, source_later, session.n_runs) == ("fresh", "store", 1)
    assert same(fresh, kept)
    assert kept[POINTS[0]].dtype == torch.bfloat16


def test_part_of_a_kept_capture_is_read_and_a_larger_one_is_run(store):
    session = FakeSession()
    store.captures(session, (1, 2, 3), POINTS[:2], keep=True)
    assert store.captures(session, (1, 2, 3), POINTS[1:2])[1] == "store"
    assert store.captures(session, (1, 2, 3), POINTS, keep=True)[1] == "fresh"
    assert store.contents()[3].n == 3


@pytest.mark.parametrize("other", [{"fingerprint": "g" * 32}, {"dtype": "float32"}, {"processing": "folded"}])
def test_a_capture_of_another_model_is_never_read(store, other):
    store.captures(FakeSession(), (1, 2), POINTS, keep=True)
    assert store.captures(FakeSession(**other), (1, 2), POINTS)[1] == "fresh"


def test_a_capture_is_run_where_running_was_measured_to_be_quicker(tmp_path):
    session = FakeSession(run_s=0.0)
    store = ActivationStore(tmp_path / "s.duckdb", clock=session.clock)
    for _ in range(3):
        store.timings.record("read", "3 of 256 bytes", 0.02)
    store.captures(session, (1, 2, 3), POINTS, keep=True)
    sources = [store.captures(session, (1, 2, 3), POINTS)[1] for _ in range(3)]
    assert sources == ["fresh"] * 3
    store.close()


def test_measured_times_survive_a_restart(tmp_path):
    session = FakeSession()
    store = ActivationStore(tmp_path / "s.duckdb", clock=session.clock)
    for _ in range(2):
        store.captures(session, (1, 2, 3), POINTS, keep=True)
    store.close()
    store = ActivationStore(tmp_path / "s.duckdb", clock=session.clock)
    shape = f"{'f' * 32} cpu bfloat16 4 tokens, depth 1"
    assert store.timings.seconds("run", shape) == pytest.approx(0.501)
    assert [(one.run_shape, one.n_reads, one.n_runs, one.wins) for one in store.savings()] == [(shape, 1, 1, "reading")]
    store.close()


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(alphabet="0123456789abcdef", min_size=1, max_size=32), st.binary(max_size=9000))
def test_statistics_come_back_byte_for_byte(store, key, data):
    store.keep_statistics(key, data)
    assert store.statistics(key) == data


@pytest.mark.parametrize("n_bytes", [0, 1, 2047, 2048, 2049, 4096, 100_001])
def test_data_of_any_length_comes_back(store, n_bytes):
    data = bytes(n % 251 for n in range(n_bytes))
    store.keep_statistics("k", data)
    assert store.statistics("k") == data


@pytest.mark.parametrize("text", ["{}", '{"é":"😀 <b>\\u0000"}', "'; DROP TABLE objects; --"])
def test_a_report_comes_back_as_it_was_written(store, text):
    store.keep_report("d1", "outliers", "f1", text)
    assert store.report("d1") == text
    assert store.report("d2") is None


def test_a_report_replaces_the_one_before_it(store):
    for text in ('{"a":1}', '{"a":2}'):
        store.keep_report("d", "outliers", "f", text)
    assert store.report("d") == '{"a":2}'
    assert store.contents()[0].n == 1


def test_a_report_and_statistics_of_one_key_are_two_things(store):
    store.keep_report("k", "outliers", "f", "text")
    store.keep_statistics("k", b"data")
    assert (store.report("k"), store.statistics("k")) == ("text", b"data")


def test_clearing_one_kind_leaves_the_others(store):
    store.keep_report("k", "outliers", "f", "text")
    store.keep_statistics("k", b"data")
    store.clear("report")
    assert (store.report("k"), store.statistics("k")) == (None, b"data")


def test_clearing_an_unknown_kind_names_the_known_ones(store):
    with pytest.raises(UserError, match="report, view, statistics, capture, dashboard, tuning"):
        store.clear("everything")


def test_what_was_used_longest_ago_is_removed_first(store):
    store.limit_bytes = 3000
    store.keep_statistics("a", bytes(1000))
    store.keep_statistics("b", bytes(1000))
    store.keep_statistics("c", bytes(1000))
    store.statistics("a")
    store.keep_statistics("d", bytes(1000))
    assert [key for key in "abcd" if store.statistics(key) is not None] == ["a", "c", "d"]


def test_a_report_that_was_shared_is_never_removed_for_want_of_room(store):
    store.limit_bytes = 1500
    store.keep_report("shared", "outliers", "f", "x" * 1000)
    store.mark_shared("shared")
    store.keep_report("shared", "outliers", "f", "y" * 1000)
    store.keep_report("other", "outliers", "f", "z" * 1000)
    assert (store.report("shared"), store.report("other")) == ("y" * 1000, None)


def test_a_view_is_kept_as_it_was_first_and_never_removed_for_want_of_room(store):
    store.limit_bytes = 1500
    store.keep_view("v", b"first" * 200)
    store.keep_view("v", b"other" * 200)
    store.keep_report("r", "outliers", "f", "x" * 1000)
    assert (store.view("v"), store.view("w"), store.report("r")) == (b"first" * 200, None, None)


def test_a_remembered_text_replaces_the_one_before_it_under_its_kind_and_key(store):
    for kind, value in (("a", "old"), ("a", "new"), ("b", "other")):
        store.remember(kind, "key", value)
    assert (store.remembered("a", "key"), store.remembered("b", "key"), store.remembered("a", "no")) == (
        "new",
        "other",
        None,
    )


def test_the_file_does_not_grow_with_what_was_removed(store):
    store.limit_bytes = 16_000_000
    for n in range(20):
        store.keep_report(f"r{n}", "outliers", "f", str(n % 10) * 8_000_000)
    # 160 MB were written and 16 MB are kept; what was removed waits for DuckDB's next checkpoint.
    assert store.path.stat().st_size < 80_000_000
    assert [store.report(f"r{n}") for n in (17, 18, 19)] == [None, "8" * 8_000_000, "9" * 8_000_000]


def test_contents_count_objects_and_bytes_of_each_kind(store):
    store.keep_report("r", "outliers", "f", "x" * 10)
    store.captures(FakeSession(), (1, 2), POINTS[:1], keep=True)
    assert [(row.kind, row.n, row.n_bytes) for row in store.contents()] == [
        ("report", 1, 10),
        ("view", 0, 0),
        ("statistics", 0, 0),
        ("capture", 1, 24),
        ("dashboard", 0, 0),
        ("tuning", 0, 0),
    ]


def test_what_was_kept_is_there_after_a_restart(tmp_path):
    session = FakeSession()
    first = ActivationStore.open(tmp_path / "s.duckdb")
    fresh, _ = first.captures(session, (1, 2), POINTS, keep=True)
    first.close()
    second = ActivationStore.open(tmp_path / "s.duckdb")
    assert same(second.captures(session, (1, 2), POINTS)[0], fresh)
    second.close()


def test_threads_that_keep_and_read_the_same_keys_do_not_disturb_each_other(store):
    session = FakeSession()
    wrong = []

    def work(n):
        for round_ in range(8):
            text = f"{round_}" * 3000
            store.keep_report("same", "outliers", "f", text)
            found = store.report("same")
            values, _ = store.captures(session, (round_, n % 2), POINTS[:1], keep=True)
            if found is None or len(set(found)) != 1 or len(found) != 3000:
                wrong.append(found)
            if not torch.equal(values[POINTS[0]], session.value((round_, n % 2), POINTS[0])):
                wrong.append(values)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [row.n for row in store.contents()] == [1, 0, 0, 16, 0, 0]


def test_a_write_that_fails_leaves_no_half(store):
    with pytest.raises(RuntimeError, match="stop"):
        fail_half_way(store)
    assert store.report("half") is None
    assert store.contents()[0].n == 0


def fail_half_way(store):
    with store.file.transaction() as cursor:
        cursor.execute("INSERT INTO objects VALUES (99, 'report', 'half', '{}', 0, 0, false)")
        raise RuntimeError("stop")


def test_no_statement_reaches_other_files(store, tmp_path):
    (tmp_path / "secret.csv").write_text("a,b\n1,2\n")
    for statement in (
        f"SELECT * FROM read_csv('{tmp_path}/secret.csv')",
        f"COPY objects TO '{tmp_path}/out.csv'",
        "INSTALL httpfs",
        "SET enable_external_access = true",
    ):
        with pytest.raises(UserError, match="cannot be used"), store.file.cursor() as cursor:
            cursor.execute(statement)
    assert not (tmp_path / "out.csv").exists()
