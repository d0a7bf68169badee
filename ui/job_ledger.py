"""Where jobs are written down: the store's table, or nowhere where the store cannot be had."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from capture.errors import UserError

if TYPE_CHECKING:
    from capture.store import ActivationStore
    from capture.store_jobs import JobRow

LOG = logging.getLogger("steerscope")
KEPT_S = 7 * 24 * 3600
"""How long an ended job is listed."""
ACTIVE = ("queued", "running")
MAX_STOPS = 3
"""How often in a row a job may be stopped with the server and get no further than before."""
STOPS = "job stops"
"""The kind under which the store remembers, by job, how often that was and how far it had come at most."""


class JobLedger:
    """The rows of the jobs. A store that refuses is told to the log once; the jobs go on all the same."""

    def __init__(self, store: Callable[[], "ActivationStore | None"]) -> None:
        self._store = store
        self._has_warned = False
        self._warning = threading.Lock()

    def rows(self) -> Sequence["JobRow"]:
        """What earlier processes left, without what ended long ago; what ran then waits for its turn again."""
        try:
            store = self._store()
            if store is None:
                return ()
            from capture.store_jobs import delete_job, job_rows

            rows = job_rows(store)
            old = [row for row in rows if row.ended_at and row.ended_at < time.time() - KEPT_S]
            for row in old:
                delete_job(store, row.id)
        except UserError as error:
            self._warn(error)
            return ()
        return [self._taken_over(row) if row.state in ACTIVE else row for row in rows if row not in old]

    def _taken_over(self, row: "JobRow") -> "JobRow":
        """A waiting job as it was; one that ran goes on, unless it seems to be what stops the server."""
        again = replace(row, state="queued", words="goes on after a restart")
        if row.state == "queued" or (n_stops := self._n_stops(row)) < MAX_STOPS:
            self.write(row.id, again)
            return again
        words = (
            f"The server stopped {n_stops} times while this job ran, and it came no further than {row.share:.0%}. "
            "It is not started by itself again. Look into the server's log before you try again."
        )
        failed = replace(row, state="failed", words="failed", error=words, ended_at=time.time())
        self.write(row.id, failed)
        return failed

    def _n_stops(self, row: "JobRow") -> int:
        """How often in a row the job was stopped without having come further, this time included."""
        try:
            store = self._store()
            if store is None:
                return 0
            n_before, furthest = (store.remembered(STOPS, row.id) or "0 -1").split()
            n_stops = int(n_before) + 1 if row.share <= float(furthest) else 1
            store.remember(STOPS, row.id, f"{n_stops} {max(row.share, float(furthest))}")
        except UserError as error:
            self._warn(error)
            return 0
        return n_stops

    def write(self, identity: str, row: "JobRow | None") -> None:
        """Keep the row of that job in place of an older one; None removes it."""
        try:
            store = self._store()
            if store is None:
                return
            from capture.store_jobs import delete_job, write_job

            if row is None:
                delete_job(store, identity)
            else:
                write_job(store, row)
            if row is None or row.ended_at:
                store.forget(STOPS, identity)
        except UserError as error:
            self._warn(error)

    def _warn(self, error: UserError) -> None:
        # The queue's threads and a page's may be refused at the same moment.
        with self._warning:
            if not self._has_warned:
                LOG.warning("jobs will not outlive this server: %s", error)
            self._has_warned = True
