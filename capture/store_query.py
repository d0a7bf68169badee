"""SQL over the store: read-only, bounded in time, rows and memory, and never beyond the store's own views."""

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from typing import Any
from uuid import UUID

import duckdb

from capture.errors import UserError
from capture.store import ActivationStore
from capture.store_file import roll_back
from capture.store_statement import MAX_CHARACTERS, check_statement
from capture.store_views import BUILT_IN_QUERIES, show_views

LIMIT_ROWS = 1000
LIMIT_S = 5.0
MAX_CELL_CHARACTERS = 10_000
QUERY = "query"
"""What the store remembers saved queries as."""
_asking = threading.Lock()


@dataclass(frozen=True)
class QueryResult:
    """Rows of plain values, with column names that differ and DuckDB types; `is_cut` where there was more than fits.

    Raw bytes are given as how many there are, under the type BYTES; decimals and integers beyond 64 bits as floats.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool
    seconds: float


def query(
    store: ActivationStore,
    sql: str,
    limit_rows: int = LIMIT_ROWS,
    limit_s: float = LIMIT_S,
    stop: threading.Event | None = None,
) -> QueryResult:
    """What one SELECT or EXPLAIN finds; setting `stop` ends it. One query runs at a time.

    Raises UserError where the statement is not one that may be asked, fails, takes longer than `limit_s` or is stopped.
    """
    stop = stop or threading.Event()
    with _asking, store.file.cursor() as cursor:
        show_views(cursor)
        statement = check_statement(cursor, sql)
        start = time.perf_counter()
        cursor.execute("BEGIN TRANSACTION READ ONLY")
        try:
            with _limited(cursor, limit_s, stop):
                cursor.execute(statement)
                found = cursor.fetchmany(limit_rows + 1)
            columns = [(str(name), str(kind)) for name, kind, *_ in cursor.description or ()]
        except duckdb.FatalException:
            raise
        except (duckdb.Error, OverflowError, ValueError) as error:
            raise _refusal(error, limit_s, stop) from error
        finally:
            roll_back(cursor)
    return _result(columns, found, limit_rows, time.perf_counter() - start)


@contextmanager
def _limited(cursor: duckdb.DuckDBPyConnection, limit_s: float, stop: threading.Event) -> Iterator[None]:
    """Interrupt the cursor after `limit_s`, or as soon as `stop` is set."""
    is_done = threading.Event()

    def watch() -> None:
        end = time.monotonic() + limit_s
        while not is_done.wait(0.02):
            if stop.is_set() or time.monotonic() > end:
                cursor.interrupt()
                return

    watcher = threading.Thread(target=watch, name="query-limit", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_done.set()
        watcher.join()


def _result(columns: list[tuple[str, str]], found: list[Any], limit_rows: int, seconds: float) -> QueryResult:
    rows = tuple(tuple(map(_plain, row)) for row in found[:limit_rows])
    types = tuple("BYTES" if kind == "BLOB" else kind for _, kind in columns)
    is_cut = len(found) > limit_rows or any(_is_long(value) for row in found for value in row)
    return QueryResult(_told_apart([name for name, _ in columns]), types, rows, is_cut, seconds)


def _told_apart(names: Sequence[str]) -> tuple[str, ...]:
    """Column names, with a number after those that are there already."""
    found: list[str] = []
    for name in names:
        found.append(next(one for n in count(1) if (one := name if n == 1 else f"{name}_{n}") not in found))
    return tuple(found)


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > MAX_CELL_CHARACTERS


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return len(value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=str, ensure_ascii=False)[:MAX_CELL_CHARACTERS]
    if isinstance(value, Decimal) or (isinstance(value, int) and abs(value) >= 2**63):
        return float(value)
    if isinstance(value, UUID):
        return str(value)
    return value[:MAX_CELL_CHARACTERS] if _is_long(value) else value


def _refusal(error: Exception, limit_s: float, stop: threading.Event) -> UserError:
    if isinstance(error, duckdb.InterruptException):
        if stop.is_set():
            return UserError("The query was stopped.", "Ask again when you like.")
        return UserError(f"The query took longer than {limit_s:g} s and was stopped.", "Ask for less: add a WHERE.")
    if isinstance(error, duckdb.OutOfMemoryException):
        return UserError("The query needs more memory than it may use.", "Ask for less: add a WHERE or a LIMIT.")
    if "pytz" in str(error):
        return UserError("A time with a time zone cannot be shown.", "Cast it: now()::TIMESTAMP.")
    return UserError(f"The query cannot be answered: {str(error).splitlines()[0][:300]}", "Change it and ask again.")


def queries(store: ActivationStore) -> dict[str, str]:
    """SQL by name: the built-in queries, then the saved ones by name."""
    with store.file.snapshot() as cursor:
        rows = cursor.execute("SELECT key, value FROM remembered WHERE kind = ? ORDER BY key", [QUERY]).fetchall()
    return BUILT_IN_QUERIES | dict(rows)


def save_query(store: ActivationStore, name: str, sql: str) -> None:
    """Keep SQL under a name, in place of an older one; raises UserError for a name that is empty or built in."""
    name = name.strip()
    if not 0 < len(name) <= 80 or name in BUILT_IN_QUERIES:
        raise UserError(
            f"A query is saved under a name of its own of 1 to 80 characters; {name[:80]!r} was given.",
            "Give another name.",
        )
    if not sql.strip() or len(sql) > MAX_CHARACTERS:
        raise UserError(f"A query has 1 to {MAX_CHARACTERS:,} characters; it has {len(sql):,}.", "Write the query.")
    store.remember(QUERY, name, sql)


def forget_query(store: ActivationStore, name: str) -> None:
    """Remove a saved query; built-in ones stay."""
    store.forget(QUERY, name)
