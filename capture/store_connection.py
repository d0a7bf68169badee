"""The store's open file: a cursor a call, one writer at a time, and everybody out while the file is changed over."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from capture.errors import UserError
from capture.store_file import is_full, open_file, roll_back


class StoreConnection:
    """One connection for all threads; `notice` says what opening the file took, "" where nothing.

    A thread that holds a cursor reads only: it asks for no transaction until it has let go. A file that DuckDB gave up
    on, as after a full disk, is opened again by whoever asks next.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection, self.notice = open_file(path)
        self._is_lost = False
        self._writing = threading.RLock()
        self._door = threading.Condition()
        self._n_inside = 0
        self._is_shut = False

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor; what DuckDB says becomes a UserError."""
        if self._is_lost:
            self.change_over()
        with self._inside():
            cursor = None
            try:
                cursor = self._connection.cursor()
                yield cursor
            except duckdb.Error as error:
                self._is_lost = self._is_lost or isinstance(error, duckdb.FatalException)
                raise self._refusal(error) from error
            finally:
                if cursor is not None:
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

    @contextmanager
    def no_writer(self) -> Iterator[None]:
        """Other threads read and do not write meanwhile."""
        with self._writing:
            yield

    def change_over(self, replace: Callable[[], None] | None = None) -> None:
        """Close the file, put another in its place where asked, and open what is there; other threads wait."""
        with self._writing, self._alone():
            if replace is None and not self._is_lost:
                return
            self._is_lost = True
            with suppress(duckdb.Error):
                self._connection.close()
            if replace is not None:
                replace()
            self._connection, notice = open_file(self.path)
            self.notice = notice or self.notice
            self._is_lost = False

    def close(self) -> None:
        """Let go of the file, once nobody uses it."""
        with self._writing, self._alone():
            self._connection.close()

    @contextmanager
    def _inside(self) -> Iterator[None]:
        with self._door:
            self._door.wait_for(lambda: not self._is_shut)
            self._n_inside += 1
        try:
            yield
        finally:
            with self._door:
                self._n_inside -= 1
                self._door.notify_all()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._door:
            self._is_shut = True
            self._door.wait_for(lambda: self._n_inside == 0)
        try:
            yield
        finally:
            with self._door:
                self._is_shut = False
                self._door.notify_all()

    def _refusal(self, error: duckdb.Error) -> UserError:
        if is_full(error):
            return UserError(
                f"The store {self.path} cannot grow: its disk is full.", "Make room there, or clear what is kept."
            )
        return UserError(
            f"The store {self.path} cannot be used: {str(error).splitlines()[0]}",
            "Start Steerscope again; if it stays so, delete that file.",
        )


def bytes_of_file(path: Path) -> int:
    """Size of the store on disk, with what waits in its write-ahead log."""
    sizes = []
    for one in (path, path.with_name(f"{path.name}.wal")):
        with suppress(FileNotFoundError):
            sizes.append(os.stat(one).st_size)
    return sum(sizes)
