"""Steps and conditions made of vectors on the shelf: the short spelling of most steps."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from steering.fitted import Fitted
from steering.method import Method, method_named
from steering.methods.cast_condition import Condition, condition_of
from steering.methods.k_steering import GradientStep
from steering.methods.loreft import AffineLowRank
from steering.recipe import Step, step_of
from steering.shelf import CONDITION, Shelved, find_shelved
from steering.vector_folder import read_vectors

KIND = "vectors"
CLASSIFIER = "k_steering"
BEGIN_RELATIVE = 0.1
"""The relative strength to begin with where no sweep chose one."""
BEGIN = {"iti": 15.0, "add_direction": 1.0}
"""Strengths that papers begin with, where the unit is the method's own; imported vectors begin as they are."""


def step_from_shelf(
    wanted: str, method: str = "", layers: Sequence[int] = (), at: Sequence[str] = (), name: str = "", **fields: Any
) -> Step:
    """A step of the vectors of a name or digest, used by the method they were fitted by or by another of directions.

    `layers` keeps those of some layers; `at` puts the one vector that is left at other hook points. Strength, unit and
    range are what the vectors' scores say, unless given; other `fields` are those of Step, and `value` of step_of.
    """
    one = find_shelved(KIND, wanted)
    fitted, used = read_vectors(one.folder), method_named(method or str(one.manifest.get("method")))
    fitted = _elsewhere(_of_layers(fitted, layers), at)
    begun = _begin(one, used, fitted)
    step = step_of(fitted, used, name or one.name.replace("_", " "), **{"source": one.digest, **begun, **fields})
    return replace(step, changes=tuple(_named(change, one.digest) for change in step.changes))


def _named(change: Any, digest: str) -> Any:
    """The change; a classifier or an edit's matrices are too large for a link, which has their digest instead."""
    if isinstance(change, AffineLowRank):
        return replace(change, source=digest, origin=change.at)
    return replace(change, source=digest) if isinstance(change, GradientStep) else change


def condition_from_shelf(wanted: str) -> Condition:
    """The condition of a name or digest on the shelf."""
    one = find_shelved(KIND, wanted)
    if one.manifest.get("method") != CONDITION:
        raise UserError(
            f"{one.name} is no condition: it was fitted by {one.manifest.get('method')}.", "Fit one by CAST."
        )
    return condition_of(read_vectors(one.folder))


def _of_layers(fitted: Fitted, layers: Sequence[int]) -> Fitted:
    kept = {at: vector for at, vector in fitted.vectors.items() if not layers or at.layer in layers}
    if not kept:
        have = ", ".join(str(at.layer) for at in fitted.vectors)
        raise UserError(f"These vectors are of layers {have}; {list(layers)} was asked for.", "Choose among them.")
    return replace(fitted, vectors=kept)


def _elsewhere(fitted: Fitted, at: Sequence[str]) -> Fitted:
    if not at:
        return fitted
    if len(fitted.vectors) != 1:
        raise UserError(
            f"One direction goes to other hook points; there are {len(fitted.vectors)}.", "Choose one of the layers."
        )
    ((_, vector),) = fitted.vectors.items()
    points = [HookPoint.parse(one) for one in at]
    norms = {point: norm for point in points if (norm := fitted.mean_norms.get(point))}
    return replace(fitted, vectors=dict.fromkeys(points, vector), mean_norms=norms)


def _begin(one: Shelved, used: Method, fitted: Fitted) -> dict[str, Any]:
    """Strength, unit and range to begin with."""
    scores = one.manifest.get("scores")
    is_own = used.slug == one.manifest.get("method") and used.slug not in BEGIN
    if is_own and isinstance(scores, dict) and scores.get("facts", {}).get("unit") == "relative":
        most = max(float(dose["strength"]) for dose in scores["doses"])
        chosen = float(scores["chosen_strength"]) or BEGIN_RELATIVE
        return {"strength": chosen, "unit": "relative", "strength_range": (-most, most)}
    if used.slug == CLASSIFIER:
        ((_, norm),) = fitted.mean_norms.items()
        return {"strength": BEGIN_RELATIVE * norm / float(fitted.facts["mean_gradient_norm"])}
    is_plain = all(vector.ndim == 1 and fitted.mean_norms.get(at) for at, vector in fitted.vectors.items())
    if used.is_additive and used.slug not in BEGIN and is_plain:
        return {"strength": BEGIN_RELATIVE, "unit": "relative"}
    return {"strength": BEGIN.get(used.slug, 1.0)}


def is_direction(one: Shelved) -> bool:
    """Whether its vectors are directions of activations, rather than masks, matrices, classifiers or conditions."""
    return one.manifest.get("method") not in ("act_add", "sadi", "loreft", "psr", CLASSIFIER, CONDITION)
