"""Folding: what of a recipe a plain vector can say, and what it cannot, in words.

A file of another tool holds vectors that are added as they are, at every token, always. So of each step

1. strength, unit and layer weights go into the vector;
2. a token scope cannot, and the vector acts at every token: a caveat;
3. a condition, a schedule over tokens, and any change that adds no vector cannot, and the step is refused.

Nothing is dropped without a sentence that names the step.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.binding import audible
from capture.hook_point import HookPoint
from capture.intervention import AddVector, Intervention
from steering.methods.add_direction import AddDirection
from steering.methods.edit_latent import EditLatent
from steering.recipe import Step
from steering.token_scope import EVERYWHERE, TokenScope

SCOPE_WORDS = {
    "skip_special": "leaves special tokens such as BOS out",
    "prompt": "acts at the tokens of the prompt alone",
    "prompt_ends": "acts at the first and the last tokens of the prompt alone",
    "generated": "acts at the generated tokens alone",
    "last_prompt": "acts at the last token of the prompt alone",
    "last_prompt_and_generated": "acts from the last token of the prompt on",
    "ranges": "acts at some positions alone",
}
AT_EVERY_TOKEN = "in a file of vectors it is added at every token."
BY_PROMPT = {
    "controller": "reads each prompt and decides how strongly it acts",
    "hypernetwork": "makes a vector for each prompt anew",
}
"""Changes that no vector can stand for, since they are another one for each prompt."""


@dataclass(frozen=True)
class Addition:
    """A vector as it is added, strength and all, the step that it comes from, and what of that a file cannot say."""

    step: str
    at: HookPoint
    vector: Float[Tensor, "d"]
    caveat: str = ""


@dataclass(frozen=True)
class Folded:
    """The additions of a recipe, and a sentence for each step or change that is none."""

    additions: tuple[Addition, ...]
    refused: tuple[str, ...]

    @property
    def caveats(self) -> tuple[str, ...]:
        """What is added otherwise than the recipe says, each once."""
        return tuple(dict.fromkeys(one.caveat for one in self.additions if one.caveat))


def fold(interventions: Sequence[Intervention]) -> Folded:
    """A recipe as additions at every token, with what that loses."""
    additions: list[Addition] = []
    refused: list[str] = []
    heard = {id(one) for one in audible(interventions)}
    for place, one in enumerate(interventions, 1):
        name = step_name(one, place)
        if id(one) not in heard:
            refused.append(f"{name} is muted, or not solo where another is: it is left out.")
        elif reason := refusal(one):
            refused.append(f"{name} {reason}")
        else:
            for change in changes_of(one):
                vector = added_vector(change)
                if vector is None:
                    refused.append(f"{name} {not_an_addition(change)}")
                else:
                    additions.append(Addition(name, change.at, vector, _caveat(name, one, change)))
    return Folded(tuple(additions), tuple(dict.fromkeys(refused)))


def step_title(one: Intervention, place: int) -> str:
    """What to call an entry of a recipe: its name in one line, or its number and kind."""
    return _own_name(one) or f"Entry {place} ({one.recipe()['kind'].replace('_', ' ')})"


def _own_name(one: Intervention) -> str:
    """The name that a person gave a step, or the sentence that it is of, in one line; "" for anything else."""
    return " ".join(str(getattr(one, "name", "") or getattr(one, "sentence", "")).split())


def step_name(one: Intervention, place: int) -> str:
    """What to call it in a sentence."""
    title = step_title(one, place)
    return repr(title) if _own_name(one) else title


def refusal(one: Intervention) -> str:
    """Why no vector can stand for the whole step; "" where nothing speaks against it."""
    if not isinstance(one, Step):
        return ""
    if one.condition is not None:
        return "acts only where its condition holds for the prompt, which no file of vectors can say: it is left out."
    if one.schedule.kind != "constant":
        return f"follows a {one.schedule.kind} over the generated tokens, which no vector can say: it is left out."
    return ""


def not_an_addition(change: Any) -> str:
    """Why a change of another kind cannot be a vector."""
    if change.kind in BY_PROMPT:
        return f"{BY_PROMPT[change.kind]}, which no file of vectors can say: its own folder in the bundle has it whole."
    return f"is of kind {change.kind.replace('_', ' ')}, which no vector that is added can stand for: it is left out."


def changes_of(one: Intervention) -> Iterator[Any]:
    """The operators of a step at the strength that they have in it, or the operator itself."""
    if not isinstance(one, Step):
        yield one
        return
    for change in one.changes:
        fields: dict[str, Any] = {"strength": change.strength * one.strength * one.weight(change)}
        if one.unit == "relative":
            fields["length"] = one.mean_norms[change.at]
        yield replace(change, **fields)


def added_vector(change: Any) -> Float[Tensor, "d"] | None:
    """What the change adds wherever it acts, whatever the activation is; None where it does something else."""
    if isinstance(change, AddDirection):
        return change.added()
    if isinstance(change, AddVector):
        return change.strength * torch.tensor(change.vector)
    if isinstance(change, EditLatent) and change.mode == "add" and not change.is_scaled:
        return change.strength * change.value * change.direction
    return None


def _caveat(name: str, one: Intervention, change: Any) -> str:
    scope = one.scope if isinstance(one, Step) else TokenScope()
    from_pos = getattr(change, "from_pos", 0)
    is_placed = getattr(change, "ranges", EVERYWHERE) != EVERYWHERE or from_pos > 0
    if scope.kind == "all" and not is_placed:
        return ""
    words = SCOPE_WORDS.get(scope.kind, SCOPE_WORDS["ranges"])
    if scope.kind == "all" and from_pos == 1:
        words = "leaves the first token out"
    return f"{name} {words}; {AT_EVERY_TOKEN}"


def summed(additions: Iterable[Addition]) -> dict[HookPoint, Float[Tensor, "d"]]:
    """The sum of the vectors at each hook point, by block; none where they cancel.

    What is added to the input of block N + 1 is added to the output of block N: one place, and files name the latter.
    """
    found: dict[HookPoint, Tensor] = {}
    for one in additions:
        at = as_output(one.at)
        found[at] = found[at] + one.vector if at in found else one.vector
    return {at: vector for at, vector in sorted(found.items(), key=_order) if vector.any()}


def as_output(at: HookPoint) -> HookPoint:
    """The same place as the output of the block before, where there is one."""
    return HookPoint(at.layer - 1, "resid_post") if at.site == "resid_pre" and at.layer else at


def _order(item: tuple[HookPoint, Any]) -> tuple[int, str]:
    at = item[0]
    return (-1 if at.layer is None else at.layer, at.site)
