"""What jobs do: measure a text set as a page would, and run a training as a program of its own."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from analysis.spec import Spec, from_code
from capture.errors import UserError
from sae.training_curve import read_curve
from tests.data.test_train_model import TINY
from ui import job_kinds, resources
from ui.job import Cancelled
from ui.job_forms import SIZES, training_recipe
from ui.job_kinds import (
    DASHBOARD,
    KINDS,
    MEASURE,
    ROOT,
    TRAIN_SAE,
    TrainingLines,
    dashboard_recipe,
    kept_answers,
    measure_recipe,
    run_child,
    sae_training_command,
    training_command,
)

CHILD = (sys.executable, "-m", "ui.child")
SPEC = Spec("outliers", text_set="tour", pins={"layer": 1})


@pytest.fixture
def no_store(monkeypatch, tiny_session):
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(resources, "store", lambda: None)


def no_progress(share: float, words: str) -> None:
    pass


def program(folder: Path, text: str) -> str:
    path = folder / "program.py"
    path.write_text(text)
    return str(path)


def test_a_measurement_gives_what_the_pipeline_gives_alone(no_store, tiny_session):
    from analysis.pipeline import run

    outcome = KINDS[MEASURE].work(measure_recipe(SPEC), no_progress)
    alone = run(SPEC, lambda name, dtype: tiny_session, None).report
    assert outcome.value[0].report.digest() == alone.digest()
    assert from_code(outcome.code) == SPEC.with_(pins={}, fingerprint=tiny_session.fingerprint)


def test_pins_do_not_make_another_job_of_the_same_measurement():
    assert measure_recipe(SPEC) == measure_recipe(SPEC.with_(pins={"pos": 3}, fingerprint="0" * 16))
    assert measure_recipe(SPEC) != measure_recipe(SPEC.with_(text_set="stories"))


def test_a_measurement_stops_at_its_next_step(no_store):
    def cancelled(share: float, words: str) -> None:
        if share > 0.06:
            raise Cancelled("tour")

    with pytest.raises(Cancelled):
        KINDS[MEASURE].work(measure_recipe(SPEC), cancelled)


def test_only_what_is_kept_is_answered_without_the_queue(monkeypatch, no_store, tiny_session, tmp_path):
    from capture.models import FINGERPRINT, model_stamp
    from capture.store import ActivationStore

    store = ActivationStore.open(tmp_path / "store.duckdb")
    monkeypatch.setattr(resources, "store", lambda: store)
    store.remember(FINGERPRINT, model_stamp("stories", "float32"), tiny_session.fingerprint)
    assert kept_answers(SPEC, no_progress) is None
    first = job_kinds.answers_of(SPEC, resources.load, no_progress)
    kept = kept_answers(SPEC, no_progress)
    assert [one.report.digest() for one in kept or ()] == [one.report.digest() for one in first]
    store.close()


def test_every_line_of_a_real_training_is_read(tmp_path):
    from data.recipes.train_model import train

    (tmp_path / "tale.train.txt").write_text("\n<|endoftext|>\n".join(f"The cat sat {n} times." for n in range(90)))
    lines: list[str] = []
    train(tmp_path, tmp_path / "out", TINY, compile_model=False, eval_every=6, n_threads=1, report=lines.append)
    shares: list[float] = []
    words: list[str] = []
    read = TrainingLines(lambda share, said: (shares.append(share), words.append(said)))
    for line in lines:
        read([line])
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert words[-1].startswith("step 12 of 12, loss ")


def test_a_training_can_be_stopped_although_it_says_nothing():
    def cancelled(share: float, words: str) -> None:
        raise Cancelled("train")

    with pytest.raises(Cancelled):
        TrainingLines(cancelled)([])


SAE_RECIPE = {
    "model": "stories",
    "hook": "blocks.1.hook_resid_post",
    "recipe": {"d_sae": 32, "k": 2, "batch_rows": 64, "total_rows": 640, "multi_k": True},
    "rows": {"skip_first": False, "buffer_rows": 500, "window": 32},
    "first_text": "Once.",
}


def test_an_sae_is_trained_put_on_the_shelf_and_linked(tmp_path, monkeypatch):
    from sae.shelf import find_shelved

    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    (tmp_path / "tale.txt").write_text("The cat sat on the mat and looked at the moon. " * 60)
    told: list[tuple[float, str]] = []
    recipe = {**SAE_RECIPE, "text": str(tmp_path), "out": str(tmp_path / "home" / "saes" / "mine")}
    outcome = KINDS[TRAIN_SAE].work(recipe, lambda share, words: told.append((share, words)))
    sae = find_shelved("mine")
    assert (sae.origin, sae.facts.d_sae, sae.facts.k, sae.facts.hook_point) == ("trained", 32, 2, SAE_RECIPE["hook"])
    assert from_code(outcome.code) == Spec("latents", text="Once.", options={"sae": sae.digest})
    assert told[-1][0] == 1
    assert told[-1][1].startswith("step 10 of 10, FVU ")
    assert len(read_curve(tmp_path / "home" / "saes" / "mine")) == 10


def test_the_command_of_an_saes_training_spells_switches_as_flags():
    command = sae_training_command({**SAE_RECIPE, "text": "t", "out": "o"})
    assert {"--multi-k", "--no-skip-first"} <= set(command)
    assert command[command.index("--hook") + 1] == SAE_RECIPE["hook"]
    assert command[command.index("--total-rows") + 1] == "640"


def test_a_program_runs_at_low_priority_and_its_lines_are_read(tmp_path):
    said: list[str] = []
    text = "import os, sys; print(os.nice(0)); print(sys.argv[1:])"
    run_child([*CHILD, program(tmp_path, text), "a b", "--c"], ROOT, said.extend)
    assert [line.strip() for line in said] == ["10", "['a b', '--c']"]


def test_a_program_that_fails_is_a_sentence_with_its_last_words(tmp_path):
    text = "import sys; print('The text must fill a batch.'); sys.exit(2)"
    with pytest.raises(UserError, match=r"exit code 2: The text must fill a batch\."):
        run_child([*CHILD, program(tmp_path, text)], ROOT, lambda lines: None)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int, limit_s: float = 20.0) -> bool:
    end = time.monotonic() + limit_s
    while is_running(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_running(pid)


SLEEPER = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"


def test_a_cancelled_program_is_stopped(tmp_path):
    said: list[str] = []

    def read(lines: list[str]) -> None:
        said.extend(lines)
        if said:
            raise Cancelled("sleeper")

    with pytest.raises(Cancelled):
        run_child([*CHILD, program(tmp_path, SLEEPER)], ROOT, read)
    assert gone(int(said[0]))


def test_a_program_ends_when_the_server_is_killed(tmp_path):
    path = program(tmp_path, SLEEPER)
    parent = "import subprocess, sys; subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE).wait()"
    server = subprocess.Popen([sys.executable, "-c", parent, *CHILD, path], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    pid = int(server.stdout.readline())
    assert is_running(pid)
    server.send_signal(signal.SIGKILL)
    server.wait()
    assert gone(pid)
    server.stdout.close()


def test_the_command_of_a_training_says_all_of_its_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    (tmp_path / "tale.txt").write_text("A cat sat.")
    recipe = training_recipe("my-cat", next(iter(SIZES)), str(tmp_path), 0.5)
    command = training_command(recipe)
    assert command[command.index("--out") + 1] == str(tmp_path / "models" / "my-cat")
    assert command[command.index("--total-tokens") + 1] == "500000"
    assert command[command.index("--d-model") + 1] == "64"
    assert "--no-compile" in command


@pytest.mark.parametrize("name", ["", "../up", "a/b", "Ä", "-a", "a" * 41, "a b"])
def test_a_name_that_is_no_name_is_refused(name, tmp_path):
    (tmp_path / "tale.txt").write_text("A cat sat.")
    with pytest.raises(UserError, match="small letters, digits and hyphens"):
        training_recipe(name, next(iter(SIZES)), str(tmp_path), 0.5)


def test_a_folder_without_text_and_a_name_in_use_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    with pytest.raises(UserError, match=r"must have \.txt files"):
        training_recipe("a", next(iter(SIZES)), str(tmp_path), 0.5)
    (tmp_path / "tale.txt").write_text("A cat sat.")
    (tmp_path / "models" / "a").mkdir(parents=True)
    (tmp_path / "models" / "a" / "checkpoint.pt").touch()
    with pytest.raises(UserError, match="is here already"):
        training_recipe("a", next(iter(SIZES)), str(tmp_path), 0.5)


def test_a_dashboard_is_built_as_a_job_from_a_text_set_and_from_a_folder(monkeypatch, tiny_session, tmp_path):
    from capture.store import ActivationStore
    from sae import shelf
    from sae.dashboards import dashboards_of
    from sae.library import save_sae
    from tests.sae.dashboard_cases import small_sae

    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    store = ActivationStore.open(tmp_path / "store.duckdb")
    monkeypatch.setattr(resources, "load", lambda name, dtype: tiny_session)
    monkeypatch.setattr(resources, "store", lambda: store)
    save_sae(small_sae(), tmp_path / "small")
    digest = shelf.put_on_shelf(tmp_path / "small").digest
    (tmp_path / "a.txt").write_text("A cat sat near the river and the trees. " * 30)
    recipes = [dashboard_recipe("stories", "float32", digest, folder=str(tmp_path), view="code")]
    recipes += [dashboard_recipe("stories", "float32", digest, text_set="tour")]
    codes = [KINDS[DASHBOARD].work(recipe, no_progress).code for recipe in recipes]
    assert codes == ["code", ""]
    assert [one.texts for one in dashboards_of(store, digest)] == ["tour", tmp_path.name]
    store.close()


@pytest.mark.parametrize("texts", [{}, {"text_set": "tour", "folder": "/"}, {"folder": "/nowhere"}, {"text_set": "x"}])
def test_a_dashboard_of_no_text_is_refused(texts):
    with pytest.raises(UserError):
        dashboard_recipe("stories", "float32", "0" * 32, **texts)
