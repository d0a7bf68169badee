from dataclasses import replace

import pytest

from capture.store import ActivationStore
from capture.store_jobs import JobRow, delete_job, job_rows, write_job

QUEUED = JobRow("j1", "measure", '{"a":"é\'--"}', "ada", "Stories", "queued", made_at=2.0)
DONE = JobRow("j0", "train-model", "{}", "bo", "Model", "done", 1.0, "done", "data/x", "", 1.0, 1.5, 2.5)


@pytest.fixture
def store(tmp_path):
    opened = ActivationStore.open(tmp_path / "s.duckdb")
    yield opened
    opened.close()


def test_jobs_come_back_as_they_were_written_the_oldest_first(store):
    write_job(store, QUEUED)
    write_job(store, DONE)
    assert job_rows(store) == [DONE, QUEUED]


def test_a_job_takes_the_place_of_the_row_with_its_id(store):
    write_job(store, QUEUED)
    running = replace(QUEUED, state="running", share=0.25, words="layer 1", started_at=3.0)
    write_job(store, running)
    assert job_rows(store) == [running]


def test_jobs_are_chosen_by_state(store):
    for row in (QUEUED, DONE):
        write_job(store, row)
    assert [job_rows(store, states) for states in (["queued", "running"], ["done"], [])] == [[QUEUED], [DONE], []]


def test_a_deleted_job_is_gone_and_the_others_stay(store):
    for row in (QUEUED, DONE):
        write_job(store, row)
    delete_job(store, "j1")
    delete_job(store, "never was")
    assert job_rows(store) == [DONE]


def test_jobs_are_there_after_a_restart(tmp_path):
    first = ActivationStore.open(tmp_path / "s.duckdb")
    write_job(first, QUEUED)
    first.close()
    second = ActivationStore.open(tmp_path / "s.duckdb")
    assert job_rows(second) == [QUEUED]
    second.close()
