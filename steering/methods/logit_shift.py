"""Logit shift (RAST): what tuning did to the logits of a small model, added to those of another one while it decodes.

Ouyang et al. 2025 (arXiv 2506.15710): with ℓ the logits of the model that is steered, ℓ_tuned and ℓ_untuned those of a
smaller model after and before tuning, on the same tokens, the next token is drawn from
softmax(ℓ + λ (ℓ_tuned − ℓ_untuned)); λ is the strength. All three must have the same tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from capture.companion import Companion, companion
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.recipe_number import read_number
from capture.session import ModelSession
from steering.fitted import Fitted, Setting
from steering.method import Method
from steering.token_scope import EVERYWHERE, Ranges, read_ranges

LOGITS = HookPoint(None, "logits")
LONGEST_NAME = 200


@dataclass(frozen=True)
class LogitShift:
    """ℓ + strength (ℓ_tuned − ℓ_untuned) at some positions; the models by the names that load them.

    `for_model` finds the two models, and `with_tokens` says what they are to read.
    """

    tuned: str
    untuned: str
    strength: float = 1.0
    ranges: Ranges = EVERYWHERE
    pair: tuple[Companion, Companion] | None = field(default=None, compare=False, repr=False)
    tokens: tuple[int, ...] = field(default=(), compare=False, repr=False)

    kind = "logit_shift"

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts: what the model says of the next token."""
        return (LOGITS,)

    def for_model(self, session: ModelSession) -> "LogitShift":
        """The same with its two models; raises UserError where their tokens are not those of this model."""
        if self.strength == 0:
            return self
        if session.shape.changes_logits:
            raise UserError(
                f"A logit shift adds to logits as the model gives them; {session.name} caps or scales them last.",
                "Choose a model of another family: Gemma 2, Cohere and Granite do that.",
            )
        pair = tuple(companion(name, session.dtype, session.device) for name in (self.tuned, self.untuned))
        for name, one in zip((self.tuned, self.untuned), pair, strict=True):
            if not one.has_tokens_of(session):
                raise UserError(
                    f"A logit shift needs models with the same tokens; those of {name} are not those of "
                    f"{session.name}.",
                    "Choose two models with the tokenizer of the model that is steered.",
                )
        return replace(self, pair=(pair[0], pair[1]))

    def with_tokens(self, tokens: Sequence[int]) -> "LogitShift":
        """The same for one row of tokens."""
        return replace(self, tokens=tuple(tokens))

    def __call__(
        self, activation: Float[Tensor, "batch pos d_vocab"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d_vocab"]:
        """The logits with the difference of the two models added."""
        if self.strength == 0 or not self._wanted(first_pos, activation.shape[1]):
            return activation
        if self.pair is None:
            raise ValueError("a logit shift needs its models and the tokens: call for_model and with_tokens first")
        shift = self._shift(first_pos, activation.shape[1], activation.shape[2])
        return (activation.float() + shift.to(activation.device)).to(activation.dtype)

    def _wanted(self, first_pos: int, n_pos: int) -> list[int]:
        """Which of the columns have a token at a position of the ranges; what follows the last token is padding."""
        columns = range(min(n_pos, len(self.tokens) - first_pos))
        return [
            n for n in columns if any(a <= first_pos + n and (b is None or first_pos + n < b) for a, b in self.ranges)
        ]

    def _shift(self, first_pos: int, n_pos: int, d_vocab: int) -> Float[Tensor, "pos d_vocab"]:
        """strength (ℓ_tuned − ℓ_untuned) at the wanted columns, 0 elsewhere, and for ids that only one model has."""
        wanted = self._wanted(first_pos, n_pos)
        tuned, untuned = (one.logits(self.tokens, first_pos + wanted[0]) for one in self.pair or ())
        n = min(d_vocab, tuned.shape[1], untuned.shape[1])
        shift = torch.zeros(n_pos, d_vocab)
        for column in wanted:
            shift[column, :n] = self.strength * (tuned - untuned)[column - wanted[0], :n]
        return shift

    def recipe(self) -> Recipe:
        """Plain JSON with the names of the models."""
        return {
            "kind": self.kind,
            "tuned": self.tuned,
            "untuned": self.untuned,
            "strength": self.strength,
            "ranges": [list(one) for one in self.ranges],
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "LogitShift":
        """The intervention that a recipe describes."""
        names = recipe["tuned"], recipe["untuned"]
        if not all(isinstance(name, str) and 0 < len(name) <= LONGEST_NAME for name in names):
            raise TypeError("a model is named by a short text")
        return cls(*names, read_number(recipe["strength"]), read_ranges(recipe["ranges"]))


def pair_of(tuned: str, untuned: str) -> Fitted:
    """Two models as a method's result: nothing is fitted, the tuning was done before."""
    return Fitted("logit_shift", {}, {}, {"tuned": tuned, "untuned": untuned})


def apply(fitted: Fitted, setting: Setting) -> tuple[LogitShift, ...]:
    """The shift at λ = strength; refuses a relative strength, which means nothing for logits."""
    if setting.unit != "absolute":
        raise UserError("A logit shift has no unit: λ multiplies logits.", "Give an absolute strength.")
    return (LogitShift(fitted.facts["tuned"], fitted.facts["untuned"], setting.strength, setting.ranges),)


METHOD = Method(
    slug="logit_shift",
    title="Logit shift between models (RAST)",
    paper="Ouyang et al. 2025, arXiv 2506.15710",
    needs="models",
    fitted_by="nothing: the difference of their logits is taken at every token",
    apply=apply,
    sites=("logits",),
)

OPERATOR = LogitShift
