"""The bytes of an object as small rows: cut on the way in, joined on the way out."""

from collections.abc import Iterable

import duckdb
import numpy as np
import pyarrow as pa

from capture.store_migrations import PIECE_BYTES


def insert_pieces(
    cursor: duckdb.DuckDBPyConnection, object_id: int, data: bytes, piece_bytes: int = PIECE_BYTES
) -> None:
    """Cut bytes into pieces and insert them through Arrow, without copying them one by one."""
    n = -(-len(data) // piece_bytes)
    if not n:
        return
    ends = np.minimum(np.arange(n + 1, dtype=np.int64) * piece_bytes, len(data))
    columns = {
        "object_id": pa.array(np.full(n, object_id, dtype=np.int64)),
        "n": pa.array(np.arange(n, dtype=np.int32)),
        "data": pa.Array.from_buffers(pa.large_binary(), n, [None, pa.py_buffer(ends), pa.py_buffer(data)]),
    }
    cursor.register("incoming", pa.table(columns))
    cursor.execute("INSERT INTO pieces SELECT * FROM incoming")
    cursor.unregister("incoming")


def read_pieces(cursor: duckdb.DuckDBPyConnection, object_ids: Iterable[int]) -> dict[int, bytes]:
    """The joined bytes of each object; empty for one that has no pieces."""
    pieces: dict[int, list[bytes]] = {identity: [] for identity in object_ids}
    marks = ",".join(map(str, pieces))
    rows = cursor.execute(f"SELECT object_id, data FROM pieces WHERE object_id IN ({marks}) ORDER BY object_id, n")
    for identity, piece in rows.fetchall():
        pieces[identity].append(piece)
    return {identity: b"".join(parts) for identity, parts in pieces.items()}
