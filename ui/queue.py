"""The queue: long work that outlives its page, taken in turns between owners, and kept so that a restart goes on."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from capture.errors import UserError
from ui.boundary import error_id
from ui.job import Cancelled, Job, JobKind, Outcome
from ui.job_ledger import ACTIVE, JobLedger

if TYPE_CHECKING:
    from capture.store import ActivationStore
    from capture.store_jobs import JobRow

MAX_WAITING = 20
"""Jobs that one owner may have queued or running."""
SAVE_S = 5.0
"""Seconds between two writes of a running job's progress."""


@dataclass(frozen=True)
class Standing:
    """One job as it stands now; `left_s` is a guess at the seconds it still needs."""

    row: "JobRow"
    left_s: float | None = None

    @property
    def is_active(self) -> bool:
        """Whether it waits or runs."""
        return self.row.state in ACTIVE


@dataclass(eq=False)
class _Entry:
    row: "JobRow"
    job: Job
    saved_s: float = 0.0


class Queue:
    """All jobs of this process. Each lane runs one job at a time and goes round the owners.

    `store()` is where they are kept; a store that cannot be had leaves them in memory. `start` goes on with what an
    earlier process left.
    """

    def __init__(self, kinds: Mapping[str, JobKind], store: Callable[[], "ActivationStore | None"]) -> None:
        self._kinds = kinds
        self._ledger = JobLedger(store)
        self._changed = threading.Condition()
        self._saving = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._merged: dict[str, str] = {}
        self._served: dict[str, int] = {}
        self._last_made = 0.0
        self._threads: list[threading.Thread] = []
        self._is_closed = False
        self.is_ready = False
        """Whether what an earlier process left has been read."""

    def start(self) -> "Queue":
        """Begin to work; returns at once."""
        self._thread(self._begin, "queue")
        return self

    def close(self, limit_s: float = 10.0) -> None:
        """Stop as a stopped process would: what runs is found again as running by the next start."""
        with self._changed:
            self._is_closed = True
            for entry in self._entries.values():
                entry.job.cancel()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(limit_s)

    def submit(self, kind: str, recipe: Mapping[str, Any], owner: str, name: str) -> str:
        """Queue a job and return its id: that of the owner's waiting or running one where it is the same.

        An ended one of the same recipe is dropped. Raises UserError where the owner has too many already.
        """
        text = json.dumps(recipe, sort_keys=True)
        with self._changed:
            same = [one for one in self._of(owner) if (one.row.kind, one.row.recipe) == (kind, text)]
            if active := [one for one in same if one.row.state in ACTIVE]:
                return active[0].row.id
            if sum(one.row.state in ACTIVE for one in self._of(owner)) >= MAX_WAITING:
                raise UserError(
                    f"At most {MAX_WAITING} jobs of one person may wait; there are {MAX_WAITING} already.",
                    "Cancel one in the sidebar, or wait until one ends.",
                )
            row = self._new_row(kind, text, owner, name)
            self._entries[row.id] = _Entry(row, Job(row.id, name, words="waiting for its turn"))
            for one in same:
                del self._entries[one.row.id]
            self._changed.notify_all()
        self._save(row.id, *(one.row.id for one in same))
        return row.id

    def job(self, identity: str) -> Job | None:
        """The job of that id while it is known."""
        with self._changed:
            entry = self._entries.get(self._merged.get(identity, identity))
            return entry.job if entry else None

    def jobs(self, owner: str) -> tuple[Standing, ...]:
        """The owner's jobs, oldest first."""
        with self._changed:
            return tuple(Standing(_live(one), one.job.left_s) for one in self._of(owner))

    def n_others(self, owner: str) -> int:
        """How many jobs of others wait or run."""
        with self._changed:
            rows = [one.row for one in self._entries.values()]
            return sum(row.state in ACTIVE and row.owner != owner for row in rows)

    def cancel(self, identity: str, owner: str) -> None:
        """Stop the owner's job at its next step; it stays in the list as cancelled."""
        with self._changed:
            entry = self._owned(identity, owner)
            if entry is None or entry.row.state not in ACTIVE:
                return
            was_waiting = entry.row.state == "queued"
            entry.job.cancel()
            entry.row = replace(_live(entry), state="cancelled", words="cancelled", ended_at=time.time())
            if was_waiting:
                entry.job.run(lambda progress: progress(0.0, ""))
        self._save(entry.row.id)

    def dismiss(self, identity: str, owner: str) -> None:
        """Forget the owner's ended job."""
        with self._changed:
            entry = self._owned(identity, owner)
            if entry is None or not entry.job.is_done:
                return
            del self._entries[entry.row.id]
        self._save(entry.row.id)

    def again(self, identity: str, owner: str) -> None:
        """Queue the owner's failed or cancelled job once more; it goes on from its last checkpoint."""
        with self._changed:
            entry = self._owned(identity, owner)
        if entry is not None and entry.row.state in ("failed", "cancelled"):
            self.submit(entry.row.kind, json.loads(entry.row.recipe), owner, entry.row.name)

    def claim(self, before: str, owner: str) -> None:
        """Hand all jobs of one owner to another, who they turned out to be; of two that are the same one is kept."""
        with self._changed:
            known = {(one.row.kind, one.row.recipe): one for one in self._of(owner)}
            moved = self._of(before)
            for entry in moved:
                twin = known.get((entry.row.kind, entry.row.recipe))
                if twin is not None and twin.row.state in ACTIVE:
                    entry.job.cancel()
                    self._merged[entry.row.id] = twin.row.id
                    del self._entries[entry.row.id]
                else:
                    entry.row = replace(entry.row, owner=owner)
        self._save(*(one.row.id for one in moved))

    def _new_row(self, kind: str, recipe: str, owner: str, name: str) -> "JobRow":
        from capture.store_jobs import JobRow

        # Two jobs asked for within one tick of the clock keep their order.
        self._last_made = max(time.time(), self._last_made + 1e-6)
        return JobRow(
            id=uuid.uuid4().hex,
            kind=kind,
            recipe=recipe,
            owner=owner,
            name=name,
            state="queued",
            words="waiting for its turn",
            made_at=self._last_made,
        )

    def _of(self, owner: str) -> list[_Entry]:
        return sorted(
            (one for one in self._entries.values() if one.row.owner == owner), key=lambda one: one.row.made_at
        )

    def _owned(self, identity: str, owner: str) -> _Entry | None:
        entry = self._entries.get(self._merged.get(identity, identity))
        return entry if entry is not None and entry.row.owner == owner else None

    def _thread(self, work: Callable[..., None], name: str, *arguments: Any) -> None:
        thread = threading.Thread(target=work, name=name, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _begin(self) -> None:
        self._recover()
        for lane in sorted({kind.lane for kind in self._kinds.values()}):
            self._thread(self._run_lane, f"queue {lane}", lane)

    def _recover(self) -> None:
        """Take over the rows that an earlier process left; what ran then waits for its turn again."""
        rows = self._ledger.rows()
        with self._changed:
            for row in rows:
                job = Job(row.id, row.name, share=row.share, words=row.words)
                self._entries[row.id] = _Entry(row, job if row.state in ACTIVE else job.spent())
            self.is_ready = True
            self._changed.notify_all()

    def _run_lane(self, lane: str) -> None:
        while (entry := self._take(lane)) is not None:
            kind = self._kinds[entry.row.kind]
            self._save(entry.row.id)
            entry.job.run(lambda progress, entry=entry, kind=kind: self._work(kind, entry))  # type: ignore[misc]
            self._settle(entry)

    def _take(self, lane: str) -> _Entry | None:
        """The entry whose turn it is, once there is one; None when the queue was closed."""
        with self._changed:
            while not self._is_closed:
                self._refuse_unknown()
                waiting = {
                    one.row.id: one
                    for one in self._entries.values()
                    if one.row.state == "queued" and self._kinds[one.row.kind].lane == lane
                }
                if waiting:
                    entry = waiting[next_in_turn([one.row for one in waiting.values()], self._served).id]
                    self._served[entry.row.owner] = max(self._served.values(), default=0) + 1
                    entry.row = replace(entry.row, state="running", words="starting", started_at=time.time())
                    entry.job.words = "starting"
                    return entry
                self._changed.wait()
        return None

    def _refuse_unknown(self) -> None:
        """A row of a newer or older program may name a kind of job that this one lacks."""
        for one in self._entries.values():
            if one.row.state == "queued" and one.row.kind not in self._kinds:
                words = f"This program has no jobs of the kind {one.row.kind[:40]!r}."
                one.row = replace(one.row, state="failed", error=words, ended_at=time.time())
                one.job = one.job.spent()

    def _work(self, kind: JobKind, entry: _Entry) -> Outcome:
        def progress(share: float, words: str) -> None:
            entry.job.progress(share, words)
            if time.monotonic() - entry.saved_s > SAVE_S:
                self._save(entry.row.id)

        return kind.work(json.loads(entry.row.recipe), progress)

    def _settle(self, entry: _Entry) -> None:
        """Write down how a job ended; of a queue that is being closed, nothing: it is still to be done."""
        error = entry.job.future.exception()
        with self._changed:
            if self._is_closed and isinstance(error, Cancelled):
                return
            if entry.row.state == "running":
                entry.row = replace(_ended(_live(entry), entry.job, error), ended_at=time.time())
            # A page that waits has the job itself; nobody else needs what it made, which may be large.
            entry.job = entry.job.spent()
        self._save(entry.row.id)

    def _save(self, *identities: str) -> None:
        """Write each job as it stands, or remove it where it is gone; one thread at a time: the last word wins."""
        with self._saving:
            for identity in identities:
                with self._changed:
                    entry = self._entries.get(identity)
                    row = _live(entry) if entry else None
                self._ledger.write(identity, row)
                if entry is not None:
                    entry.saved_s = time.monotonic()


def next_in_turn(waiting: Sequence["JobRow"], served: Mapping[str, int]) -> "JobRow":
    """The oldest job of the owner who was served longest ago; `served` counts up with every job that is taken."""
    return min(waiting, key=lambda row: (served.get(row.owner, 0), row.made_at, row.id))


def _live(entry: _Entry) -> "JobRow":
    """The row with the progress of this moment."""
    if entry.row.state != "running":
        return entry.row
    return replace(entry.row, share=entry.job.share, words=entry.job.words)


def _ended(row: "JobRow", job: Job, error: BaseException | None) -> "JobRow":
    if error is None:
        return replace(row, state="done", share=1.0, words="done", result=job.future.result().code)
    if isinstance(error, Cancelled):
        return replace(row, state="cancelled", words="cancelled")
    if isinstance(error, UserError):
        return replace(row, state="failed", words="failed", error=f"{error.message} {error.hint}".strip())
    words = f"Something went wrong; the log has it under {error_id(error, row.name)}."
    return replace(row, state="failed", words="failed", error=words)
