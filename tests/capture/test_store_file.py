import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from capture.errors import UserError
from capture.store import ActivationStore
from capture.store_file import default_path
from capture.store_migrations import LATEST, MIGRATIONS, migrate, version
from capture.store_pieces import insert_pieces

ROOT = Path(__file__).parents[2]
HOLD = "import sys, duckdb; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
OPEN = """
import sys
from capture.errors import UserError
from capture.store import ActivationStore
try:
    ActivationStore.open(sys.argv[1])
except UserError as error:
    sys.stdout.write(f"{error.message}|{error.hint}")
"""


def make_version(path, number):
    """A file as an older version wrote it, with one report and one set of statistics in it."""
    connection = duckdb.connect(str(path))
    migrate(connection, to=number)
    columns = "id, kind, key, header, n_bytes, used_at"
    for identity, (kind, key, header, data) in enumerate(
        [
            ("report", "r", '{"lens":"outliers","model":"f"}', b"text" * 2000),
            ("statistics", "s", "{}", bytes(range(256)) * 20),
        ],
        start=1,
    ):
        connection.execute("SELECT nextval('object_ids')")
        row = [identity, kind, key, header, len(data)]
        connection.execute(f"INSERT INTO objects ({columns}) VALUES (?, ?, ?, ?, ?, 7.0)", row)
        insert_pieces(connection, identity, data)
    connection.close()


@pytest.mark.parametrize("number", range(1, LATEST))
def test_a_file_of_an_older_version_is_migrated_and_keeps_what_it_has(tmp_path, number):
    make_version(tmp_path / "s.duckdb", number)
    store = ActivationStore.open(tmp_path / "s.duckdb")
    assert (store.report("r"), store.statistics("s")) == ("text" * 2000, bytes(range(256)) * 20)
    store.mark_shared("r")
    store.limit_bytes = 9000
    store.keep_statistics("new", bytes(1000))
    assert (store.report("r"), store.statistics("s"), store.notice) == ("text" * 2000, None, "")
    with store.file.cursor() as cursor:
        assert version(cursor) == LATEST
    store.close()


@pytest.mark.parametrize("number", range(1, LATEST))
def test_a_migrated_file_has_the_tables_of_a_new_one(tmp_path, number):
    make_version(tmp_path / "old.duckdb", number)
    found = []
    for name in ("old.duckdb", "new.duckdb"):
        store = ActivationStore.open(tmp_path / name)
        with store.file.snapshot() as cursor:
            found.append(cursor.execute("SELECT table_name, column_name, data_type FROM duckdb_columns()").fetchall())
        store.close()
    assert set(found[0]) == set(found[1])
    assert len(found[0]) > 40


def test_migrations_are_numbered_without_a_gap():
    assert list(MIGRATIONS) == list(range(1, LATEST + 1))


def test_a_file_of_a_newer_program_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "s.duckdb"
    ActivationStore.open(path).close()
    connection = duckdb.connect(str(path))
    connection.execute("INSERT INTO schema_version VALUES (999)")
    connection.close()
    with pytest.raises(UserError, match="version 999"):
        ActivationStore.open(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.duckdb"]


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "s.duckdb"
    connection = duckdb.connect(str(path))
    connection.execute("CREATE TABLE objects (name VARCHAR)")
    connection.close()
    with pytest.raises(UserError, match="not a store of Steerscope"):
        ActivationStore.open(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["s.duckdb"]


def test_a_second_process_is_told_who_holds_the_store_and_what_to_do(tmp_path):
    path = tmp_path / "s.duckdb"
    store = ActivationStore.open(path)
    told = subprocess.run([sys.executable, "-c", OPEN, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    store.close()
    message, hint = told.stdout.split("|")
    assert "Another Steerscope (process " in message
    assert str(path) in message
    assert hint == "Close it, or set STEERSCOPE_HOME to another folder for this one."


def test_this_process_is_told_of_another_and_opens_once_that_is_gone(tmp_path):
    path = tmp_path / "s.duckdb"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=f"process {holder.pid}"):
            ActivationStore.open(path)
        holder.stdin.close()
        holder.wait(timeout=20)
    store = ActivationStore.open(path)
    assert store.notice == ""
    store.close()


def damaged_by_noise(path):
    path.write_bytes(b"not a database " * 1000)


def damaged_by_a_cut(path):
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])


def damaged_inside(path):
    whole = bytearray(path.read_bytes())
    whole[4096:] = bytes(255 - byte for byte in whole[4096:])
    path.write_bytes(whole)


@pytest.mark.parametrize("damage", [damaged_by_noise, damaged_by_a_cut, damaged_inside])
def test_a_damaged_file_is_moved_aside_and_a_new_one_begun(tmp_path, damage):
    path = tmp_path / "s.duckdb"
    store = ActivationStore.open(path)
    store.keep_statistics("k", bytes(300_000))
    store.close()
    damage(path)
    bytes_found = path.read_bytes()
    store = ActivationStore.open(path)
    store.keep_report("r", "outliers", "f", "text")
    moved = [entry for entry in tmp_path.iterdir() if ".damaged-" in entry.name]
    assert [entry.read_bytes() for entry in moved] == [bytes_found]
    assert moved[0].name in store.notice
    assert (store.statistics("k"), store.report("r")) == (None, "text")
    store.close()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="STEERSCOPE_HOME"):
        ActivationStore.open(tmp_path / "file" / "s.duckdb")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path):
    (tmp_path / "s.duckdb").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        ActivationStore.open(tmp_path / "s.duckdb")


def test_what_was_committed_survives_a_process_that_was_killed(tmp_path):
    path = tmp_path / "s.duckdb"
    code = (
        "import os, signal, sys; from capture.store import ActivationStore; s = ActivationStore.open(sys.argv[1]);"
        "s.keep_report('r', 'outliers', 'f', 'text'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False).returncode == -9
    store = ActivationStore.open(path)
    assert (store.report("r"), store.notice) == ("text", "")
    store.close()


def test_the_store_lies_in_the_folder_that_the_environment_names(monkeypatch, tmp_path):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    assert default_path() == tmp_path / "home" / "steerscope.duckdb"
    monkeypatch.delenv("STEERSCOPE_HOME")
    assert default_path() == ROOT / "data" / "cache" / "steerscope.duckdb"
