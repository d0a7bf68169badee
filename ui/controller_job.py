"""The job that trains a controller and measures it on prompts held out; a stopped one goes on where it was."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.spec import Spec, to_code
from capture.errors import UserError
from capture.home import home_folder
from ui import resources
from ui.job import JobKind, Outcome, Progress

CHECKPOINT_S = 10.0
UPLOADS = "uploads"


def kept_uploads(files: Sequence[tuple[str, bytes]]) -> str:
    """Where uploaded files of prompts are kept beside each other, so that a job finds them after a restart.

    The path of the first one: of lists that are labelled by their files' names it is the target.
    """
    import hashlib

    from capture.written_file import replace_file

    named = [(Path(name).name, data) for name, data in files]
    content = [part for name, data in named for part in (name.encode(), hashlib.sha256(data).digest())]
    folder = home_folder() / UPLOADS / hashlib.sha256(b"".join(content)).hexdigest()[:16]
    for name, data in named:
        replace_file(folder / name, data)
    return str(folder / named[0][0])


def controller_recipe(
    name: str, model: str, dtype: str, prompts: str, held_out: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """The recipe of a training; raises UserError for what cannot be trained, before anything is run."""
    from steering.controller_making import pair_halves, prompt_sets
    from steering.controller_recipe import ControllerRecipe
    from steering.shelf import own_folder
    from ui.job_forms import check_name

    if not resources.is_allowed(model):
        raise UserError(f"The model {model[:80]!r} was not opened here yet.", "Open it in the sidebar of a page.")
    out = own_folder("controllers") / check_name(name)
    if out.exists():
        raise UserError(f"A controller called {name!r} is here already.", "Choose another name.")
    recipe = ControllerRecipe(**fields)
    recipe.check()
    prompt_sets(Path(prompts), Path(held_out) if held_out else None, recipe.target)
    pair_halves(recipe.pairs)
    return {
        "name": name,
        "model": model,
        "dtype": dtype,
        "prompts": prompts,
        "held_out": held_out,
        "recipe": dict(fields),
    }


def _train(recipe: Mapping[str, Any], progress: Progress) -> Outcome:
    progress(0.0, "starting the engine")
    resources.warm_up()
    from steering.controller_making import Asked, make_controller
    from steering.controller_recipe import ControllerRecipe
    from steering.shelf import find_shelved, own_folder

    session = resources.load(recipe["model"], recipe["dtype"])
    held_out = Path(recipe["held_out"]) if recipe["held_out"] else None
    out = own_folder("controllers") / recipe["name"]
    asked = Asked(
        Path(recipe["prompts"]), ControllerRecipe(**recipe["recipe"]), out, held_out, save_every_s=CHECKPOINT_S
    )
    make_controller(session, asked, progress)
    digest = find_shelved("controllers", recipe["name"]).digest
    return Outcome(to_code(Spec("controllers", options={"controller": digest})), digest)


CONTROLLER = JobKind("train-controller", "model", _train)
