"""The queue: fair between owners, cancelled at the next step, found again by the next process."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import UserError
from capture.store import ActivationStore
from capture.store_jobs import JobRow, job_rows, write_job
from ui.job import JobKind, Outcome, Progress
from ui.job_ledger import MAX_STOPS, JobLedger
from ui.queue import MAX_WAITING, Queue, Standing, next_in_turn

PATIENCE_S = 20.0


class Bench:
    """A kind of job that a test drives by hand: each job stops where the test lets it."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.gate = threading.Event()
        self.kinds = {"bench": JobKind("bench", "bench", self._work), "other": JobKind("other", "program", self._work)}

    def _work(self, recipe, progress: Progress) -> Outcome:
        self.order.append(recipe["name"])
        progress(0.25, "begun")
        while not self.gate.wait(0.01):
            progress(0.5, "half way")
        if recipe.get("fails"):
            raise UserError("It cannot be done.", "Do another thing.")
        if recipe.get("breaks"):
            raise RuntimeError("a secret path")
        return Outcome(f"code of {recipe['name']}", [recipe["name"]])


def wait_for(is_so: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.fixture
def store(tmp_path) -> Iterator[ActivationStore]:
    opened = ActivationStore.open(tmp_path / "jobs.duckdb")
    yield opened
    opened.close()


@pytest.fixture
def queues(bench) -> Iterator[Callable[..., Queue]]:
    """`queues(store)` is a started queue of the bench's kinds; all are closed when the test ends."""
    made = []

    def start(store: ActivationStore | None = None) -> Queue:
        queue = Queue(bench.kinds, lambda: store).start()
        wait_for(lambda: queue.is_ready)
        made.append(queue)
        return queue

    yield start
    for queue in made:
        queue.close()


def submit(queue: Queue, name: str, owner: str = "ann", kind: str = "bench", **recipe: object) -> str:
    return queue.submit(kind, {"name": name, **recipe}, owner, name)


def only(queue: Queue, owner: str = "ann") -> Standing:
    (standing,) = queue.jobs(owner)
    return standing


def test_a_job_runs_to_its_end_and_keeps_its_link(queues, bench, store):
    queue = queues(store)
    job = queue.job(submit(queue, "a"))
    bench.gate.set()
    assert job.wait(PATIENCE_S)
    wait_for(lambda: only(queue).row.state == "done")
    assert job.future.result().value == ["a"]
    assert (only(queue).row.result, only(queue).row.share) == ("code of a", 1.0)
    wait_for(lambda: [row.state for row in job_rows(store)] == ["done"])


def test_owners_take_turns_whoever_asked_for_more(queues, bench):
    queue = queues()
    for number in range(3):
        submit(queue, f"ann {number}")
    submit(queue, "bob 0", "bob")
    submit(queue, "cy 0", "cy")
    bench.gate.set()
    wait_for(lambda: len(bench.order) == 5)
    assert bench.order == ["ann 0", "bob 0", "cy 0", "ann 1", "ann 2"]


@given(st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_between_two_jobs_of_an_owner_nobody_who_waits_is_served_twice(owners):
    waiting = [JobRow(str(n), "k", "{}", owner, "", "queued", made_at=float(n)) for n, owner in enumerate(owners)]
    served: dict[str, int] = {}
    order = []
    for turn in range(len(owners)):
        row = next_in_turn(waiting, served)
        waiting.remove(row)
        served[row.owner] = turn + 1
        order.append((row.owner, {one.owner for one in waiting}))
    for first, (owner, still) in enumerate(order):
        after = [one for one, _ in order[first + 1 :]]
        until = after.index(owner) if owner in after else 0
        assert all(after[:until].count(other) == 1 for other in still - {owner} if until)


def test_a_lane_runs_one_job_at_a_time_and_another_lane_goes_on(queues, bench):
    queue = queues()
    for name, kind in (("a", "bench"), ("b", "bench"), ("c", "other")):
        submit(queue, name, kind=kind)
    wait_for(lambda: len(bench.order) == 2)
    time.sleep(0.1)
    assert set(bench.order) == {"a", "c"}


def test_progress_and_words_are_those_of_the_work(queues, bench):
    queue = queues()
    submit(queue, "a")
    wait_for(lambda: only(queue).row.words == "half way")
    assert only(queue).row.share == 0.5


def test_a_running_job_stops_at_its_next_step_when_its_owner_cancels(queues, bench):
    queue = queues()
    identity = submit(queue, "a")
    wait_for(lambda: bench.order)
    queue.cancel(identity, "bob")
    assert only(queue).is_active
    queue.cancel(identity, "ann")
    assert queue.job(identity).wait(PATIENCE_S)
    submit(queue, "b")
    wait_for(lambda: bench.order == ["a", "b"])
    assert [one.row.state for one in queue.jobs("ann")] == ["cancelled", "running"]


def test_a_waiting_job_that_is_cancelled_never_starts(queues, bench):
    queue = queues()
    submit(queue, "a")
    wait_for(lambda: bench.order)
    queue.cancel(submit(queue, "b"), "ann")
    bench.gate.set()
    wait_for(lambda: not any(one.is_active for one in queue.jobs("ann")))
    assert bench.order == ["a"]


def test_a_failed_job_says_why_and_can_be_tried_again(queues, bench):
    queue = queues()
    identity = submit(queue, "a", fails=True)
    bench.gate.set()
    wait_for(lambda: only(queue).row.state == "failed")
    assert only(queue).row.error == "It cannot be done. Do another thing."
    queue.again(identity, "ann")
    wait_for(lambda: bench.order == ["a", "a"])
    assert len(queue.jobs("ann")) == 1


def test_an_unforeseen_error_shows_a_number_and_not_itself(queues, bench, caplog):
    queue = queues()
    submit(queue, "a", breaks=True)
    bench.gate.set()
    wait_for(lambda: only(queue).row.state == "failed")
    assert "a secret path" not in only(queue).row.error
    assert only(queue).row.error.rpartition(" ")[2].rstrip(".") in caplog.text
    assert "a secret path" in caplog.text


def test_the_same_work_is_queued_once_and_anew_once_it_ended(queues, bench):
    queue = queues()
    first = submit(queue, "a")
    assert submit(queue, "a") == first
    assert submit(queue, "a", "bob") != first
    bench.gate.set()
    wait_for(lambda: only(queue).row.state == "done")
    assert submit(queue, "a") != first
    assert len(queue.jobs("ann")) == 1


def test_only_the_owners_jobs_are_listed_and_others_counted(queues, bench):
    queue = queues()
    submit(queue, "a")
    submit(queue, "b", "bob")
    assert [one.row.name for one in queue.jobs("bob")] == ["b"]
    assert queue.n_others("bob") == 1
    assert queue.n_others("cy") == 2


def test_an_ended_job_can_be_dismissed_by_its_owner_alone(queues, bench, store):
    queue = queues(store)
    identity = submit(queue, "a")
    queue.dismiss(identity, "ann")
    assert only(queue).is_active
    bench.gate.set()
    wait_for(lambda: only(queue).row.state == "done")
    queue.dismiss(identity, "bob")
    assert len(queue.jobs("ann")) == 1
    queue.dismiss(identity, "ann")
    assert queue.jobs("ann") == ()
    assert job_rows(store) == []


def test_one_owner_cannot_fill_the_queue(queues, bench):
    queue = queues()
    for number in range(MAX_WAITING):
        submit(queue, f"{number}")
    with pytest.raises(UserError, match="At most 20"):
        submit(queue, "one more")
    assert submit(queue, "one more", "bob")


def test_what_ran_and_waited_when_the_process_ended_goes_on_in_the_next(queues, bench, store):
    before = queues(store)
    for name in ("a", "b"):
        submit(before, name)
    wait_for(lambda: bench.order)
    before.close()
    assert [row.state for row in job_rows(store)] == ["running", "queued"]
    bench.gate.set()
    after = queues(store)
    wait_for(lambda: [one.row.state for one in after.jobs("ann")] == ["done", "done"])
    assert bench.order == ["a", "a", "b"]


def test_ended_jobs_are_still_listed_by_the_next_process_for_a_week(queues, bench, store):
    now = time.time()
    write_job(store, JobRow("1", "bench", "{}", "ann", "old", "done", ended_at=now - 8 * 24 * 3600))
    write_job(store, JobRow("2", "bench", "{}", "ann", "new", "failed", error="Why.", ended_at=now))
    queue = queues(store)
    assert (only(queue).row.name, only(queue).row.error) == ("new", "Why.")
    assert [row.id for row in job_rows(store)] == ["2"]


def test_a_kind_that_this_program_lacks_fails_in_a_sentence(queues, store):
    write_job(store, JobRow("1", "gone", "{}", "ann", "a", "queued"))
    queue = queues(store)
    wait_for(lambda: only(queue).row.state == "failed")
    assert "no jobs of the kind 'gone'" in only(queue).row.error


def test_jobs_of_an_owner_who_turns_out_to_be_another_are_handed_over(queues, bench, store):
    queue = queues(store)
    mine, twin, both = submit(queue, "a"), submit(queue, "b"), submit(queue, "b", "guest")
    guest = submit(queue, "c", "guest")
    queue.claim("guest", "ann")
    assert [one.row.id for one in queue.jobs("ann")] == [mine, twin, guest]
    assert queue.jobs("guest") == ()
    assert queue.job(both) is queue.job(twin)
    assert {row.owner for row in job_rows(store)} == {"ann"}


def test_a_store_that_cannot_be_had_costs_no_job(bench, caplog):
    def refuse() -> ActivationStore:
        raise UserError("Another Steerscope holds the store.", "Close it.")

    queue = Queue(bench.kinds, refuse).start()
    bench.gate.set()
    submit(queue, "a")
    wait_for(lambda: only(queue).row.state == "done")
    queue.close()
    assert caplog.text.count("will not outlive this server") == 1


def stopped(store: ActivationStore, share: float) -> None:
    """Leave one job as a server leaves it that is stopped while it runs."""
    write_job(store, JobRow("j", "other kind", '{"name": "j"}', "ann", "j", "running", share, made_at=1.0))


def left(store: ActivationStore) -> str:
    """What the next server makes of that job."""
    return JobLedger(lambda: store).rows()[0].state


def test_a_job_that_stops_the_server_each_time_at_one_place_is_given_up(store):
    found = []
    for _ in range(MAX_STOPS):
        stopped(store, 0.5)
        found.append(left(store))
    assert found == ["queued", "queued", "failed"]
    (row,) = job_rows(store)
    assert "came no further than 50%" in row.error
    assert (row.state, left(store)) == ("failed", "failed")


def test_a_job_that_comes_further_each_time_goes_on(store):
    for share in (0.1, 0.2, 0.3, 0.4, 0.5):
        stopped(store, share)
        assert left(store) == "queued"


def test_a_job_that_only_waits_is_never_given_up(store):
    stopped(store, 0.5)
    assert [left(store) for _ in range(2 * MAX_STOPS)] == ["queued"] * 2 * MAX_STOPS
