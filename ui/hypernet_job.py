"""The job that trains a hypernetwork on a set of concepts, in a program of its own; it goes on after a stop."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from analysis.spec import Spec, to_code
from capture.errors import UserError
from steering.hypernetwork_recipe import HypernetworkRecipe
from ui import resources
from ui.job import JobKind, Outcome, Progress

SLUG = "train-hypernetwork"
PAGE = "hypernetwork"
HYPERNETWORK = "hypernetwork"
"""The option of the page that names one, by its digest."""
CHECKPOINT_S = 20
RECIPE = HypernetworkRecipe()


def hypernet_recipe(name: str, model: str, concepts: str, hook: str, **changes: Any) -> dict[str, Any]:
    """The recipe of a training job; raises UserError for what cannot be, before anything is run."""
    from steering.concepts import read_concepts
    from steering.shelf import own_folder
    from ui.job_forms import check_name

    out = own_folder("hypernetworks") / check_name(name)
    if out.exists():
        message = f"A hypernetwork called {name!r} is here already."
        raise UserError(message, "Choose another name, or press Go on at its job.")
    if not resources.is_allowed(model):
        raise UserError(f"The model {model[:80]!r} was not opened here yet.", "Open it in the sidebar of a page.")
    found = read_concepts(concepts)
    if not found.held_in:
        raise UserError("At least one concept must be held in; all are held out.", "Name another concept set.")
    recipe = HypernetworkRecipe(**changes)
    recipe.check(resources.load(model, "float32").shape.d_model)
    changed = {one.name: asdict(recipe)[one.name] for one in fields(recipe)}
    return {
        "model": model,
        "concepts": concepts,
        "hook": hook,
        "out": str(out),
        "recipe": {key: value for key, value in changed.items() if value != getattr(RECIPE, key)},
    }


def training_command(recipe: Mapping[str, Any]) -> list[str]:
    """The command line of a hypernetwork's training, to be run in the program's folder."""
    from ui.job_kinds import flag

    said = {name: str(recipe[name]) for name in ("model", "concepts", "hook", "out")}
    return [
        *(sys.executable, "-m", "ui.child", "cli.py", "hypernet", "train", "--save-every-s", str(CHECKPOINT_S)),
        *(part for name, value in {**said, **recipe["recipe"]}.items() for part in flag(name, value)),
    ]


def _train(recipe: Mapping[str, Any], progress: Progress) -> Outcome:
    from steering.shelf import find_shelved
    from ui.job_kinds import ROOT, SaeTrainingLines, run_child

    run_child(training_command(recipe), ROOT, SaeTrainingLines(progress))
    one = find_shelved("hypernetworks", Path(recipe["out"]).name)
    return Outcome(to_code(Spec(PAGE, model=str(recipe["model"]), options={HYPERNETWORK: one.digest})), one.digest)


HYPERNET = JobKind(SLUG, "program", _train)
