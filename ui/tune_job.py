"""Auto-tune as a job of the queue: a recipe's sweep, whose points the page shows as they come."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from analysis.spec import Spec, read_spec, to_code
from ui import resources
from ui.job import JobKind, Outcome, Progress

if TYPE_CHECKING:
    from steering.tune_plan import TunePlan


def tuning_recipe(asked: Spec, plan: "TunePlan") -> dict[str, Any]:
    """The recipe of a tuning job: the view that it was asked from, whose model it runs, and the plan."""
    return {"view": asked.with_(pins={}).to_json(), "plan": plan.to_json()}


def _tune(recipe: Mapping[str, Any], progress: Progress) -> Outcome:
    progress(0.0, "starting the engine")
    resources.warm_up()
    from steering.tune_plan import TunePlan
    from steering.tuning import tune

    view = read_spec(dict(recipe["view"]))
    session = resources.load(view.model, view.dtype)
    found = tune(session, TunePlan.from_json(recipe["plan"]), resources.store(), progress)
    return Outcome(to_code(view), found)


TUNE = JobKind("tune", "model", _tune)
