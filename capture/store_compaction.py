"""Rewriting the store's file without the room that removed objects left in it.

1. Copy every table into a new file beside it while others go on reading. 2. Flush it to the disk. 3. Shut everybody
out, close the old file so that its write-ahead log is gone, and rename the new one over it. A process that is killed at
any moment leaves either the old file or the new one; what it was writing is removed the next time.
"""

import os
from contextlib import closing, suppress
from pathlib import Path

import duckdb

from capture.errors import UserError
from capture.store_connection import StoreConnection, bytes_of_file
from capture.store_file import is_full, new_file, rewritten

TABLES = (
    "objects",
    "pieces",
    "timings",
    "remembered",
    "jobs",
    "report_facts",
    "report_tokens",
    "report_statistics",
    "report_findings",
    "dashboard_latents",
    "dashboard_cards",
    "dashboard_tokens",
    "latent_labels",
)


def compact(file: StoreConnection) -> tuple[int, int]:
    """Rewrite the file; returns its size before and after. Raises UserError where there is no room for the copy."""
    new = rewritten(file.path)
    before = bytes_of_file(file.path)
    with file.no_writer():
        try:
            _copy(file, new)
            file.change_over(lambda: _put_in_place(new, file.path))
        except (duckdb.Error, OSError) as error:
            raise _refusal(file.path, error) from error
        finally:
            _remove(new)
    return before, bytes_of_file(file.path)


def _copy(file: StoreConnection, new: Path) -> None:
    _remove(new)
    with file.snapshot() as old, closing(new_file(new)) as connection:
        for name in TABLES:
            # Through Arrow, so that neither connection needs the right to open other files.
            connection.register("incoming", old.sql(f"FROM {name}").to_arrow_reader(20_000))
            connection.execute(f"INSERT INTO {name} BY NAME FROM incoming")
            connection.unregister("incoming")
        last = old.execute("SELECT nextval('object_ids')").fetchall()[0][0]
        connection.execute(f"CREATE OR REPLACE SEQUENCE object_ids START {last + 1}")
        connection.execute("CHECKPOINT")
    _flush(new)


def _put_in_place(new: Path, path: Path) -> None:
    # A log that the old file still has would be replayed into the new one.
    if _log_of(path).exists() or _log_of(new).exists():
        raise UserError(f"The store {path} has changes that could not be written into it.", "It stays as it was.")
    os.replace(new, path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(new: Path) -> None:
    for path in (new, _log_of(new)):
        with suppress(FileNotFoundError):
            path.unlink()


def _log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.wal")


def _refusal(path: Path, error: duckdb.Error | OSError) -> UserError:
    if is_full(error):
        return UserError(f"There is no room beside {path} for a copy of it.", "Make room there, or clear what is kept.")
    return UserError(f"The store {path} could not be rewritten: {str(error).splitlines()[0]}", "It stays as it was.")
