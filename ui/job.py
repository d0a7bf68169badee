"""A job: work in a thread of its own, with progress that is polled and a cancel that its next step meets."""

import time
from collections.abc import Callable
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass, field
from threading import Thread
from types import TracebackType
from typing import Any

Progress = Callable[[float, str], None]


class Cancelled(Exception):
    """Raised in a job's thread at its next report of progress after it was cancelled."""


@dataclass(eq=False)
class Job:
    """One piece of work under way; `key` says which answer it makes, `name` is shown."""

    key: str
    name: str
    future: "Future[Any]" = field(default_factory=Future)
    share: float = 0.0
    words: str = "starting"
    is_cancelled: bool = False
    started_s: float = field(default_factory=time.monotonic)

    @property
    def age_s(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self.started_s

    @property
    def is_done(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.future.done()

    def progress(self, share: float, words: str) -> None:
        """Note how far it is; raises Cancelled in the worker once someone cancelled."""
        if self.is_cancelled:
            raise Cancelled(self.name)
        self.share, self.words = min(max(share, 0.0), 1.0), words

    def cancel(self) -> None:
        """Ask it to stop; what it returns afterwards is not looked at."""
        self.is_cancelled = True

    def wait(self, limit_s: float) -> bool:
        """Whether it ended within the limit."""
        try:
            self.future.exception(timeout=limit_s)
        except TimeoutError:
            return False
        return True


@dataclass(frozen=True)
class _Carry:
    """Whatever is raised inside is kept in the future, for the thread that asks for the result."""

    future: "Future[Any]"

    def __enter__(self) -> None:
        self.future.set_running_or_notify_cancel()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if error is not None:
            self.future.set_exception(error)
        return True


def start_job(key: str, name: str, work: Callable[[Progress], Any]) -> Job:
    """A job that runs `work(progress)` in a thread that does not keep the server from stopping."""
    job = Job(key, name)

    def run() -> None:
        with _Carry(job.future):
            job.future.set_result(work(job.progress))

    Thread(target=run, name=f"job {name}", daemon=True).start()
    return job
