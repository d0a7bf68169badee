"""The job tray in the app, without a browser: own jobs with their state, others only counted."""

import json
import threading
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis.link import CODE_FIELD
from analysis.spec import Spec, from_code, to_code
from capture.errors import UserError
from sae.training_curve import write_curve
from ui import answers, job_kinds, resources
from ui.job import JobKind, Outcome
from ui.tray import say_left

APP = Path(__file__).resolve().parents[2] / "app.py"
TEXT = "Once upon a time a small bear sat near the river."
RESULT = Spec("outliers", text=TEXT, pins={"pos": 2})


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


@pytest.fixture
def queue(monkeypatch, tiny_session, gate):
    """A queue of its own, with a kind `bench` that goes on when the gate opens; the app on a tiny model."""
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(resources, "store", lambda: None)
    monkeypatch.setattr(answers, "PATIENCE_S", 60.0)

    def work(recipe, progress):
        while not gate.wait(0.01):
            progress(0.5, "half way")
        if recipe["fails"]:
            raise UserError("It cannot be *done*.", "Do another thing.")
        return Outcome(to_code(RESULT))

    monkeypatch.setitem(job_kinds.KINDS, "bench", JobKind("bench", "bench", work))
    job_kinds.queue.clear()
    made = job_kinds.queue()
    yield made
    made.close()
    job_kinds.queue.clear()


@pytest.fixture
def app(queue) -> AppTest:
    opened = AppTest.from_file(str(APP), default_timeout=90)
    opened.query_params[CODE_FIELD] = to_code(Spec("outliers", text=TEXT))
    return opened.run()


def owner(app: AppTest) -> str:
    return f"browser {app.session_state['steerscope'].visitor}"


def submit(queue, owner: str, name: str = "a job", fails: bool = False) -> str:
    return queue.submit("bench", {"name": name, "fails": fails}, owner, name)


def wait_for(is_so) -> None:
    end = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.01)


def words(app: AppTest) -> str:
    """All that the rail says."""
    return "\n".join(one.value for one in (*app.sidebar.markdown, *app.sidebar.caption)).replace("\\", "")


def press(app: AppTest, label: str) -> AppTest:
    found = [one for one in app.sidebar.button if label in (one.label, one.help)]
    return found[0].click().run()


def test_without_jobs_there_is_no_tray(app):
    assert not app.exception
    assert "Jobs" not in [one.value for one in app.sidebar.caption]


def test_a_running_job_shows_how_far_it_is(app, queue):
    submit(queue, owner(app))
    wait_for(lambda: queue.jobs(owner(app))[0].row.words == "half way")
    app.run()
    assert not app.exception
    assert "a job" in words(app)
    assert "half way" in words(app)
    assert len(app.toast) == 0


def test_the_training_of_an_sae_shows_its_curve(app, queue, monkeypatch, tmp_path):
    points = [
        {"step": float(n), "fvu": 1 / (n + 1), "l0": 4.0, "dead_share": 0.25, "loss": 2.0 / (n + 1)} for n in range(5)
    ]
    write_curve(tmp_path, points)

    def work(recipe, progress):
        while True:
            progress(0.5, "step 5 of 10, FVU 0.200, L0 4.0, dead 25.0%, loss 0.400")
            time.sleep(0.01)

    monkeypatch.setitem(job_kinds.KINDS, job_kinds.TRAIN_SAE, JobKind(job_kinds.TRAIN_SAE, "bench", work))
    job = queue.submit(job_kinds.TRAIN_SAE, {"out": str(tmp_path)}, owner(app), "SAE mine")
    wait_for(lambda: queue.jobs(owner(app))[0].row.words.startswith("step 5"))
    app.run()
    assert not app.exception
    figure = json.loads(app.sidebar.get("plotly_chart")[0].proto.spec)
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["FVU 0.2", "L0 4", "dead 25.0%", "loss 0.4"]
    assert "step 5 of 10" in words(app)
    assert "FVU" not in words(app)
    queue.cancel(job, owner(app))


