"""Steps as the script beside them (`apply_steering.py`) reads them: plain JSON, and one tensor for each change.

A controller is named by its folder in the bundle, which the script reads.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from capture.binding import audible
from capture.intervention import Intervention
from capture.session import ModelSession
from steering.direction import unit
from steering.folding import added_vector, changes_of, step_name
from steering.methods.clamp_direction import ClampDirection
from steering.methods.controller import SteerByController
from steering.methods.loreft import AffineLowRank
from steering.methods.project_out import ProjectOut
from steering.methods.replace_direction import ReplaceDirection
from steering.recipe import Step
from steering.schedule import EVEN
from steering.shelf import find_shelved
from steering.token_scope import EVERYWHERE, TokenScope

SITES = ("resid_pre", "resid_post", "attn_out", "mlp_out", "z")
OPERATORS = {
    ProjectOut: "project_out",
    ReplaceDirection: "replace",
    ClampDirection: "clamp",
    AffineLowRank: "affine",
}
STEPS, TENSORS = "steps.json", "steps.safetensors"
POST_NORM = ("gemma2", "gemma3", "gemma3_text", "olmo2", "glm4")
"""Families with a norm behind attention and MLP: what those give is not what the residual stream gets."""


@dataclass(frozen=True)
class Script:
    """The files that the script reads, and a sentence for each change that it cannot make."""

    files: dict[str, bytes]
    refused: tuple[str, ...]


def script_of(
    interventions: Sequence[Intervention], session: ModelSession, folders: Mapping[str, str] | None = None
) -> Script:
    """The steps of a recipe for the script; `folders` has that of each controller, by its digest."""
    steps: list[dict[str, Any]] = []
    tensors: dict[str, Tensor] = {}
    refused = []
    heard = {id(one) for one in audible(interventions)}
    for place, one in enumerate(interventions, 1):
        if id(one) not in heard:
            continue
        if isinstance(one, SteerByController) and folders:
            folder = folders[find_shelved("controllers", one.controller).digest]
            said = {"strength": one.strength, "unit": one.unit, "output": one.output}
            steps.append({"step": step_name(one, place), "controller": folder, **said})
            continue
        for change in changes_of(one):
            reason = _refusal(one, change, session.shape.family)
            if reason:
                refused.append(f"{step_name(one, place)} {reason}")
                continue
            key = f"{len(steps)}"
            spelled, tensors[key] = _spelled(one, change)
            steps.append({"step": step_name(one, place), "tensor": key, **spelled})
    data = {"model": session.name, "dtype": session.dtype, "special_tokens": sorted(session.special_tokens)}
    data["steps"] = steps
    files = {STEPS: (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode(), TENSORS: save(tensors)}
    return Script(files, tuple(dict.fromkeys(refused)))


def _refusal(one: Intervention, change: Any, family: str) -> str:
    if isinstance(one, Step) and one.condition is not None:
        return "acts only where its condition holds, which apply_steering.py does not ask: it is left out."
    if _operator(change) is None:
        return f"is of kind {change.kind.replace('_', ' ')}, which apply_steering.py does not know: it is left out."
    if change.at.site not in SITES or change.at.layer is None:
        return f"acts at {change.at}, which plain transformers does not show: it is left out."
    if change.at.site in ("attn_out", "mlp_out") and family in POST_NORM:
        return f"acts at {change.at}, behind a norm of {family}, which apply_steering.py does not hook: it is left out."
    return ""


def _spelled(one: Intervention, change: Any) -> tuple[dict[str, Any], Float[Tensor, "..."]]:
    scope, schedule = (one.scope, one.schedule) if isinstance(one, Step) else (_own_scope(change), EVEN)
    operator, added = _operator(change), added_vector(change)
    vector = _held(change) if added is None else added
    spelled = {
        "operator": operator,
        "block": change.at.layer,
        "site": change.at.site,
        "from_pos": getattr(change, "from_pos", 0),
        "strength": change.strength if added is None else 1.0,
        "value": getattr(change, "value", 0.0) * (getattr(change, "length", None) or 1.0),
        "scope": scope.recipe(),
        "schedule": schedule.recipe(),
    }
    return spelled, vector


def _held(change: Any) -> Float[Tensor, "..."]:
    """The direction at length 1; of an affine edit R, W − R and b beside each other, a row for each dimension."""
    return change.matrix() if isinstance(change, AffineLowRank) else unit(torch.tensor(change.vector))


def _operator(change: Any) -> str | None:
    """What the script calls it; None for what it does not know."""
    return OPERATORS.get(type(change)) if added_vector(change) is None else "add"


def _own_scope(change: Any) -> TokenScope:
    return TokenScope("ranges", getattr(change, "ranges", EVERYWHERE))
