"""ActivationStore: reports, views, statistics and captures in one DuckDB file, each under its digest."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.store_connection import StoreConnection, bytes_of_file
from capture.store_file import default_path
from capture.store_objects import Kept, find, make_room, read, remove, total_bytes, write
from capture.store_rows import ObjectRows
from capture.store_timings import Saving, Timing, Timings

if TYPE_CHECKING:
    # Torch is slow to import, and a kept view opens without it.
    import torch

    import capture.intervention
    import capture.store_captures

LIMIT_BYTES = 2 * 1024**3
TIMINGS_KEPT_S = 30 * 24 * 3600
LEAST_LIMIT_BYTES = 1000
KINDS = ("report", "view", "statistics", "capture", "dashboard", "tuning")


@dataclass(frozen=True)
class Contents:
    """How much of one kind is kept; `last_used` is in seconds since 1970, None where nothing is kept."""

    kind: str
    n: int
    n_bytes: int
    last_used: float | None


@dataclass(frozen=True)
class KeptView:
    """A kept view as lists show it; `made` is a time in UTC, "" where the view does not say."""

    id: str
    lens: str
    text: str
    made: str
    n_bytes: int


class ActivationStore:
    """One open store: one connection, a cursor a call, one writer at a time.

    Beyond `limit_bytes` the objects not used for longest are removed, but never a view nor a report that was shared by
    link.
    """

    def __init__(
        self, path: Path, limit_bytes: int | None = None, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.path = path
        self.clock = clock
        self.file = StoreConnection(path)
        self._limit_bytes = limit_bytes or int(self.remembered("setting", "limit_bytes") or LIMIT_BYTES)
        self._used: dict[int, float] = {}
        self.timings = Timings(self._past_timings(), pairs=self._past_pairs())

    @classmethod
    def open(cls, path: Path | str | None = None, limit_bytes: int | None = None) -> "ActivationStore":
        """The store in a file, by default `$STEERSCOPE_HOME/steerscope.duckdb` or data/cache/steerscope.duckdb.

        Raises UserError where another process holds it or it cannot be written; a damaged file is moved aside.
        """
        return cls(default_path() if path is None else Path(path), limit_bytes)

    @property
    def notice(self) -> str:
        """What opening the file took, "" where nothing."""
        return self.file.notice

    @property
    def limit_bytes(self) -> int:
        """How much may be kept; that which was set last is remembered in the file."""
        return self._limit_bytes

    @limit_bytes.setter
    def limit_bytes(self, n_bytes: int) -> None:
        """Bound what is kept from now on, and make room at once."""
        if n_bytes < LEAST_LIMIT_BYTES:
            raise UserError(
                f"The store's limit must be at least {LEAST_LIMIT_BYTES:,} bytes; {n_bytes:,} was given.",
                "Give a larger limit, or clear what is kept.",
            )
        self.remember("setting", "limit_bytes", str(n_bytes))
        self._limit_bytes = n_bytes
        with self.file.transaction() as cursor:
            self._make_room(cursor)

    def report(self, digest: str) -> str | None:
        """The JSON text of a kept report, or None."""
        data = self._read_one("report", digest)
        return None if data is None else data.decode()

    def keep_report(
        self, digest: str, lens: str, model_fingerprint: str, json_text: str, rows: ObjectRows | None = None
    ) -> None:
        """Keep a report under the digest of its Spec, in place of an older one, with rows for SQL where given."""
        header = {"lens": lens, "model": model_fingerprint}
        self.keep("report", {digest: (header, json_text.encode())}, rows=rows)

    def mark_shared(self, digest: str) -> None:
        """Never remove this report for want of room: somebody holds a link to it."""
        with self.file.transaction() as cursor:
            cursor.execute("UPDATE objects SET is_shared = true WHERE kind = 'report' AND key = ?", [digest])

    def view(self, identity: str) -> bytes | None:
        """The bytes of a kept view, or None."""
        return self._read_one("view", identity)

    def keep_view(self, identity: str, data: bytes, header: Mapping[str, str] | None = None) -> None:
        """Keep a view under its id; it is never removed for want of room.

        `header` has what `views` lists of it: lens, text, made.
        """
        self.keep("view", {identity: (dict(header or {}), data)}, replace=False)

    def views(self) -> list[KeptView]:
        """The kept views, the newest first."""
        with self.file.snapshot() as cursor:
            rows = cursor.execute("SELECT key, header, n_bytes FROM objects WHERE kind = 'view' ORDER BY id DESC")
            found = [(key, json.loads(header), n_bytes) for key, header, n_bytes in rows.fetchall()]
        return [
            KeptView(key, one.get("lens", ""), one.get("text", ""), one.get("made", ""), n) for key, one, n in found
        ]

    def forget_view(self, identity: str) -> None:
        """Remove a kept view; its short links open no longer."""
        with self.file.transaction() as cursor:
            remove(cursor, "kind = 'view' AND key = ?", [identity])

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

    def forget(self, kind: str, key: str) -> None:
        """Remove a remembered text, where there is one."""
        with self.file.transaction() as cursor:
            cursor.execute("DELETE FROM remembered WHERE kind = ? AND key = ?", [kind, key])

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

    def file_bytes(self) -> int:
        """Size of the file on disk, which is more than what is kept: removed objects leave room in it."""
        return bytes_of_file(self.path)

    def compact(self) -> tuple[int, int]:
        """Rewrite the file without that room; returns its size before and after. Others read meanwhile."""
        from capture.store_compaction import compact

        self._save_uses()
        return compact(self.file)

    def savings(self) -> list[Saving]:
        """What reading and running were measured to take, for each pair that was compared."""
        return self.timings.savings()

    def note_time(self, action: str, shape: str, seconds: float) -> None:
        """Note what reading ("read") or making ("run") one shape of thing took; `savings` sets them side by side."""
        self.timings.record(action, shape, seconds)
        self.timings.pairs.add((shape, shape))

    def clear(self, kind: str) -> None:
        """Remove everything of one kind; raises UserError for an unknown kind."""
        if kind not in KINDS:
            raise UserError(f"The store keeps nothing called {kind[:40]!r}.", f"Choose one of: {', '.join(KINDS)}.")
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
        self.note_used(kept)
        return read(cursor, kept)

    def note_used(self, kept: Mapping[str, Kept]) -> None:
        """Count objects as used now, so that they are not the first to go."""
        now = time.time()
        self._used.update({one.id: now for one in kept.values()})

    def keep(
        self,
        kind: str,
        objects: Mapping[str, tuple[dict[str, Any], bytes]],
        replace: bool = True,
        rows: ObjectRows | None = None,
    ) -> None:
        """Write objects in one transaction and make room for them; those that are there are replaced or left."""
        with self.file.transaction() as cursor:
            there = {} if replace or not objects else find(cursor, kind, list(objects))
            objects = {key: one for key, one in objects.items() if key not in there}
            marks = ",".join("?" * len(objects))
            shared = remove(cursor, f"kind = ? AND key IN ({marks})", [kind, *objects]) if objects else set()
            for key, (header, data) in objects.items():
                write(cursor, kind, key, header, data, is_shared=kind == "view" or key in shared, rows=rows)
            self._make_room(cursor)

    def _make_room(self, cursor: duckdb.DuckDBPyConnection) -> None:
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
        for pair in self.timings.new_pairs():
            cursor.execute("INSERT INTO remembered VALUES ('pair', ?, ?, ?)", [*pair, time.time()])

    def _past_timings(self) -> list[Timing]:
        with self.file.cursor() as cursor:
            rows = cursor.execute("SELECT action, shape, seconds FROM timings ORDER BY timed_at").fetchall()
        return [Timing(*row) for row in rows]

    def _past_pairs(self) -> set[tuple[str, str]]:
        with self.file.cursor() as cursor:
            return set(cursor.execute("SELECT key, value FROM remembered WHERE kind = 'pair'").fetchall())
