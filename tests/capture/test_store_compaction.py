import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from capture.errors import UserError
from capture.store import ActivationStore
from capture.store_compaction import TABLES
from capture.store_jobs import JobRow, job_rows, write_job
from capture.store_rows import ReportRows

ROOT = Path(__file__).parents[2]
COMPACT = """
import sys
from capture.store import ActivationStore
store = ActivationStore.open(sys.argv[1])
sys.stdout.write("ready\\n")
sys.stdout.flush()
while True:
    store.compact()
"""


def make_rows(lens="outliers"):
    """Rows of a Report with two tokens and three numbers."""
    facts = {"lens": lens, "model": "m", "fingerprint": "f", "dtype": "float32", "text": "a b", "text_set": ""}
    places = {"layer": [0, 0, 1], "pos": [0, 1, None], "axis": [None, None, "latent"], "place": [None, None, 7]}
    return ReportRows(
        pa.Table.from_pylist([facts | {"bos": True, "n_tokens": 2, "made_at": 1.0}]),
        pa.table({"pos": pa.array([0, 1], pa.int32()), "token": ["a", " b"]}),
        pa.table({"quantity": ["q", "q", "r"], **places, "value": [1.5, None, 3.0]}),
        pa.table({"sentence": ["large"], "magnitude": [2.0], "unit": ["x"], "score": [1.0]}),
    )


@pytest.fixture
def store(tmp_path):
    opened = ActivationStore.open(tmp_path / "s.duckdb")
    yield opened
    opened.close()


def fill(store, n=30):
    for number in range(n):
        store.keep_statistics(f"s{number}", os.urandom(400_000))
    store.keep_report("r", "outliers", "f", "text" * 1000, make_rows())
    store.keep_view("v", b"view" * 500)
    write_job(store, JobRow("j", "measure", "{}", "ada", "Stories", "queued"))


def tables_of(store):
    with store.file.snapshot() as cursor:
        return {name: sorted(cursor.execute(f"FROM {name}").fetchall(), key=str) for name in TABLES}


def test_compaction_gives_the_room_of_removed_objects_back_and_keeps_the_rest(store):
    fill(store)
    store.clear("statistics")
    store.keep_statistics("last", bytes(1000))
    kept = tables_of(store)
    before, after = store.compact()
    assert (before > 10_000_000, after < 3_000_000, store.file_bytes()) == (True, True, after)
    assert tables_of(store) == kept


def test_every_table_of_the_store_is_copied(store):
    with store.file.snapshot() as cursor:
        names = {row[0] for row in cursor.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert names == {*TABLES, "schema_version"}


def test_objects_kept_after_compaction_get_numbers_of_their_own(store):
    fill(store, n=3)
    store.compact()
    store.keep_statistics("new", b"new")
    with store.file.snapshot() as cursor:
        assert cursor.execute("SELECT count(*) = count(DISTINCT id) FROM objects").fetchall() == [(True,)]
    assert (store.statistics("new"), store.report("r")) == (b"new", "text" * 1000)


def test_a_compacted_store_opens_again_without_a_trace_of_the_copy(store, tmp_path):
    fill(store, n=2)
    (tmp_path / "s.duckdb.compact").write_bytes(b"left by a kill")
    store.compact()
    store.close()
    again = ActivationStore.open(tmp_path / "s.duckdb")
    assert (again.notice, again.report("r"), job_rows(again)[0].id) == ("", "text" * 1000, "j")
    assert [one.name for one in tmp_path.iterdir() if "compact" in one.name] == []
    store.file = again.file


def test_other_threads_read_and_write_through_compactions(store):
    fill(store, n=5)
    wrong, is_done = [], threading.Event()

    def work(n):
        while not is_done.is_set():
            data = os.urandom(3000)
            store.keep_statistics(f"w{n}", data)
            if store.statistics(f"w{n}") != data or store.report("r") != "text" * 1000:
                wrong.append(n)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            store.compact()
    finally:
        is_done.set()
        for thread in threads:
            thread.join()
    assert (wrong, store.view("v")) == ([], b"view" * 500)


def test_a_kill_while_compacting_loses_nothing(tmp_path):
    path = tmp_path / "s.duckdb"
    store = ActivationStore.open(path)
    fill(store, n=20)
    kept = tables_of(store)
    store.close()
    for wait_s in (0.0, 0.02, 0.05, 0.09, 0.14, 0.2):
        with subprocess.Popen([sys.executable, "-c", COMPACT, str(path)], cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(wait_s)
            process.send_signal(signal.SIGKILL)
    store = ActivationStore.open(path)
    assert (store.notice, tables_of(store)) == ("", kept)
    store.close()


def test_compaction_without_room_for_the_copy_is_refused_and_changes_nothing(store, monkeypatch):
    fill(store, n=2)

    def full(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("capture.store_compaction.new_file", full)
    with pytest.raises(UserError, match="no room"):
        store.compact()
    assert store.report("r") == "text" * 1000


def test_a_log_that_is_still_there_is_never_laid_beside_the_new_file(store, tmp_path, monkeypatch):
    fill(store, n=2)
    # As after a close that could not write the log into the file.
    monkeypatch.setattr("capture.store_compaction._log_of", lambda path: tmp_path / "left.wal")
    (tmp_path / "left.wal").write_bytes(b"")
    monkeypatch.setattr("capture.store_compaction._remove", lambda new: new.unlink(missing_ok=True))
    with pytest.raises(UserError, match="could not be written into it"):
        store.compact()
    assert (store.report("r"), store.notice) == ("text" * 1000, "")
