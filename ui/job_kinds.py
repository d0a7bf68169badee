"""The kinds of long work, and the one queue that does it. A new kind is one entry of KINDS."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec, read_spec, to_code
from analysis.text_set import read_text_set
from capture.errors import UserError
from ui import resources
from ui.controller_job import CONTROLLER
from ui.fit_job import FIT
from ui.hypernet_job import HYPERNET
from ui.job import JobKind, Outcome, Progress
from ui.queue import Queue
from ui.tune_job import TUNE
from ui.words import shortened

if TYPE_CHECKING:
    from analysis.lens import Partial
    from analysis.pipeline import Answer, Load

MEASURE = "measure"
TRAIN = "train-model"
TRAIN_SAE = "train-sae"
DASHBOARD = "dashboard"
ROOT = Path(__file__).resolve().parent.parent
POLL_S = 0.5
CHECKPOINT_S = 20
"""Seconds of training that a stop may lose."""
COMPILED_TOKENS = 2_000_000
"""Compiling takes a while, so short trainings do without."""
_TOTAL = re.compile(r"step (\d+) of (\d+)")
_FIGURES = re.compile(r"step ([\d,]+) of ([\d,]+): (.+)")
_STEP = re.compile(r"step (\d+),.* loss ([\d.]+), (\d+) tokens/s")


class NotKept(Exception):
    """Raised in place of loading a model, where only what is kept was asked for."""


def answers_of(
    asked: Spec, load: "Load", progress: Progress, on_partial: "Partial | None" = None
) -> "tuple[Answer, ...]":
    """The answer of the Spec's lens, or of every lens for a page that is none; imports what measuring needs."""
    progress(0.0, "starting the engine")
    resources.warm_up()
    from analysis import whole_view
    from analysis.lens import no_partial

    return whole_view.answers_of(asked, load, resources.store(), progress, on_partial or no_partial)


def kept_answers(asked: Spec, progress: Progress) -> "tuple[Answer, ...] | None":
    """The same from the store alone; None where the model would have to be run."""

    def refuse(name: str, dtype: str) -> Any:
        raise NotKept(name)

    with contextlib.suppress(NotKept):
        return answers_of(asked, refuse, progress)
    return None


def measure_recipe(asked: Spec) -> dict[str, Any]:
    """The recipe of a measurement: what decides the numbers, and nothing that a click changes."""
    return asked.with_(pins={}, fingerprint="").to_json()


def _measure(recipe: Mapping[str, Any], progress: Progress) -> Outcome:
    asked = read_spec(dict(recipe))
    answers = answers_of(asked, resources.load, progress)
    return Outcome(to_code(asked.with_(fingerprint=answers[0].report.spec.fingerprint)), answers)


def dashboard_recipe(
    model: str, dtype: str, sae: str, *, text_set: str = "", folder: str = "", bos: bool = True, view: str = ""
) -> dict[str, Any]:
    """The recipe of a dashboard: an SAE by its digest, and a text set or a folder of text.

    `view` is the code of the view that the finished job opens. Raises UserError unless one of the two is given, for an
    unknown text set, and for a folder without .txt files.
    """
    if bool(text_set) == bool(folder.strip()):
        raise UserError("A dashboard is built over one text set or one folder.", "Choose one of the two.")
    if text_set:
        read_text_set(text_set)
    elif not any(Path(folder).expanduser().glob("*.txt")):
        raise UserError(f"The folder of text must have .txt files; {folder[:80]!r} has none.", "Name another folder.")
    texts = {"text_set": text_set, "folder": str(Path(folder).expanduser().resolve()) if folder else ""}
    return {"model": model, "dtype": dtype, "sae": sae, "bos": bos, "view": view, **texts}


def start_dashboard(recipe: Mapping[str, Any], owner: str, name: str) -> str:
    """Put the building of a dashboard (`dashboard_recipe`) into the queue; returns the job's id.

    It reads from the store while it goes on, and a stopped one goes on where it was.
    """
    return queue().submit(DASHBOARD, recipe, owner, name)


def _build_dashboard(recipe: Mapping[str, Any], progress: Progress) -> Outcome:
    progress(0.0, "starting the engine")
    resources.warm_up()
    from sae.activation_rows import windows_of, windows_of_texts
    from sae.dashboard import Subject, build_dashboard
    from sae.row_choice import RowChoice
    from sae.shelf import find_shelved, load_shelved

    session = resources.load(recipe["model"], recipe["dtype"])
    shelved = find_shelved(recipe["sae"])
    choice = RowChoice(bos=recipe["bos"])
    if recipe["text_set"]:
        texts = windows_of_texts(session, read_text_set(recipe["text_set"]).texts, choice.window, choice.bos)
    else:
        texts = windows_of(session, Path(recipe["folder"]), choice)
    texts_name = recipe["text_set"] or Path(recipe["folder"]).name
    sae = load_shelved(shelved.digest)
    subject = Subject(session, sae, tuple(texts), shelved.name, texts_name, bos=choice.bos)
    return Outcome(recipe["view"], build_dashboard(subject, resources.store(), progress))


