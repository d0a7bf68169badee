"""Recipe: an ordered list of changes, each with its token scope and perhaps a condition; plain JSON.

A change in a recipe knows no prompt. `bound` makes the interventions for one: scopes become positions, and a change
whose condition does not hold for the prompt is left out, as is one that is muted, or not solo where another is.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from capture.errors import UserError
from capture.intervention import Intervention, Recipe
from capture.session import ModelSession
from steering.methods.cast_condition import Condition
from steering.token_scope import TokenScope

EVERY_TOKEN = TokenScope()
OperatorReader = Callable[[Recipe], Intervention]


@dataclass(frozen=True)
class Step:
    """One change of a recipe."""

    change: Any
    """An intervention that has `ranges`, unless its scope is all."""
    scope: TokenScope = EVERY_TOKEN
    condition: Condition | None = None
    is_muted: bool = False
    is_solo: bool = False

    def __post_init__(self) -> None:
        if self.scope.kind != "all" and not hasattr(self.change, "ranges"):
            raise UserError(
                f"A change of kind {self.change.kind!r} says itself where it acts; {self.scope.kind!r} was asked for.",
                "Leave its scope at all.",
            )

    def recipe(self) -> Recipe:
        """Plain JSON."""
        return {
            "change": self.change.recipe(),
            "scope": self.scope.recipe(),
            "condition": None if self.condition is None else self.condition.recipe(),
            "is_muted": self.is_muted,
            "is_solo": self.is_solo,
        }


def steps_from_recipe(given: Any, read_operator: OperatorReader) -> tuple[Step, ...]:
    """The steps in plain JSON; raises UserError for what cannot be read."""
    try:
        return tuple(_read_step(one, read_operator) for one in given)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = f"The recipe cannot be read: {repr(error)[:200]}."
        raise UserError(message, "Export it again where it was made.") from error


def _read_step(given: Recipe, read_operator: OperatorReader) -> Step:
    condition = given["condition"]
    return Step(
        read_operator(given["change"]),
        TokenScope.from_recipe(given["scope"]),
        None if condition is None else Condition.from_recipe(condition),
        given["is_muted"] is True,
        given["is_solo"] is True,
    )


def bound(
    steps: Sequence[Step], session: ModelSession, tokens: Sequence[int], special: Collection[int] = ()
) -> tuple[Intervention, ...]:
    """The interventions of a recipe for one prompt, in its order; conditions are read on a clean run of the prompt."""
    any_solo = any(step.is_solo for step in steps)
    heard = [step for step in steps if not step.is_muted and (step.is_solo or not any_solo)]
    return tuple(
        step.change if step.scope.kind == "all" else replace(step.change, ranges=step.scope.of(tokens, special))
        for step in heard
        if step.condition is None or step.condition.holds(session, tokens)
    )
