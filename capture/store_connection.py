"""The store's open file: a cursor a call, one writer at a time, and everybody out while the file is changed over."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from capture.errors import UserError
from capture.store_file import open_file, roll_back


class StoreConnection:
    """One connection for all threads; `notice` says what opening the file took, "" where nothing.

    A thread that writes must not hold a cursor of its own already.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection, self.notice = open_file(path)
        self._writing = threading.RLock()

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor; what DuckDB says becomes a UserError."""
        cursor = self._connection.cursor()
        try:
            yield cursor
        except duckdb.Error as error:
            raise UserError(
                f"The store {self.path} cannot be used: {str(error).splitlines()[0]}",
                "Start Steerscope again; if it stays so, delete that file.",
            ) from error
        finally:
            cursor.close()

    @contextmanager
    def snapshot(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor that sees the file as it was at one moment, whatever is written meanwhile."""
        with self.cursor() as cursor:
            cursor.execute("BEGIN")
            yield cursor
            cursor.execute("COMMIT")

    @contextmanager
    def transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor in a transaction that is rolled back on any error; one thread at a time writes."""
        with self._writing, self.cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                roll_back(cursor)
                raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