def test_jobs_of_others_are_counted_and_not_shown(app, queue):
    submit(queue, "browser of somebody", "a secret")
    app.run()
    assert "1 job of others" in words(app)
    assert "a secret" not in words(app)
    assert [one for one in app.sidebar.button if one.help in ("Cancel", "Dismiss")] == []


def test_a_job_ends_with_one_notice_and_a_link(app, queue, gate):
    submit(queue, owner(app))
    app.run()
    gate.set()
    wait_for(lambda: queue.jobs(owner(app))[0].row.state == "done")
    app.run()
    assert [one.value for one in app.toast] == ["a job is done."]
    link = next(one for one in app.sidebar.get("page_link") if one.proto.label == "a job")
    assert from_code(link.proto.query_string.partition("view=")[2]) == RESULT
    assert len(app.run().toast) == 0


def test_what_ended_before_the_reload_is_listed_without_a_notice(queue, gate, app):
    gate.set()
    submit(queue, owner(app))
    wait_for(lambda: queue.jobs(owner(app))[0].row.state == "done")
    app.session_state["steerscope"].told = None
    app.run()
    assert len(app.toast) == 0
    assert any(one.proto.label == "a job" for one in app.sidebar.get("page_link"))


def test_cancel_stops_the_job_and_leaves_a_way_to_go_on(app, queue):
    submit(queue, owner(app))
    press(app.run(), "Cancel")
    assert queue.jobs(owner(app))[0].row.state == "cancelled"
    wait_for(lambda: queue.job(queue.jobs(owner(app))[0].row.id).is_done)
    assert "Cancelled." in words(app)
    press(app, "Go on")
    assert [one.is_active for one in queue.jobs(owner(app))] == [True]


def test_a_failed_job_shows_its_sentence_and_can_be_tried_again(app, queue, gate):
    submit(queue, owner(app), fails=True)
    gate.set()
    wait_for(lambda: queue.jobs(owner(app))[0].row.state == "failed")
    app.run()
    assert "It cannot be *done*. Do another thing." in words(app)
    gate.clear()
    press(app, "Try again")
    assert [one.is_active for one in queue.jobs(owner(app))] == [True]


def test_dismiss_takes_an_ended_job_out_of_the_tray(app, queue, gate):
    gate.set()
    submit(queue, owner(app))
    wait_for(lambda: queue.jobs(owner(app))[0].row.state == "done")
    press(app.run(), "Dismiss")
    assert queue.jobs(owner(app)) == ()
    assert "a job" not in words(app)


def test_a_text_set_is_measured_in_the_queue_and_shown_when_it_is_done(app, queue):
    app.sidebar.selectbox[1].set_value("tour").run()
    assert not app.exception
    assert not app.error
    assert app.session_state["steerscope"].shown.text_set == "tour"
    assert queue.jobs(owner(app)) == ()


def test_a_text_set_goes_on_when_another_text_is_asked_for(app, queue, gate, monkeypatch):
    monkeypatch.setitem(job_kinds.KINDS, "measure", JobKind("measure", "model", job_kinds.KINDS["bench"].work))
    monkeypatch.setattr(job_kinds, "measure_recipe", lambda asked: {"fails": False})
    monkeypatch.setattr(answers, "measure_recipe", lambda asked: {"fails": False})
    monkeypatch.setattr(answers, "PATIENCE_S", 0.5)
    app.sidebar.selectbox[1].set_value("tour").run()
    wait_for(lambda: queue.jobs(owner(app))[0].row.state == "running")
    app.sidebar.selectbox[1].set_value(None).run()
    assert [one.is_active for one in queue.jobs(owner(app))] == [True]
    assert "tour, Outliers" in words(app)


@pytest.mark.parametrize(
    ("left_s", "said"),
    {None: "", 0.2: "1 s left", 42.4: "42 s left", 90: "2 min left", 3600: "1 h left", 9000: "2.5 h left"}.items(),
)
def test_time_left_is_said_as_a_person_would(left_s, said):
    assert say_left(left_s) == said
