"""Step: one entry of a recipe: named changes with strength, layer weights, token scope, schedule and condition.

A recipe is an ordered list of interventions, `Spec.interventions` of a view; a step is one that knows no prompt yet.
Bound to a prompt it is operators at positions:

1. scope and schedule become disjoint ranges of positions, each with a factor;
2. each change acts there at its base strength × strength × weight of its layer × factor;
3. a relative strength counts in mean norms of the activations at each hook point;
4. where the condition does not hold for the prompt there is nothing.

What is muted, or not solo where another step is, is left out by `capture.binding`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import BindsToPrompt, Intervention, Recipe, operator_from_recipe
from capture.recipe_number import read_number, read_position
from capture.scaling import scaled
from capture.session import ModelSession
from steering.fitted import UNITS, Fitted, Setting
from steering.method import Method
from steering.methods.cast_condition import Condition
from steering.schedule import EVEN, Schedule
from steering.token_scope import Ranges, TokenScope, clipped

__all__ = ["Step", "check_strength", "paper_scope", "read_strength", "scaled", "step_of"]

EVERY_TOKEN = TokenScope()
MAX_STRENGTH = 1e6
MAX_CHANGES = 1000
LONGEST_NAME = 200


@dataclass(frozen=True)
class Step:
    """Changes that are moved, muted, weighted and scheduled together.

    `changes` are operators at their base strength, each at a hook point; one that has no `ranges` says itself where it
    acts, and takes no scope or schedule. `weights` are multiples of the strength by layer; a layer that is not named
    has 1.
    """

    name: str
    changes: tuple[Any, ...]
    strength: float = 1.0
    unit: str = "absolute"
    mean_norms: Mapping[HookPoint, float] = field(default_factory=dict)
    """Mean norm of the activations at each hook point: what a relative strength counts in."""
    weights: Mapping[int, float] = field(default_factory=dict)
    scope: TokenScope = EVERY_TOKEN
    schedule: Schedule = EVEN
    condition: Condition | None = None
    is_muted: bool = False
    is_solo: bool = False
    method: str = ""
    """Slug of the method that the changes were made by, where one was."""
    source: str = ""
    """Digest of the vectors on the shelf that they were made from, where they were."""
    strength_range: tuple[float, float] | None = None
    """From what to what the strength is worth trying, as a sweep found it."""
    usual_strength: float = 1.0
    """The strength that it was added at, which a reset goes back to."""

    kind = "step"

    def __post_init__(self) -> None:
        if not self.changes or len(self.changes) > MAX_CHANGES:
            raise UserError(
                f"A step has 1 to {MAX_CHANGES:,} changes; this one has {len(self.changes):,}.", "Add a vector to it."
            )
        if self.unit not in UNITS:
            raise UserError(
                f"No unit of strength is called {str(self.unit)[:20]!r}.", f"Choose one of: {', '.join(UNITS)}."
            )
        numbers = {"strength": self.strength, **{f"weight of layer {one}": w for one, w in self.weights.items()}}
        for what, number in numbers.items():
            check_strength(what, number)
        for change in self.changes:
            _check_change(change, self)

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts, and where its condition is read is not among them."""
        return tuple(dict.fromkeys(at for change in self.changes for at in change.hook_points()))

    def __call__(self, activation: Any, at: HookPoint, first_pos: int) -> Any:
        """Refuses: a step acts once it is bound to a prompt."""
        raise ValueError("a step acts once it is bound to a prompt: use capture.binding.bound")

    def bound_to(self, session: ModelSession, prompt: Sequence[int]) -> tuple[Intervention, ...]:
        """The operators for this prompt; none where the condition, read on a clean run of it, does not hold."""
        session.check_interventions([self])
        if self.condition is not None and not self.condition.holds(session, prompt):
            return ()
        return self.placed(prompt, session.special_tokens)

    def placed(self, prompt: Sequence[int], special: frozenset[int] = frozenset()) -> tuple[Intervention, ...]:
        """The operators for this prompt, whatever the condition says; `special` tokens count as such for the scope."""
        ranges, pieces = self.scope.of(prompt, special), self.schedule.pieces(len(prompt))
        parts = [(part, factor) for a, b, factor in pieces if factor and (part := clipped(ranges, a, b))]
        return tuple(
            one
            for change in self.changes
            for one in self._at_strength(change, parts if hasattr(change, "ranges") else [((), 1.0)])
        )

    def _at_strength(self, change: Any, parts: Sequence[tuple[Ranges, float]]) -> Iterator[Intervention]:
        weight = self.weight(change)
        for ranges, factor in parts:
            fields: dict[str, Any] = {"strength": change.strength * self.strength * weight * factor}
            if fields["strength"] == 0:
                continue
            if hasattr(change, "ranges"):
                fields["ranges"] = ranges
            if self.unit == "relative":
                fields["length"] = self.mean_norms[change.at]
            yield replace(change, **fields)

    def weight(self, change: Intervention) -> float:
        """The weight of the layer that a change acts at."""
        found = {1.0 if at.layer is None else self.weights.get(at.layer, 1.0) for at in change.hook_points()}
        if len(found) > 1:
            raise UserError(
                f"A {_words(change)} acts at several layers at once, so they take one weight.",
                "Set the weights of all its layers to the same number.",
            )
        return found.pop()

    def recipe(self) -> Recipe:
        """Plain JSON."""
        return {
            "kind": self.kind,
            "name": self.name,
            "changes": [change.recipe() for change in self.changes],
            "strength": self.strength,
            "unit": self.unit,
            "mean_norms": {str(at): norm for at, norm in self.mean_norms.items()},
            "weights": {str(layer): weight for layer, weight in self.weights.items()},
            "scope": self.scope.recipe(),
            "schedule": self.schedule.recipe(),
            "condition": None if self.condition is None else self.condition.recipe(),
            "is_muted": self.is_muted,
            "is_solo": self.is_solo,
            "method": self.method,
            "source": self.source,
            "strength_range": None if self.strength_range is None else list(self.strength_range),
            "usual_strength": self.usual_strength,
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "Step":
        """The step that a recipe describes."""
        condition, limits = recipe["condition"], recipe.get("strength_range")
        return cls(
            str(recipe["name"])[:LONGEST_NAME],
            tuple(operator_from_recipe(one) for one in recipe["changes"]),
            read_strength("strength", recipe["strength"]),
            recipe["unit"],
            {HookPoint.parse(name): read_number(norm) for name, norm in recipe["mean_norms"].items()},
            {_read_layer(layer): read_strength("weight", weight) for layer, weight in recipe["weights"].items()},
            TokenScope.from_recipe(recipe["scope"]),
            Schedule.from_recipe(recipe["schedule"]),
            None if condition is None else Condition.from_recipe(condition),
            recipe["is_muted"] is True,
            recipe["is_solo"] is True,
            str(recipe.get("method", ""))[:LONGEST_NAME],
            str(recipe.get("source", ""))[:LONGEST_NAME],
            None if limits is None else _read_limits(limits),
            read_strength("strength", recipe.get("usual_strength", 1.0)),
        )


def step_of(fitted: Fitted, method: Method, name: str, *, value: float = 0.0, **fields: Any) -> Step:
    """A step that uses fitted vectors by a method: the one they were fitted by, or one that takes any direction.

    `value` is what clamp and replace put along the direction; `fields` are those of Step. The scope is that of the
    method's paper unless given, special tokens left out.
    """
    changes = method.apply(fitted, Setting(value=value))
    norms = {at: fitted.mean_norms[at] for change in changes for at in change.hook_points() if at in fitted.mean_norms}
    if not changes:
        raise UserError("These vectors are zero at every hook point.", "Fit them on other texts, or at other layers.")
    usual = {"scope": paper_scope(method, changes, fitted.facts), "mean_norms": norms, "method": method.slug}
    given: dict[str, Any] = {**usual, "usual_strength": fields.get("strength", 1.0), **fields}
    return Step(name, changes, **given)


def paper_scope(method: Method, changes: Sequence[Intervention], facts: Mapping[str, Any]) -> TokenScope:
    """Where a method's paper acts, special tokens left out; all where the changes say it themselves.

    `facts` are those of the fit, whose options say how far the ends of a prompt go.
    """
    if not all(hasattr(change, "ranges") for change in changes):
        return EVERY_TOKEN
    if method.scope == "prompt_ends":
        return TokenScope("prompt_ends", n_ends=read_position(facts["options"]["n_ends"]))
    return TokenScope("skip_special" if method.scope == "all" else method.scope)


def check_strength(what: str, number: float) -> None:
    """Raises UserError for a number that is no strength: NaN, or beyond MAX_STRENGTH in either direction."""
    # NaN compares as false too.
    if not abs(number) <= MAX_STRENGTH:
        said = "not a number" if math.isnan(number) else f"{number:g}"
        raise UserError(
            f"The {what} of a step must lie within ±{MAX_STRENGTH:,.0f}; {said} was given.", "Begin with 1."
        )


def read_strength(what: str, given: Any) -> float:
    """A strength from plain JSON, in whatever size a sentence is made of it."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{str(given)[:20]!r} is no number")
    number = math.inf if isinstance(given, int) and abs(given) > MAX_STRENGTH else float(given)
    check_strength(what, number)
    return number


def _check_change(change: Any, step: Step) -> None:
    if isinstance(change, BindsToPrompt):
        raise UserError(
            f"A {_words(change)} looks at the prompt itself, so that no step holds it.", "Put it beside the step."
        )
    is_everywhere = step.scope.kind == "all" and step.schedule.kind == "constant"
    if not is_everywhere and not hasattr(change, "ranges"):
        raise UserError(
            f"A {_words(change)} says itself where it acts; {step.scope.kind.replace('_', ' ')} and "
            f"{step.schedule.kind} was asked for.",
            "Leave its scope at all, and its schedule constant.",
        )
    if step.unit != "relative":
        return
    if not hasattr(change, "length"):
        raise UserError(
            f"The strength of a {_words(change)} has no unit, so it is not relative to the activations.",
            "Give an absolute strength.",
        )
    if step.mean_norms.get(change.at, 0.0) <= 0:
        raise UserError(
            f"A relative strength counts in the mean norm of the activations; that of {change.at} is not known.",
            "Give an absolute strength, or fit the vector again.",
        )


def _words(change: Any) -> str:
    return f"change of kind {change.kind!r}"


def _read_layer(given: Any) -> int:
    return read_position(int(given))


def _read_limits(given: Any) -> tuple[float, float]:
    low, high = (read_strength("range", one) for one in given)
    return low, high
