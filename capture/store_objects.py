"""Objects of the store within one transaction: found, read, written, removed, and the oldest removed for room."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from capture.store_pieces import insert_pieces, read_pieces
from capture.store_rows import ObjectRows, remove_rows


@dataclass(frozen=True)
class Kept:
    """One object as the file lists it."""

    id: int
    header: dict[str, Any]
    n_bytes: int


def find(cursor: duckdb.DuckDBPyConnection, kind: str, keys: list[str]) -> dict[str, Kept]:
    """Those of the keys that are kept."""
    marks = ",".join("?" * len(keys))
    rows = cursor.execute(
        f"SELECT key, id, header, n_bytes FROM objects WHERE kind = ? AND key IN ({marks})", [kind, *keys]
    ).fetchall()
    return {key: Kept(identity, json.loads(header), n_bytes) for key, identity, header, n_bytes in rows}


def read(cursor: duckdb.DuckDBPyConnection, kept: Mapping[str, Kept]) -> dict[str, bytes]:
    """The bytes of objects, by key."""
    found = read_pieces(cursor, [one.id for one in kept.values()])
    return {key: found[one.id] for key, one in kept.items()}


def write(
    cursor: duckdb.DuckDBPyConnection,
    kind: str,
    key: str,
    header: dict[str, Any],
    data: bytes,
    is_shared: bool,
    rows: ObjectRows | None = None,
) -> None:
    """Insert one object, with the rows that SQL can ask for."""
    n_bytes = len(data) + (rows.n_bytes if rows is not None else 0)
    inserted = cursor.execute(
        "INSERT INTO objects VALUES (nextval('object_ids'), ?, ?, ?, ?, ?, ?) RETURNING id",
        [kind, key, json.dumps(header), n_bytes, time.time(), is_shared],
    ).fetchone()
    assert inserted is not None
    insert_pieces(cursor, inserted[0], data)
    if rows is not None:
        rows.insert(cursor, inserted[0])


def remove(cursor: duckdb.DuckDBPyConnection, where: str, values: list[str]) -> set[str]:
    """Remove objects and all that belongs to them; returns the keys of those that were shared by link."""
    removed = "DELETE FROM objects WHERE " + where + " RETURNING id, key, is_shared"
    rows = cursor.execute(removed, values).fetchall()
    numbers = [row[0] for row in rows]
    if numbers:
        cursor.execute(f"DELETE FROM pieces WHERE object_id IN ({','.join(map(str, numbers))})")
        remove_rows(cursor, numbers)
    return {key for _, key, is_shared in rows if is_shared}


def total_bytes(cursor: duckdb.DuckDBPyConnection) -> int:
    """How much is kept."""
    return int(cursor.execute("SELECT coalesce(sum(n_bytes), 0) FROM objects").fetchall()[0][0])


def make_room(cursor: duckdb.DuckDBPyConnection, limit_bytes: int) -> None:
    """Remove the objects not used for longest until the rest is within the limit, but none that is shared."""
    total = total_bytes(cursor)
    rows = cursor.execute("SELECT id, n_bytes FROM objects WHERE NOT is_shared ORDER BY used_at, id").fetchall()
    removed = []
    for identity, n_bytes in rows:
        if total <= limit_bytes:
            break
        total -= n_bytes
        removed.append(identity)
    if removed:
        remove(cursor, f"id IN ({','.join(map(str, removed))})", [])
