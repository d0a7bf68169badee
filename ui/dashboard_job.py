"""The build of a dashboard as a job of the queue: its recipe, its work, and the job that builds it now."""

from collections.abc import Mapping
from typing import Any

from analysis.report import Report
from analysis.spec import Spec, to_code
from analysis.text_set import read_text_set
from ui import resources
from ui.job import Outcome, Progress

DASHBOARD = "dashboard"


def dashboard_recipe(report: Report, text_set: str) -> dict[str, Any]:
    """What decides a dashboard's numbers: model, SAE by its digest, text set."""
    spec = report.spec
    named = {"model": spec.model, "dtype": spec.dtype, "bos": spec.bos, "text": spec.text}
    return {**named, "sae": report.numbers["sae"]["digest"], "text_set": text_set}


def build(recipe: Mapping[str, Any], progress: Progress) -> Outcome:
    """Build a dashboard, or go on where an earlier run was stopped; cards are in the store while it goes on."""
    progress(0.0, "starting the engine")
    resources.warm_up()
    from sae.card_figures import card_figures
    from sae.dashboard import Subject, build_dashboard
    from sae.shelf import find_shelved, load_shelved

    one = find_shelved(str(recipe["sae"]))
    session = resources.load(str(recipe["model"]), str(recipe["dtype"]))
    name, bos = str(recipe["text_set"]), bool(recipe["bos"])
    texts = tuple(session.tokens(text, bos) for text in read_text_set(name).texts)
    from_pos = card_figures(one).from_pos
    subject = Subject(session, load_shelved(one.digest), texts, one.name, name, bos=bos, from_pos=from_pos)
    build_dashboard(subject, resources.store(), progress)
    first = {"text": str(recipe["text"])} if recipe["text"] else {"text_set": name}
    options = {"sae": one.digest}
    return Outcome(to_code(Spec("latents", session.name, dtype=session.dtype, bos=bos, options=options, **first)))
