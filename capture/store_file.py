"""The store's one DuckDB file: where it is, who holds it, what if it is damaged."""

import os
import re
import time
from contextlib import suppress
from pathlib import Path

import duckdb

from capture.errors import UserError
from capture.home import home_folder
from capture.store_migrations import migrate

# No statement may reach another file, the network or an extension, whatever text ends up in it.
HARDENED: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "memory_limit": "1GB",
    "threads": "1",
    "lock_configuration": "true",
    "max_temp_directory_size": "1GB",
    "python_enable_replacements": "false",
}
_ELSEWHERE = "set STEERSCOPE_HOME to another folder"


def default_path() -> Path:
    """`$STEERSCOPE_HOME/steerscope.duckdb`, or data/cache/steerscope.duckdb beside the program."""
    return home_folder() / "steerscope.duckdb"


def open_file(path: Path) -> tuple[duckdb.DuckDBPyConnection, str]:
    """A connection to a migrated store, and a sentence on what had to be done ("" mostly).

    A damaged file is moved aside and a new one begun. Raises UserError where another process holds the file, where
    a newer program made it, or where the folder cannot be written.
    """
    _make_folder(path.parent)
    try:
        connection = _connect(path)
        # A rewriting that was killed left it; only who holds the store may remove it.
        rewritten(path).unlink(missing_ok=True)
        return connection, ""
    except duckdb.Error as error:
        if refusal := _refusal(path, error):
            raise refusal from error
        moved = _move_aside(path)
    notice = f"The store {path.name} was damaged; it was moved to {moved.name} and a new one was begun."
    return _connect(path), notice


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(str(path), config=HARDENED)
    try:
        migrate(connection)
        # An unfetched result keeps a snapshot open, and with it every row that is removed later: 820 MB for 20 MB.
        connection.execute("SELECT count(*), sum(n_bytes), max(used_at), max(header) FROM objects").fetchall()
        connection.execute("SELECT count(*), sum(object_id), sum(n) FROM pieces").fetchall()
    except (duckdb.Error, UserError):
        connection.close()
        raise
    return connection


def rewritten(path: Path) -> Path:
    """Where a rewritten store lies until it is put in place."""
    return path.with_name(f"{path.name}.compact")


def new_file(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection to a store that is not there yet."""
    return _connect(path)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The store's folder {folder} cannot be made: {error.strerror}.", f"Please {_ELSEWHERE}."
        ) from error


def _refusal(path: Path, error: duckdb.Error) -> UserError | None:
    """What a person can put right about a file that does not open; None where the file itself is damaged."""
    reason = str(error)
    if isinstance(error, duckdb.ProgrammingError):
        return UserError(f"The DuckDB file {path} is not a store of Steerscope.", f"Move it away, or {_ELSEWHERE}.")
    if "set lock" in reason:
        holder = re.search(r"PID (\d+)", reason)
        who = f" (process {holder[1]})" if holder else ""
        return UserError(
            f"Another Steerscope{who} holds the store {path}.",
            f"Close it, or {_ELSEWHERE} for this one.",
        )
    if is_full(error):
        return UserError(f"The store {path} cannot be opened: its disk is full.", f"Make room there, or {_ELSEWHERE}.")
    if "version number" in reason or "newer version" in reason:
        return UserError(f"The store {path} was written by a newer DuckDB.", f"Update Steerscope, or {_ELSEWHERE}.")
    if not path.is_file() or not os.access(path, os.R_OK | os.W_OK) or not os.access(path.parent, os.W_OK):
        return UserError(f"The store {path} cannot be written: {reason.splitlines()[0]}", f"Please {_ELSEWHERE}.")
    return None


def is_full(error: Exception) -> bool:
    """Whether a write failed for want of room."""
    return any(words in str(error) for words in ("No space left", "File too large", "quota exceeded"))


def _move_aside(path: Path) -> Path:
    """Rename a damaged file and its write-ahead log; returns the new name."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    n = 0
    while (moved := path.with_name(f"{path.name}.damaged-{stamp}{f'-{n}' if n else ''}")).exists():
        n += 1
    path.rename(moved)
    log = path.with_name(f"{path.name}.wal")
    if log.exists():
        log.rename(moved.with_name(f"{moved.name}.wal"))
    return moved


def roll_back(cursor: duckdb.DuckDBPyConnection) -> None:
    """End a transaction without its changes."""
    # A failed COMMIT has ended the transaction already, and a full disk the whole connection.
    with suppress(duckdb.Error):
        cursor.execute("ROLLBACK")
