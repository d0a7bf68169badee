"""Where jobs are written down: the store's table, or nowhere where the store cannot be had."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from capture.errors import UserError

if TYPE_CHECKING:
    from capture.store import ActivationStore
    from capture.store_jobs import JobRow

LOG = logging.getLogger("steerscope")
KEPT_S = 7 * 24 * 3600
"""How long an ended job is listed."""


class JobLedger:
    """The rows of the jobs. A store that refuses is told to the log once; the jobs go on all the same."""

    def __init__(self, store: Callable[[], "ActivationStore | None"]) -> None:
        self._store = store
        self._has_warned = False

    def rows(self) -> Sequence["JobRow"]:
        """What earlier processes left, without what ended long ago."""
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
        return [row for row in rows if row not in old]

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
        except UserError as error:
            self._warn(error)

    def _warn(self, error: UserError) -> None:
        if not self._has_warned:
            LOG.warning("jobs will not outlive this server: %s", error)
        self._has_warned = True