def training_command(recipe: Mapping[str, Any]) -> list[str]:
    """The command line of a training, to be run in the program's folder."""
    fields = dict(recipe["recipe"])
    flags = [part for name, value in fields.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    is_compiled = shutil.which("c++") is not None and int(fields["total_tokens"]) >= COMPILED_TOKENS
    return [
        *(sys.executable, "-m", "ui.child", "cli.py", TRAIN),
        *("--text", str(recipe["text"]), "--out", str(recipe["out"]), "--save-every-s", str(CHECKPOINT_S)),
        "--compile" if is_compiled else "--no-compile",
        *flags,
    ]


def _train(recipe: Mapping[str, Any], progress: Progress) -> Outcome:
    run_child(training_command(recipe), ROOT, TrainingLines(progress))
    model = str(Path(recipe["out"]) / "model")
    resources.allow(model)
    return Outcome(to_code(Spec("what_stands_out", model=model, text=str(recipe["first_text"]))))


@dataclass
class TrainingLines:
    """Reads what `train-model` prints; called with the lines since the last call, as often as a cancel is to be met."""

    progress: Progress
    share: float = 0.0
    words: str = "starting"
    n_steps: int = 0

    def __call__(self, lines: Iterable[str]) -> None:
        for line in lines:
            if found := _TOTAL.search(line):
                self._at(int(found[1]), int(found[2]))
            elif (found := _STEP.match(line)) and self.n_steps:
                self._at(int(found[1]), self.n_steps)
                self.words += f", loss {float(found[2]):.2f} nats, {int(found[3]):,} tokens/s"
        self.progress(self.share, self.words)

    def _at(self, step: int, n_steps: int) -> None:
        self.n_steps, self.share = n_steps, step / n_steps
        self.words = f"step {step:,} of {n_steps:,}"


def sae_training_command(recipe: Mapping[str, Any]) -> list[str]:
    """The command line of an SAE's training, to be run in the program's folder."""
    said = {name: str(recipe[name]) for name in ("model", "hook", "text", "out")}
    fields = {**recipe["recipe"], **recipe["rows"]}
    return [
        *(sys.executable, "-m", "ui.child", "cli.py", "sae", "train", "--save-every-s", str(CHECKPOINT_S)),
        *(part for name, value in {**said, **fields}.items() for part in flag(name, value)),
    ]


def flag(name: str, value: Any) -> tuple[str, ...]:
    """A field of a recipe as a flag of the command line."""
    spelled = name.replace("_", "-")
    if isinstance(value, bool):
        return (f"--{spelled}" if value else f"--no-{spelled}",)
    return f"--{spelled}", str(value)


def _train_sae(recipe: Mapping[str, Any], progress: Progress) -> Outcome:
    run_child(sae_training_command(recipe), ROOT, SaeTrainingLines(progress))
    digest = json.loads((Path(recipe["out"]) / "training.json").read_text("utf-8"))["digest"]
    spec = Spec("latents", model=str(recipe["model"]), text=str(recipe["first_text"]), options={"sae": digest})
    return Outcome(to_code(spec))


@dataclass
class SaeTrainingLines:
    """Reads what `sae train` prints, as `TrainingLines` does."""

    progress: Progress
    share: float = 0.0
    words: str = "starting"

    def __call__(self, lines: Iterable[str]) -> None:
        for line in lines:
            if found := _FIGURES.match(line):
                step, n_steps = (int(found[n].replace(",", "")) for n in (1, 2))
                self.share, self.words = step / n_steps, f"step {found[1]} of {found[2]}, {found[3].strip()}"
        self.progress(self.share, self.words)


def run_child(command: Sequence[str], folder: Path, read: Callable[[list[str]], None]) -> None:
    """Run a program to its end, at low priority; `read` is given its lines twice a second and raises to stop it.

    The program ends with this process, however that ends. Raises UserError with its last lines where it fails.
    """
    lines: SimpleQueue[str] = SimpleQueue()
    last: deque[str] = deque(maxlen=4)
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=folder, text=True, errors="replace", **pipes) as child:  # type: ignore[call-overload]
        reader = Thread(target=lambda: [lines.put(line) for line in child.stdout], daemon=True)
        reader.start()
        try:
            while child.poll() is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(POLL_S)
                read(_taken(lines, last))
        finally:
            child.kill()
            reader.join(5)
    rest = _taken(lines, last)
    if child.returncode:
        said = shortened(" ".join(last), 300) or "it said nothing"
        raise UserError(f"The program stopped with exit code {child.returncode}: {said}", "Try again, or change it.")
    read(rest)


def _taken(lines: "SimpleQueue[str]", last: deque[str]) -> list[str]:
    taken = [lines.get() for _ in range(lines.qsize())]
    last.extend(taken)
    return taken


KINDS = {
    MEASURE: JobKind(MEASURE, "model", _measure),
    TRAIN: JobKind(TRAIN, "program", _train),
    TRAIN_SAE: JobKind(TRAIN_SAE, "program", _train_sae),
    DASHBOARD: JobKind(DASHBOARD, "model", _build_dashboard),
    FIT.slug: FIT,
    CONTROLLER.slug: CONTROLLER,
    HYPERNET.slug: HYPERNET,
    TUNE.slug: TUNE,
}


@st.cache_resource(show_spinner=False)
def queue() -> Queue:
    """The one queue of this process; the first call starts it."""
    return Queue(KINDS, lambda: resources.store()).start()
