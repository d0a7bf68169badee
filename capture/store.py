"""ActivationStore: reports, views, statistics and captures in one DuckDB file, each under its digest."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.store_connection import StoreConnection
from capture.store_file import default_path
from capture.store_objects import Kept, find, make_room, read, remove, total_bytes, write
from capture.store_timings import Timing, Timings

if TYPE_CHECKING:
    # Torch is slow to import, and a kept view opens without it.
    import torch

    import capture.intervention
    import capture.store_captures

LIMIT_BYTES = 2 * 1024**3
TIMINGS_KEPT_S = 30 * 24 * 3600
KINDS = ("report", "view", "statistics", "capture")


@dataclass(frozen=True)
class Contents:
    """How much of one kind is kept; `last_used` is in seconds since 1970, None where nothing is kept."""

    kind: str
    n: int
    n_bytes: int
    last_used: float | None


class ActivationStore:
    """One open store: one connection, a cursor a call, one writer at a time.

    `limit_bytes` bounds what is kept; beyond it the objects not used for longest are removed, but never a view nor a
    report that was shared by link. `notice` says what opening the file took, "" where nothing.
    """

    def __init__(
        self, path: Path, limit_bytes: int = LIMIT_BYTES, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self.clock = clock
        self.file = StoreConnection(path)
        self.notice = self.file.notice
        self._used: dict[int, float] = {}
        self.timings = Timings(self._past_timings())

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
        self.keep("report", {digest: ({"lens": lens, "model": model_fingerprint}, json_text.encode())})

    def mark_shared(self, digest: str) -> None:
        """Never remove this report for want of room: somebody holds a link to it."""
        with self.file.transaction() as cursor:
            cursor.execute("UPDATE objects SET is_shared = true WHERE kind = 'report' AND key = ?", [digest])

    def view(self, identity: str) -> bytes | None:
        """The bytes of a kept view, or None."""
        return self._read_one("view", identity)

    def keep_view(self, identity: str, data: bytes) -> None:
        """Keep a view under its id; it is never removed for want of room."""
        self.keep("view", {identity: ({}, data)}, replace=False)

    def remember(self, kind: str, key: str, value: str) -> None:
        """Keep a short text under a kind and a key, in place of an older one."""
        with self.file.transaction() as cursor:
            cursor.execute("DELETE FROM remembered WHERE kind = ? AND key = ?", [kind, key])
            cursor.execute("INSERT INTO remembered VALUES (?, ?, ?, ?)", [kind, key, value, time.time()])

    def remembered(self, kind: str, key: str) -> str | None:
        """The text that was kept under a kind and a key, or None."""
        with self.file.snapshot() as cursor:
            rows = cursor.execute("SELECT value FROM remembered WHERE kind = ? AND key = ?", [kind, key]).fetchall()
        return rows[0][0] if rows else None

    def statistics(self, key: str) -> bytes | None:
        """Kept statistics as they were given, or None."""
        return self._read_one("statistics", key)

    def keep_statistics(self, key: str, data: bytes) -> None:
        """Keep statistics under a digest of what made them, in place of older ones."""
        self.keep("statistics", {key: ({}, data)})

    def forget_statistics(self, key: str) -> None:
        """Remove kept statistics, where there are any."""
        with self.file.transaction() as cursor:
            remove(cursor, "kind = 'statistics' AND key = ?", [key])

    def captures(
        self,
        session: "capture.store_captures.Runner",
        tokens: Sequence[int],
        at: Sequence[HookPoint],
        interventions: "Sequence[capture.intervention.Intervention]" = (),
        keep: bool = False,
    ) -> "tuple[dict[HookPoint, torch.Tensor], capture.store_captures.Source]":
        """Activations as `session.capture` gives them, and whether they were read ("store") or run ("fresh").

        They are read only where all are kept and reading was measured to take less time than running; whole tensors
        are kept only where asked.
        """
        from capture.store_captures import captures

        return captures(self, session, tokens, at, interventions, keep)

    def contents(self) -> list[Contents]:
        """What is kept, one row for each kind."""
        self._save_uses()
        with self.file.cursor() as cursor:
            rows = cursor.execute("SELECT kind, count(*), sum(n_bytes), max(used_at) FROM objects GROUP BY kind")
            found = {kind: (n, n_bytes, used) for kind, n, n_bytes, used in rows.fetchall()}
        return [Contents(kind, *found.get(kind, (0, 0, None))) for kind in KINDS]

    def clear(self, kind: str) -> None:
        """Remove everything of one kind; raises UserError for an unknown kind."""
        if kind not in KINDS:
            raise UserError(f"The store keeps nothing called {kind!r}.", f"Choose one of: {', '.join(KINDS)}.")
        with self.file.transaction() as cursor:
            remove(cursor, "kind = ?", [kind])

    def close(self) -> None:
        """Save what is still in memory, forget times of long ago, and let go of the file."""
        self._save_uses()
        with self.file.transaction() as cursor:
            cursor.execute("DELETE FROM timings WHERE timed_at < ?", [time.time() - TIMINGS_KEPT_S])
        self.file.close()

    def read(self, cursor: duckdb.DuckDBPyConnection, kept: Mapping[str, Kept]) -> dict[str, bytes]:
        """The bytes of objects by key; they count as used now."""
        now = time.time()
        self._used.update({one.id: now for one in kept.values()})
        return read(cursor, kept)

    def keep(self, kind: str, objects: Mapping[str, tuple[dict[str, Any], bytes]], replace: bool = True) -> None:
        """Write objects in one transaction and make room for them; those that are there are replaced or left."""
        with self.file.transaction() as cursor:
            there = {} if replace or not objects else find(cursor, kind, list(objects))
            objects = {key: one for key, one in objects.items() if key not in there}
            marks = ",".join("?" * len(objects))
            shared = remove(cursor, f"kind = ? AND key IN ({marks})", [kind, *objects]) if objects else set()
            for key, (header, data) in objects.items():
                write(cursor, kind, key, header, data, is_shared=kind == "view" or key in shared)
            if total_bytes(cursor) > self.limit_bytes:
                self._write_uses(cursor)
                make_room(cursor, self.limit_bytes)

    def _read_one(self, kind: str, key: str) -> bytes | None:
        with self.file.snapshot() as cursor:
            return self.read(cursor, find(cursor, kind, [key])).get(key)

    def _save_uses(self) -> None:
        with self.file.transaction() as cursor:
            self._write_uses(cursor)

    def _write_uses(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Uses and timings wait in memory, so that a read writes nothing."""
        used, self._used = self._used, {}
        if used:
            rows = [[at, identity] for identity, at in list(used.items())]
            cursor.executemany("UPDATE objects SET used_at = ? WHERE id = ?", rows)
        timings, self.timings.unsaved = self.timings.unsaved, []
        if timings:
            measured = [[one.action, one.shape, one.seconds, time.time()] for one in timings]
            cursor.executemany("INSERT INTO timings VALUES (?, ?, ?, ?)", measured)

    def _past_timings(self) -> list[Timing]:
        with self.file.cursor() as cursor:
            rows = cursor.execute("SELECT action, shape, seconds FROM timings ORDER BY timed_at").fetchall()
        return [Timing(*row) for row in rows]
