"""Interference: how alike the directions of a recipe are, and where the order of its steps matters.

Directions that are read from or written to the residual stream share one space, whatever their layer; any other hook
point is a space of its own. Whether two steps commute is not looked up but tried: both orders are run on activations
of the text, taken once for the prompt and once more for what is generated behind it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.binding import audible
from capture.hook_point import HookPoint
from capture.intervention import BindsToPrompt, Intervention, ReadsWeights
from capture.session import ModelSession

RESIDUAL = frozenset({"embed", "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"})
ROUNDING = 1e-4
"""Share of the activation below which two orders differ by rounding alone."""


@dataclass(frozen=True)
class Arrow:
    """A direction of the recipe: of which step (counted from 0), where, and the vector as its operator has it."""

    step: int
    at: HookPoint
    vector: Float[Tensor, "d"]


@dataclass(frozen=True)
class Overlap:
    """The directions of one space and their cosines; `gram` are the dot products of the vectors as they are."""

    space: str
    arrows: tuple[Arrow, ...]
    cosine: Float[Tensor, "n n"]
    gram: Float[Tensor, "n n"]


@dataclass(frozen=True)
class OrderEffect:
    """Two steps whose order matters at a hook point.

    `size` is the longest ‖B(A(x)) − A(B(x))‖ over positions; `share` the same in mean norms of the activation.
    """

    at: HookPoint
    first: int
    second: int
    size: float
    share: float


@dataclass(frozen=True)
class Interference:
    """What the steps of a recipe are to each other; `n_heard` are those neither muted nor beside a solo one."""

    n_heard: int
    overlaps: tuple[Overlap, ...]
    orders: tuple[OrderEffect, ...]


def interference(session: ModelSession, recipe: Sequence[Intervention], prompt: Sequence[int]) -> Interference:
    """Overlaps and order effects of what can be heard of a recipe; conditions are taken to hold."""
    session.check_interventions(recipe)
    parts = {n: _parts(one, session, prompt) for n, one in enumerate(recipe) if _is_heard(one, recipe)}
    return Interference(len(parts), _overlaps(recipe, parts), tuple(_orders(session, parts, prompt)))


def _is_heard(one: Intervention, recipe: Sequence[Intervention]) -> bool:
    return any(one is other for other in audible(recipe))


def _parts(one: Any, session: ModelSession, prompt: Sequence[int]) -> list[Any]:
    """The operators of an entry for this prompt, ready to be called."""
    if hasattr(one, "placed"):
        found = one.placed(prompt, session.special_tokens)
    else:
        found = one.bound_to(session, prompt) if isinstance(one, BindsToPrompt) else (one,)
    return [part.with_weights(session.weight) if isinstance(part, ReadsWeights) else part for part in found]


def direction_of(change: Any) -> Float[Tensor, "d"] | None:
    """The direction that an operator writes or removes; None where it has none, or a matrix."""
    vector = getattr(change, "vector", None)
    if vector is None:
        return getattr(change, "direction", None)
    return torch.tensor(vector, dtype=torch.float32)


def _overlaps(recipe: Sequence[Intervention], parts: dict[int, list[Any]]) -> tuple[Overlap, ...]:
    spaces: dict[str, list[Arrow]] = {}
    for n in parts:
        for change in getattr(recipe[n], "changes", (recipe[n],)):
            if (vector := direction_of(change)) is not None and vector.any():
                (at,) = change.hook_points()
                space = "residual stream" if at.site in RESIDUAL else str(at)
                spaces.setdefault(space, []).append(Arrow(n, at, vector))
    return tuple(_overlap(space, arrows) for space, arrows in spaces.items())


def _overlap(space: str, arrows: Sequence[Arrow]) -> Overlap:
    vectors = torch.stack([one.vector for one in arrows])
    units = torch.nn.functional.normalize(vectors.double(), dim=1)
    return Overlap(space, tuple(arrows), (units @ units.T).float(), vectors @ vectors.T)


def _orders(session: ModelSession, parts: dict[int, list[Any]], prompt: Sequence[int]) -> Iterator[OrderEffect]:
    at_points: dict[HookPoint, dict[int, list[Any]]] = {}
    for n, changes in parts.items():
        for change in changes:
            for at in change.hook_points():
                at_points.setdefault(at, {}).setdefault(n, []).append(change)
    shared = {at: steps for at, steps in at_points.items() if len(steps) > 1}
    seen = session.capture(prompt, tuple(shared)) if shared else {}
    for at, steps in shared.items():
        rows = seen[at].float().flatten(1)
        x = torch.cat([rows, rows])[None]
        for (first, one), (second, other) in combinations(steps.items(), 2):
            difference = (_acted(other, _acted(one, x, at), at) - _acted(one, _acted(other, x, at), at))[0]
            size, usual = float(difference.norm(dim=1).max()), float(rows.norm(dim=1).mean())
            if size > ROUNDING * usual:
                yield OrderEffect(at, first, second, size, size / usual)


def _acted(changes: Sequence[Any], x: Tensor, at: HookPoint) -> Tensor:
    for change in changes:
        x = change(x, at, 0)
    return x
