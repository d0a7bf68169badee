"""A job: work in a thread of its own, with progress that is polled and a cancel that its next step meets."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass, field
from threading import Event, Thread
from types import TracebackType
from typing import Any

Progress = Callable[[float, str], None]
FIRST_ESTIMATE_S = 2.0
"""Seconds of work before a guess at the time left is shown."""


class Cancelled(Exception):
    """Raised in a job's thread at its next report of progress after it was cancelled."""


@dataclass(frozen=True)
class Outcome:
    """What a kind of job makes: the code of the view that its link opens, and a value for a page that waits for it."""

    code: str
    value: Any = None


@dataclass(frozen=True)
class JobKind:
    """One kind of long work; `work(recipe, progress)` starts it, or goes on where an earlier run of it was stopped.

    Jobs of one `lane` run one at a time: those that run a model here share one, those of programs of their own another.
    """

    slug: str
    lane: str
    work: Callable[[Mapping[str, Any], Progress], Outcome]


@dataclass(eq=False)
class Job:
    """One piece of work under way; `key` says which answer it makes, `name` is shown."""

    key: str
    name: str
    future: "Future[Any]" = field(default_factory=Future)
    share: float = 0.0
    words: str = "starting"
    is_cancelled: bool = False
    is_seen: bool = False
    """Whether the page that waits for it has looked at how it ended."""
    so_far: Mapping[str, Any] = field(default_factory=dict)
    """What there is of its answer while it comes, as its work tells."""
    started_s: float = field(default_factory=time.monotonic)
    _first: tuple[float, float] | None = None
    """Share and time of the first report of progress: a job that goes on does not begin at 0."""
    _has_news: Event = field(default_factory=Event)

    def __post_init__(self) -> None:
        self.future.add_done_callback(lambda _: self._has_news.set())

    @property
    def job(self) -> "Job":
        """Itself, as `Followed` has it."""
        return self

    @property
    def age_s(self) -> float:
        """Seconds since it was asked for."""
        return time.monotonic() - self.started_s

    @property
    def is_done(self) -> bool:
        """Whether it ended, in whatever way."""
        return self.future.done()

    @property
    def left_s(self) -> float | None:
        """Seconds that it still needs at the pace so far; None where that cannot be told."""
        if self._first is None:
            return None
        share, since = self._first
        spent_s = time.monotonic() - since
        if spent_s < FIRST_ESTIMATE_S or self.share <= share:
            return None
        return spent_s * (1 - self.share) / (self.share - share)

    def progress(self, share: float, words: str) -> None:
        """Note how far it is; raises Cancelled in the worker once someone cancelled."""
        if self.is_cancelled:
            raise Cancelled(self.name)
        self.share, self.words = min(max(share, 0.0), 1.0), words
        if self._first is None and share > 0:
            self._first = (self.share, time.monotonic())

    def show(self, so_far: Mapping[str, Any]) -> None:
        """Note what there is of the answer so far."""
        self.so_far = so_far
        self._has_news.set()

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

    def wait_for_news(self, limit_s: float) -> None:
        """Return once there is something of the answer to look at, once it ended, or at the limit."""
        self._has_news.wait(limit_s)

    def spent(self) -> "Job":
        """This job as ended, without what it made."""
        job = Job(self.key, self.name, share=self.share, words=self.words)
        job.future.set_result(None)
        return job

    def run(self, work: Callable[[Progress], Any]) -> None:
        """Do the work in this thread; what it returns or raises is for whoever asks the future."""
        with _Carry(self.future):
            self.future.set_result(work(self.progress))


@dataclass(frozen=True)
class Followed:
    """A job of the queue as a page watches it: letting go of it leaves it under way."""

    key: str
    job: Job
    id: str

    def cancel(self) -> None:
        """Look away; the queue goes on."""


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


def start_job(key: str, name: str, work: Callable[[Job], Any]) -> Job:
    """A job that runs `work(job)` in a thread that does not keep the server from stopping."""
    job = Job(key, name)
    Thread(target=job.run, args=(lambda progress: work(job),), name=f"job {name}", daemon=True).start()
    return job
