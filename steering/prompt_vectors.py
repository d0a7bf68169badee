"""Vectors of many prompts, made at once: what a vector that depends on the prompt is while many texts are scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import Intervention, Recipe
from capture.session import ModelSession
from steering.direction import Direction, as_direction
from steering.methods.add_direction import AddDirection
from steering.scoring import Material
from steering.token_scope import Ranges

Tokens = tuple[int, ...]


@dataclass(frozen=True)
class PromptVectors:
    """Prompts, none twice, and the vector of each, in mean norms."""

    prompts: tuple[Tokens, ...]
    vectors: Float[Tensor, "prompts d"]

    @property
    def length(self) -> float:
        """Their mean length."""
        return float(self.vectors.norm(dim=1).mean())

    def added(self, at: HookPoint, length: float, ranges: Ranges) -> "AddByPrompt":
        """Each of them as a change of the rows of its prompt, so long on average; vectors of zeros stay so."""
        own = {prompt: as_direction(one) for prompt, one in zip(self.prompts, self.vectors, strict=True)}
        return AddByPrompt(at, own, length / (self.length or 1.0), ranges)


def prompts_of(material: Material) -> tuple[Tokens, ...]:
    """Every prompt that something is written or read after, once."""
    return tuple(dict.fromkeys([*material.prompts, *(one.tokens[: one.start] for one in material.pairs)]))


@dataclass(frozen=True)
class AddByPrompt:
    """x + strength × the vector of the prompt, at some positions; for prompts whose vectors were made beforehand."""

    at: HookPoint
    vectors: Mapping[Tokens, Direction]
    strength: float
    ranges: Ranges

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    def __call__(self, activation: Tensor, at: HookPoint, first_pos: int) -> Tensor:
        """Refuses: it acts once it is bound to a prompt."""
        raise ValueError("a vector for each prompt acts once it is bound to one: use capture.binding.bound")

    def bound_to(self, session: ModelSession, prompt: Sequence[int]) -> tuple[Intervention, ...]:
        """The addition of this prompt's vector."""
        return (AddDirection(self.at, self.vectors[tuple(prompt)], self.strength, ranges=self.ranges),)

    def recipe(self) -> Recipe:
        """Refuses: it lasts as long as its comparison, and no link names it."""
        raise ValueError("a vector for each prompt of a comparison has no recipe")
