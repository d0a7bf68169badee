"""Baking: a transformers folder whose weights do what a recipe's hooks did, for programs that know nothing of steering.

1. What is added at every token goes into biases: of the MLP's output projection for the residual stream, of attention's
   for attention, through the projection for what is before it, and into an embedding for the input of block 0.
2. A direction that is taken out wherever blocks read from and write to the stream is taken out of every matrix, table
   and bias that writes there (Arditi et al. 2024, arXiv 2406.11717): W ← W − r̂ r̂ᵀ W.
3. Everything else is refused by name.
4. The folder is read again by plain transformers, and its logits are compared with those of the hooks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.binding import audible
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.session import ModelSession
from steering.bake_layout import Layout, layout_of, module_at, project_out_of, project_rows, through, writers
from steering.direction import unit
from steering.folding import Addition, added_vector, changes_of, refusal, step_name
from steering.methods.project_out import ProjectOut
from steering.recipe import EVERY_TOKEN, Step
from steering.token_scope import EVERYWHERE

CLOSE = 1e-5
"""Cosine below which a vector counts as orthogonal to a direction, and difference within which directions are equal."""
TOLERANCE = 1e-3
"""Largest difference of logits, as a share of the largest logit, that counts as rounding in float32."""


@dataclass(frozen=True)
class Plan:
    """What goes into the weights: additions at hook points, and unit directions that nothing may lie along."""

    additions: tuple[Addition, ...]
    directions: tuple[Float[Tensor, "d"], ...]
    recipe: tuple[Intervention, ...]
    """The recipe as it is baked: the one that was given, with scopes opened where that was asked for."""


def plan_of(interventions: Sequence[Intervention], n_layers: int, every_token: bool = False) -> Plan:
    """What can be baked of a recipe; `every_token` opens the scopes of its steps.

    Raises UserError that names the first step which cannot be baked.
    """
    recipe = tuple(_opened(one) if every_token else one for one in audible(interventions))
    if not recipe:
        raise UserError("A model is baked from at least one change; the recipe has none.", "Add a step to it.")
    additions: list[Addition] = []
    ablated: dict[HookPoint, list[tuple[str, Tensor]]] = {}
    for place, one in enumerate(recipe, 1):
        name = step_name(one, place)
        _check_step(one, name)
        for change in changes_of(one):
            _check_ranges(change, name)
            if (vector := added_vector(change)) is not None:
                additions.append(Addition(name, change.at, vector))
            elif isinstance(change, ProjectOut) and change.strength == 1:
                ablated.setdefault(change.at, []).append((name, unit(torch.tensor(change.vector))))
            else:
                raise UserError(
                    f"{name} cannot be baked: it is of kind {change.kind.replace('_', ' ')}"
                    f"{'' if change.strength == 1 else f' at strength {change.strength:g}'}.",
                    "Mute it, or export a bundle, whose script steers by hooks.",
                )
    directions = _directions(ablated, n_layers)
    _check_apart(additions, directions)
    return Plan(tuple(additions), directions, recipe)


def _opened(one: Intervention) -> Intervention:
    if isinstance(one, Step):
        return replace(one, scope=EVERY_TOKEN, changes=tuple(_opened(change) for change in one.changes))
    names = {"from_pos": 0, "ranges": EVERYWHERE}
    fields: dict[str, Any] = {name: value for name, value in names.items() if hasattr(one, name)}
    opened: Intervention = replace(one, **fields)  # type: ignore[type-var]
    return opened


def _check_step(one: Intervention, name: str) -> None:
    if reason := refusal(one):
        raise UserError(f"{name} cannot be baked: it {reason.partition(',')[0]}.", "Mute it, or export a bundle.")
    if isinstance(one, Step) and one.scope != EVERY_TOKEN:
        raise UserError(
            f"{name} cannot be baked as it is: weights act at every token, and its scope is "
            f"{one.scope.kind.replace('_', ' ')}.",
            "Set its scope to all, or say --every-token.",
        )


def _check_ranges(change: Any, name: str) -> None:
    if getattr(change, "ranges", EVERYWHERE) != EVERYWHERE or getattr(change, "from_pos", 0):
        raise UserError(
            f"{name} cannot be baked as it is: weights act at every token, and it acts at some positions.",
            "Say --every-token, or export a bundle.",
        )


def _directions(ablated: Mapping[HookPoint, list[tuple[str, Tensor]]], n_layers: int) -> tuple[Float[Tensor, "d"], ...]:
    """The directions that are taken out everywhere; raises UserError for one that is taken out at some places alone."""
    found: list[tuple[str, Tensor]] = []
    for name, direction in (one for entries in ablated.values() for one in entries):
        if not any(_are_same(direction, other) for _, other in found):
            found.append((name, direction))
    embedded = (HookPoint(0, "resid_pre"), HookPoint(None, "embed"))
    needed = [HookPoint(layer, site) for layer in range(n_layers) for site in ("attn_out", "mlp_out")]
    for name, direction in found:
        covered = {at for at, entries in ablated.items() if any(_are_same(direction, one) for _, one in entries)}
        missing = [at for at in needed if at not in covered]
        missing += [] if covered & set(embedded) else [embedded[0]]
        if missing:
            raise UserError(
                f"{name} cannot be baked: a direction is taken out of weights if it is taken out at the input, and at "
                f"the outputs of attention and MLP, of every block; it is left at {missing[0]}.",
                "Take it out at every block (Ablate a direction, every block), or export a bundle.",
            )
    return tuple(direction for _, direction in found)


def _are_same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool(min((one - other).norm(), (one + other).norm()) < CLOSE)


def _check_apart(additions: Sequence[Addition], directions: Sequence[Tensor]) -> None:
    """Refuse vectors along a direction that is taken out: hooks at the next block would take them out again."""
    for place, direction in enumerate(directions):
        along = [(one.step, one.vector) for one in additions if one.vector.shape == direction.shape]
        along += [("another direction", other) for other in directions[:place]]
        for name, vector in along:
            if vector.any() and abs(float(unit(vector) @ direction)) > CLOSE:
                raise UserError(
                    f"{name} lies partly along a direction that is taken out: in weights their order would be lost.",
                    "Bake one of the two, or mute one.",
                )


def bake(model: Any, plan: Plan) -> Any:
    """A transformers model with the plan in its weights; the model that was given is taken apart for it.

    Raises UserError for a family that cannot be folded into, and a place where it has no bias.
    """
    layout = layout_of(model.config)
    model = _untied(_with_biases(model, layout, plan)) if _needs_tables(plan) else _with_biases(model, layout, plan)
    for direction in plan.directions:
        for projection in writers(model, layout):
            project_out_of(projection, direction)
        for name in layout.embeddings:
            project_rows(module_at(model, name), direction)
    for one in plan.additions:
        _add(model, layout, one)
    return model


def _needs_tables(plan: Plan) -> bool:
    """Whether embeddings change, which a tied unembedding must not."""
    return bool(plan.directions) or any(_is_embedding(one.at) for one in plan.additions)


def _is_embedding(at: HookPoint) -> bool:
    return at in (HookPoint(0, "resid_pre"), HookPoint(None, "embed"))


def _place(at: HookPoint) -> tuple[int, str]:
    """The block and the part whose bias an addition goes to."""
    layer = at.layer or 0
    if at.site == "resid_pre":
        return layer - 1, "mlp"
    return layer, "attn" if at.site in ("attn_out", "z") else "mlp"


def _with_biases(model: Any, layout: Layout, plan: Plan) -> Any:
    """The model, made again with biases of zero where additions need some and it has none."""
    from transformers import AutoModelForCausalLM

    switches = set()
    for one in plan.additions:
        if _is_embedding(one.at):
            continue
        if one.at.site not in ("resid_pre", "resid_post", "attn_out", "mlp_out", "z", "mlp_post"):
            raise UserError(f"{one.step} cannot be baked: it adds at {one.at}, where no bias is.", "Mute it.")
        switch = layout.attn_bias if _place(one.at)[1] == "attn" else layout.mlp_bias
        if not switch:
            raise UserError(
                f"{one.step} cannot be baked: a model of type {model.config.model_type} has no bias behind its "
                f"{'attention' if _place(one.at)[1] == 'attn' else 'MLP'}, and no switch that adds one.",
                "Export a bundle: its script steers by hooks.",
            )
        switches.add(switch)
    wanted = {name for name in switches if hasattr(model.config, name) and not getattr(model.config, name)}
    if not wanted:
        return model
    config = model.config.to_dict() | dict.fromkeys(wanted, True)
    made = AutoModelForCausalLM.from_config(type(model.config).from_dict(config), dtype=next(model.parameters()).dtype)
    missing, _ = made.load_state_dict(model.state_dict(), strict=False)
    with torch.no_grad():
        for name in missing:
            made.get_parameter(name).zero_()
    return made.eval()


def _untied(model: Any) -> Any:
    """The model with an unembedding of its own."""
    head, table = model.get_output_embeddings(), model.get_input_embeddings()
    if head.weight is table.weight:
        head.weight = torch.nn.Parameter(table.weight.detach().clone())
    model.config.tie_word_embeddings = False
    return model


def _add(model: Any, layout: Layout, one: Addition) -> None:
    with torch.no_grad():
        if _is_embedding(one.at):
            table = module_at(model, layout.embeddings[-1])
            table.weight += one.vector.to(table.weight)
            return
        layer, part = _place(one.at)
        block = module_at(model, layout.blocks)[layer]
        projection = module_at(block, layout.attn if part == "attn" else layout.mlp)
        vector = through(projection, one.vector) if one.at.site in ("z", "mlp_post") else one.vector
        projection.bias += vector.to(projection.bias)


def difference(folder: Path, session: ModelSession, plan: Plan, tokens: Sequence[int]) -> tuple[float, float]:
    """The largest difference of logits between plain transformers on the folder and the hooks; the largest logit."""
    from transformers import AutoModelForCausalLM

    baked = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    with torch.no_grad():
        logits = baked(torch.tensor([list(tokens)])).logits[0].float()
    hooked = session.logits(tokens, plan.recipe)
    return float((logits - hooked).abs().max()), float(hooked.abs().max())
