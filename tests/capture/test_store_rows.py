import pytest

from capture.errors import UserError
from capture.store import LIMIT_BYTES, ActivationStore, KeptView
from tests.capture.test_store_compaction import make_rows


@pytest.fixture
def store(tmp_path):
    opened = ActivationStore.open(tmp_path / "s.duckdb")
    yield opened
    opened.close()


def counts(store):
    with store.file.snapshot() as cursor:
        names = ("report_facts", "report_tokens", "report_statistics", "report_findings")
        return [cursor.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in names]


def test_rows_of_a_report_are_kept_with_it_and_removed_with_it(store):
    store.keep_report("a", "outliers", "f", "{}", make_rows())
    store.keep_report("b", "outliers", "f", "{}", make_rows())
    assert counts(store) == [2, 4, 6, 2]
    store.keep_report("a", "outliers", "f", "{}", make_rows())
    assert counts(store) == [2, 4, 6, 2]
    store.clear("report")
    assert counts(store) == [0, 0, 0, 0]


def test_rows_count_as_bytes_that_are_kept(store):
    rows = make_rows()
    store.keep_report("a", "outliers", "f", "{}", rows)
    assert store.contents()[0].n_bytes == 2 + rows.n_bytes
    store.limit_bytes = 1000
    for n in range(20):
        store.keep_report(f"r{n}", "outliers", "f", "{}", rows)
    assert store.contents()[0].n_bytes <= 1000
    assert counts(store)[0] == store.contents()[0].n


def test_views_are_listed_the_newest_first_and_forgotten_by_id(store):
    store.keep_view("v1", b"12345", {"lens": "outliers", "text": "once <b>", "made": "2031-02-03 04:05:06"})
    store.keep_view("v2", b"1")
    assert store.views() == [
        KeptView("v2", "", "", "", 1),
        KeptView("v1", "outliers", "once <b>", "2031-02-03 04:05:06", 5),
    ]
    store.forget_view("v1")
    assert ([one.id for one in store.views()], store.view("v1")) == (["v2"], None)


def test_the_limit_that_was_set_last_is_remembered(tmp_path):
    store = ActivationStore.open(tmp_path / "s.duckdb")
    assert store.limit_bytes == LIMIT_BYTES
    store.keep_statistics("s", bytes(5000))
    store.limit_bytes = 4000
    assert store.statistics("s") is None
    store.close()
    again = ActivationStore.open(tmp_path / "s.duckdb")
    assert again.limit_bytes == 4000
    again.close()


def test_a_limit_that_leaves_no_room_is_refused(store):
    with pytest.raises(UserError, match="at least 1,000 bytes; 0 was given"):
        store.limit_bytes = 0
    assert store.limit_bytes == LIMIT_BYTES


def test_the_file_has_a_size_on_disk(store):
    before = store.file_bytes()
    store.keep_statistics("s", bytes(range(256)) * 4000)
    assert store.file_bytes() - before > 1_000_000
