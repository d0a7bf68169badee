"""ActivationStore: reports, statistics and captures in one DuckDB file, each under the digest of what made it."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import duckdb
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.store_codec import capture_key, from_bytes, to_bytes
from capture.store_file import default_path, open_file, roll_back
from capture.store_pieces import insert_pieces, read_pieces
from capture.store_timings import Timing, Timings, size_class

LIMIT_BYTES = 2 * 1024**3
TIMINGS_KEPT_S = 30 * 24 * 3600
KINDS = ("report", "view", "statistics", "capture")

Source = Literal["store", "fresh"]


@runtime_checkable
class Runner(Protocol):
    """The part of ModelSession that the store asks."""

    fingerprint: str
    dtype: str
    device: str
    processing: str

    def capture(
        self, tokens: Sequence[int], at: Sequence[HookPoint], interventions: Sequence[Intervention] = ()
    ) -> dict[HookPoint, Tensor]: ...


@dataclass(frozen=True)
class Contents:
    """How much of one kind is kept; `last_used` is in seconds since 1970, None where nothing is kept."""

    kind: str
    n: int
    n_bytes: int
    last_used: float | None


@dataclass(frozen=True)
class _Kept:
    """One object as the file lists it."""

    id: int
    header: dict[str, Any]
    n_bytes: int


class ActivationStore:
    """One open store: one connection, a cursor a call, one writer at a time.

    `limit_bytes` bounds what is kept; beyond it the objects not used for longest are removed, but never a report
    that was shared by link. `notice` says what opening the file took, "" where nothing.
    """

    def __init__(
        self, path: Path, limit_bytes: int = LIMIT_BYTES, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._clock = clock
        self._connection, self.notice = open_file(path)
        self._writing = threading.RLock()
        self._used: dict[int, float] = {}
        self._timings = Timings(self._past_timings())

    @classmethod
    def open(cls, path: Path | str | None = None, limit_bytes: int = LIMIT_BYTES) -> "ActivationStore":
        """The store in a file, by default `$STEERSCOPE_HOME/steerscope.duckdb` or data/cache/steerscope.duckdb.

        Raises UserError where another process holds it or it cannot be written; a damaged file is moved aside.
        """
        return cls(default_path() if path is None else Path(path), limit_bytes)

    def report(self, digest: str) -> str | None:
        """The JSON text of a kept report, or None."""
        data = self._read_one("report", digest)
        return None if data is None else data.decode()

    def keep_report(self, digest: str, lens: str, model_fingerprint: str, json_text: str) -> None:
        """Keep a report under the digest of its Spec, in place of an older one."""
        self._keep("report", {digest: ({"lens": lens, "model": model_fingerprint}, json_text.encode())})

    def mark_shared(self, digest: str) -> None:
        """Never remove this report for want of room: somebody holds a link to it."""
        with self._transaction() as cursor:
            cursor.execute("UPDATE objects SET is_shared = true WHERE kind = 'report' AND key = ?", [digest])

    def view(self, identity: str) -> bytes | None:
        """The bytes of a kept view, or None."""
        return self._read_one("view", identity)

    def keep_view(self, identity: str, data: bytes) -> None:
        """Keep a view under its id; it is never removed for want of room."""
        self._keep("view", {identity: ({}, data)}, replace=False)
        with self._transaction() as cursor:
            cursor.execute("UPDATE objects SET is_shared = true WHERE kind = 'view' AND key = ?", [identity])

    def remember(self, kind: str, key: str, value: str) -> None:
        """Keep a short text under a kind and a key, in place of an older one."""
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM remembered WHERE kind = ? AND key = ?", [kind, key])
            cursor.execute("INSERT INTO remembered VALUES (?, ?, ?, ?)", [kind, key, value, time.time()])

    def remembered(self, kind: str, key: str) -> str | None:
        """The text that was kept under a kind and a key, or None."""
        with self._snapshot() as cursor:
            rows = cursor.execute("SELECT value FROM remembered WHERE kind = ? AND key = ?", [kind, key]).fetchall()
        return rows[0][0] if rows else None

    def statistics(self, key: str) -> bytes | None:
        """Kept statistics as they were given, or None."""
        return self._read_one("statistics", key)

    def keep_statistics(self, key: str, data: bytes) -> None:
        """Keep statistics under a digest of what made them, in place of older ones."""
        self._keep("statistics", {key: ({}, data)})

    def forget_statistics(self, key: str) -> None:
        """Remove kept statistics, where there are any."""
        with self._transaction() as cursor:
            self._remove(cursor, "kind = 'statistics' AND key = ?", [key])

    def captures(
        self,
        session: Runner,
        tokens: Sequence[int],
        at: Sequence[HookPoint],
        interventions: Sequence[Intervention] = (),
        keep: bool = False,
    ) -> tuple[dict[HookPoint, Tensor], Source]:
        """Activations as `session.capture` gives them, and whether they were read ("store") or run ("fresh").

        They are read only where all are kept and reading was measured to take less time than running; whole tensors
        are kept only where asked.
        """
        keys = {
            point: capture_key(session.fingerprint, session.dtype, session.processing, tokens, point, interventions)
            for point in at
        }
        run_shape = _run_shape(session, tokens, at)
        if keys and (found := self._read_captures(set(keys.values()), run_shape)):
            return {point: found[key] for point, key in keys.items()}, "store"
        start = self._clock()
        fresh = session.capture(tokens, at, interventions)
        self._timings.record("run", run_shape, self._clock() - start)
        if keep:
            self._keep("capture", {keys[point]: to_bytes(value) for point, value in fresh.items()}, replace=False)
        return fresh, "fresh"

    def contents(self) -> list[Contents]:
        """What is kept, one row for each kind."""
        self._save_uses()
        with self._cursor() as cursor:
            rows = cursor.execute("SELECT kind, count(*), sum(n_bytes), max(used_at) FROM objects GROUP BY kind")
            found = {kind: (n, n_bytes, used) for kind, n, n_bytes, used in rows.fetchall()}
        return [Contents(kind, *found.get(kind, (0, 0, None))) for kind in KINDS]

    def clear(self, kind: str) -> None:
        """Remove everything of one kind; raises UserError for an unknown kind."""
        if kind not in KINDS:
            raise UserError(f"The store keeps nothing called {kind!r}.", f"Choose one of: {', '.join(KINDS)}.")
        with self._transaction() as cursor:
            self._remove(cursor, "kind = ?", [kind])

    def close(self) -> None:
        """Save what is still in memory, forget times of long ago, and let go of the file."""
        self._save_uses()
        with self._transaction() as cursor:
            cursor.execute("DELETE FROM timings WHERE timed_at < ?", [time.time() - TIMINGS_KEPT_S])
        self._connection.close()

    def _read_one(self, kind: str, key: str) -> bytes | None:
        with self._snapshot() as cursor:
            return self._read(cursor, _find(cursor, kind, [key])).get(key)

    def _read_captures(self, keys: set[str], run_shape: str) -> dict[str, Tensor] | None:
        """Kept tensors, or None where one is missing or running is expected to be quicker."""
        with self._snapshot() as cursor:
            kept = _find(cursor, "capture", list(keys))
            read_shape = f"{len(kept)} of {size_class(sum(one.n_bytes for one in kept.values()))} bytes"
            if len(kept) < len(keys) or not self._timings.reading_is_expected_to_win(read_shape, run_shape):
                return None
            start = self._clock()
            found = self._read(cursor, kept)
            tensors = {key: from_bytes(kept[key].header, data) for key, data in found.items()}
            self._timings.record("read", read_shape, self._clock() - start)
        return tensors

    def _read(self, cursor: duckdb.DuckDBPyConnection, kept: Mapping[str, _Kept]) -> dict[str, bytes]:
        found = read_pieces(cursor, [one.id for one in kept.values()])
        now = time.time()
        self._used.update({one.id: now for one in kept.values()})
        return {key: found[one.id] for key, one in kept.items()}

    def _keep(self, kind: str, objects: Mapping[str, tuple[dict[str, Any], bytes]], replace: bool = True) -> None:
        """Write objects in one transaction and make room for them; those that are there are replaced or left."""
        with self._transaction() as cursor:
            there = {} if replace or not objects else _find(cursor, kind, list(objects))
            objects = {key: one for key, one in objects.items() if key not in there}
            marks = ",".join("?" * len(objects))
            shared = self._remove(cursor, f"kind = ? AND key IN ({marks})", [kind, *objects]) if objects else set()
            for key, (header, data) in objects.items():
                row = cursor.execute(
                    "INSERT INTO objects VALUES (nextval('object_ids'), ?, ?, ?, ?, ?, ?) RETURNING id",
                    [kind, key, json.dumps(header), len(data), time.time(), key in shared],
                ).fetchone()
                assert row is not None
                insert_pieces(cursor, row[0], data)
            self._make_room(cursor)

    def _remove(self, cursor: duckdb.DuckDBPyConnection, where: str, values: list[str]) -> set[str]:
        """Remove objects and their pieces; returns the keys of those that were shared by link."""
        removed = "DELETE FROM objects WHERE " + where + " RETURNING id, key, is_shared"
        rows = cursor.execute(removed, values).fetchall()
        if rows:
            cursor.execute(f"DELETE FROM pieces WHERE object_id IN ({','.join(str(row[0]) for row in rows)})")
        return {key for _, key, is_shared in rows if is_shared}

    def _make_room(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Remove the objects not used for longest until the rest is within the limit."""
        total = cursor.execute("SELECT coalesce(sum(n_bytes), 0) FROM objects").fetchall()[0][0]
        if total <= self.limit_bytes:
            return
        self._write_uses(cursor)
        rows = cursor.execute("SELECT id, n_bytes FROM objects WHERE NOT is_shared ORDER BY used_at, id").fetchall()
        removed = []
        for identity, n_bytes in rows:
            if total <= self.limit_bytes:
                break
            total -= n_bytes
            removed.append(identity)
        if removed:
            self._remove(cursor, f"id IN ({','.join(map(str, removed))})", [])

    def _save_uses(self) -> None:
        with self._transaction() as cursor:
            self._write_uses(cursor)

    def _write_uses(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Uses and timings wait in memory, so that a read writes nothing."""
        used, self._used = self._used, {}
        if used:
            rows = [[at, identity] for identity, at in list(used.items())]
            cursor.executemany("UPDATE objects SET used_at = ? WHERE id = ?", rows)
        timings, self._timings.unsaved = self._timings.unsaved, []
        if timings:
            measured = [[one.action, one.shape, one.seconds, time.time()] for one in timings]
            cursor.executemany("INSERT INTO timings VALUES (?, ?, ?, ?)", measured)

    def _past_timings(self) -> list[Timing]:
        with self._cursor() as cursor:
            rows = cursor.execute("SELECT action, shape, seconds FROM timings ORDER BY timed_at").fetchall()
        return [Timing(*row) for row in rows]

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
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
    def _snapshot(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor that sees the file as it was at one moment, whatever is written meanwhile."""
        with self._cursor() as cursor:
            cursor.execute("BEGIN")
            yield cursor
            cursor.execute("COMMIT")

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A cursor in a transaction that is rolled back on any error; one thread at a time writes."""
        with self._writing, self._cursor() as cursor:
            cursor.execute("BEGIN")
            try:
                yield cursor
                cursor.execute("COMMIT")
            except BaseException:
                roll_back(cursor)
                raise


def _find(cursor: duckdb.DuckDBPyConnection, kind: str, keys: list[str]) -> dict[str, _Kept]:
    """Those of the keys that are kept."""
    marks = ",".join("?" * len(keys))
    rows = cursor.execute(
        f"SELECT key, id, header, n_bytes FROM objects WHERE kind = ? AND key IN ({marks})", [kind, *keys]
    ).fetchall()
    return {key: _Kept(identity, json.loads(header), n_bytes) for key, identity, header, n_bytes in rows}


def _run_shape(session: Runner, tokens: Sequence[int], at: Sequence[HookPoint]) -> str:
    """What decides how long a capture runs: model, device, dtype, tokens, and how deep it must go."""
    layers = [-1 if point.layer is None else point.layer for point in at]
    depth = "all" if any(point.layer is None and point.site != "embed" for point in at) else max(layers, default=-1)
    return f"{session.fingerprint} {session.device} {session.dtype} {size_class(len(tokens))} tokens, depth {depth}"
