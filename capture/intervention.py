"""Intervention: the protocol that every change to an activation meets, and the elementary operators.

Operators that need more than tensors, such as an SAE, live in rooms above this one and are found by discovery.
"""

import importlib
import pkgutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.mask import KeepLargest, MaskBelow, MaskWeakNeurons, Weight
from capture.recipe_number import read_number, read_position

if TYPE_CHECKING:
    from capture.session import ModelSession

Recipe = dict[str, Any]


@runtime_checkable
class Intervention(Protocol):
    """A pure change made during a forward pass; strength 0 returns the input bit for bit."""

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        ...

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        """The changed activation; `first_pos` is the absolute position of row 0 (not 0 under a key/value cache)."""
        ...

    def recipe(self) -> Recipe:
        """Plain JSON with a `kind`, from which the same intervention can be made again."""
        ...


@runtime_checkable
class ReadsWeights(Protocol):
    """An intervention that needs weights of the model it runs in: every run gives them."""

    def with_weights(self, weight: Weight) -> Intervention:
        """The same intervention for one model; `weight(kind, layer)` reads its weights."""
        ...


@runtime_checkable
class BindsToModel(Protocol):
    """An intervention that must fit the model it runs in: every run gives it the session first."""

    def for_model(self, session: "ModelSession") -> Intervention:
        """The same intervention for one model; raises UserError where it does not fit."""
        ...


@runtime_checkable
class ReadsTokens(Protocol):
    """An intervention that looks at the tokens, and not at activations alone: every pass gives it those of its row."""

    def with_tokens(self, tokens: Sequence[int]) -> Intervention:
        """The same intervention for one row, all of whose tokens so far are given, the first one at position 0."""
        ...


@runtime_checkable
class AddsVector(Protocol):
    """An intervention that does one thing: at its one hook point, within its ranges, it adds a vector in float32."""

    at: HookPoint

    def added(self) -> Float[Tensor, "d"]:
        """What is added, its strength included."""
        ...


@runtime_checkable
class BindsToPrompt(Intervention, Protocol):
    """An intervention that depends on the prompt: a session binds it before it runs (see capture.binding).

    Bound or not, its recipe is the one that names it. A call without binding is a programmer's mistake: ValueError.
    """

    def bound_to(self, session: "ModelSession", prompt: Sequence[int]) -> tuple[Intervention, ...]:
        """What it does on this prompt; nothing where it does not act. Of a text on a page, the whole is the prompt."""
        ...


@dataclass(frozen=True)
class AddVector:
    """x + strength * vector at one hook point, from position `from_pos` on."""

    at: HookPoint
    vector: tuple[float, ...]
    strength: float = 1.0
    from_pos: int = 0

    kind = "add_vector"

    def hook_points(self) -> tuple[HookPoint, ...]:
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        if self.strength == 0:
            return activation
        if len(self.vector) != activation.shape[-1]:
            raise UserError(
                f"The vector for {at} must have {activation.shape[-1]} entries; it has {len(self.vector)}.",
                "Make it from activations of this model at this hook point.",
            )
        skipped = max(0, self.from_pos - first_pos)
        change = self.strength * activation.new_tensor(self.vector)
        return torch.cat([activation[:, :skipped], activation[:, skipped:] + change], dim=1)

    def recipe(self) -> Recipe:
        return {
            "kind": self.kind,
            "at": str(self.at),
            "vector": list(self.vector),
            "strength": self.strength,
            "from_pos": self.from_pos,
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "AddVector":
        """The intervention that a recipe describes."""
        return cls(
            HookPoint.parse(recipe["at"]),
            tuple(read_number(entry) for entry in recipe["vector"]),
            read_number(recipe["strength"]),
            read_position(recipe["from_pos"]),
        )


@dataclass(frozen=True)
class Entry:
    """One residual-stream entry and the value to put there; `pos` None means every position."""

    pos: int | None
    dim: int
    value: float


@dataclass(frozen=True)
class ReplaceEntries:
    """Move chosen entries of one hook point from what they are (strength 0) to given values (strength 1).

    After `set_zero` / `set_mean` of Sun et al. 2024 (arXiv 2402.17762): same entries, values chosen by the caller.
    """

    at: HookPoint
    entries: tuple[Entry, ...]
    strength: float = 1.0

    kind = "replace_entries"

    def hook_points(self) -> tuple[HookPoint, ...]:
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        if self.strength == 0 or not self.entries:
            return activation
        for entry in self.entries:
            if not 0 <= entry.dim < activation.shape[-1]:
                raise UserError(
                    f"{at} has dimensions 0 to {activation.shape[-1] - 1}; {entry.dim} was given.",
                    "Choose one of them.",
                )
        changed = activation.clone()
        for rows, dim, value in self._groups(activation.shape[1], first_pos):
            old = changed[:, rows, dim]
            changed[:, rows, dim] = old + self.strength * (value - old)
        return changed

    def _groups(self, n_pos: int, first_pos: int) -> Iterator[tuple[slice, int, float]]:
        """Entries that lie in these positions as (row or all rows, dim, value)."""
        for entry in self.entries:
            if entry.pos is None:
                yield slice(None), entry.dim, entry.value
            elif first_pos <= entry.pos < first_pos + n_pos:
                yield slice(entry.pos - first_pos, entry.pos - first_pos + 1), entry.dim, entry.value

    def recipe(self) -> Recipe:
        return {
            "kind": self.kind,
            "at": str(self.at),
            "entries": [[entry.pos, entry.dim, entry.value] for entry in self.entries],
            "strength": self.strength,
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "ReplaceEntries":
        """The intervention that a recipe describes."""
        entries = tuple(
            Entry(None if pos is None else read_position(pos), read_position(dim), read_number(value))
            for pos, dim, value in recipe["entries"]
        )
        return cls(HookPoint.parse(recipe["at"]), entries, read_number(recipe["strength"]))


OPERATORS = (AddVector, ReplaceEntries, MaskBelow, KeepLargest, MaskWeakNeurons)
METHODS = "steering.methods"
"""The package whose modules may each add an `OPERATOR`. It is above this room, so it is known by its name alone, and
looked at only once a recipe asks for a kind that is not elementary."""


@cache
def operators() -> tuple[Any, ...]:
    """Every kind of intervention that a recipe can name, the elementary ones first."""
    package = importlib.import_module(METHODS)
    modules = [importlib.import_module(f"{METHODS}.{one.name}") for one in pkgutil.iter_modules(package.__path__)]
    return (*OPERATORS, *(module.OPERATOR for module in modules if hasattr(module, "OPERATOR")))


def operator_from_recipe(recipe: Recipe) -> Intervention:
    """The intervention that a recipe describes; refuses an unknown kind or a broken recipe."""
    kind = recipe.get("kind") if isinstance(recipe, dict) else None
    is_elementary = kind in [operator.kind for operator in OPERATORS]
    known = {operator.kind: operator for operator in (OPERATORS if is_elementary else operators())}
    if not isinstance(kind, str) or kind not in known:
        raise UserError(f"No intervention is of kind {str(kind)[:40]!r}.", f"Choose one of: {', '.join(known)}.")
    try:
        made: Intervention = known[kind].from_recipe(recipe)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        message = f"The {kind} recipe cannot be read: {repr(error)[:200]}."
        raise UserError(message, "Export it again where it was made.") from error
    return made
