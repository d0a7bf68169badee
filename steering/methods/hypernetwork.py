"""A hypernetwork as a way to steer: a sentence becomes a vector, which is added; in two variants for each prompt anew.

After HyperSteer (Sun et al. 2025, arXiv 2506.03292); steering/hypernetwork.py says what differs. Without context the
vector depends on the sentence alone, so a recipe holds the vector itself, as any fitted one. In context and by
cross-attention it depends on the prompt too: `SteerBySentence` names the hypernetwork by its digest on the shelf, and
becomes the addition of a vector once it is bound to a prompt.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention, Recipe
from capture.recipe_number import read_number
from capture.session import ModelSession
from steering.concepts import check_sentence
from steering.direction import as_direction
from steering.hypernetwork_recipe import NO_CONTEXT
from steering.method import Method
from steering.methods.add_direction import AddDirection, add_fitted
from steering.recipe import LONGEST_NAME, Step
from steering.sentence_vector import load_hypernetwork, sentence_vector
from steering.token_scope import TokenScope

LONGEST_DIGEST = 64
NO_SPECIAL = TokenScope("skip_special")


@dataclass(frozen=True)
class SteerBySentence:
    """h + strength × length × mean norm × Δ(sentence, prompt), Δ by the hypernetwork of a digest on the shelf."""

    at: HookPoint
    hypernetwork: str
    sentence: str
    strength: float = 1.0
    scope: TokenScope = NO_SPECIAL
    is_muted: bool = False
    is_solo: bool = False

    kind = "hypernetwork"

    def __post_init__(self) -> None:
        check_sentence(self.sentence)

    def hook_points(self) -> tuple[HookPoint, ...]:
        """Where it acts."""
        return (self.at,)

    def __call__(self, activation: Any, at: HookPoint, first_pos: int) -> Any:
        """Refuses: it acts once it is bound to a prompt."""
        raise ValueError("a sentence acts once it is bound to a prompt: use capture.binding.bound")

    def bound_to(self, session: ModelSession, prompt: Sequence[int]) -> tuple[Intervention, ...]:
        """The addition of the vector for this prompt; nothing at strength 0.

        Raises UserError where the hypernetwork is not on the shelf, or is of another model or hook point.
        """
        if self.strength == 0:
            return ()
        _, trained = load_hypernetwork(self.hypernetwork)
        if trained.at != self.at:
            raise UserError(
                f"The hypernetwork {self.hypernetwork[:12]} makes vectors for {trained.at}; the recipe adds them at "
                f"{self.at}.",
                f"Add it again at {trained.at}.",
            )
        found = sentence_vector(trained, session, self.sentence, prompt)
        ranges = self.scope.of(prompt, session.special_tokens)
        return (AddDirection(self.at, as_direction(found.vector), self.strength, ranges=ranges),)

    def as_step(self, session: ModelSession) -> Step | None:
        """A step of the sentence's vector where the hypernetwork reads no prompt; None where it reads one."""
        _, trained = load_hypernetwork(self.hypernetwork)
        if trained.recipe.variant != NO_CONTEXT:
            return None
        change = AddDirection(self.at, as_direction(sentence_vector(trained, session, self.sentence).vector))
        return Step(
            self.sentence[:LONGEST_NAME],
            (change,),
            self.strength,
            scope=self.scope,
            is_muted=self.is_muted,
            is_solo=self.is_solo,
            method=METHOD.slug,
            source=self.hypernetwork,
        )

    def recipe(self) -> Recipe:
        """Plain JSON."""
        return {
            "kind": self.kind,
            "name": self.sentence,
            "at": str(self.at),
            "hypernetwork": self.hypernetwork,
            "sentence": self.sentence,
            "strength": self.strength,
            "scope": self.scope.recipe(),
            "is_muted": self.is_muted,
            "is_solo": self.is_solo,
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "SteerBySentence":
        """The change that a recipe describes."""
        digest, sentence = recipe["hypernetwork"], recipe["sentence"]
        if not isinstance(digest, str) or not isinstance(sentence, str):
            raise TypeError("a digest and a sentence are texts")
        return cls(
            HookPoint.parse(recipe["at"]),
            digest[:LONGEST_DIGEST],
            sentence,
            read_number(recipe["strength"]),
            TokenScope.from_recipe(recipe["scope"]),
            recipe["is_muted"] is True,
            recipe["is_solo"] is True,
        )


def spoken(interventions: Sequence[Intervention], session: ModelSession) -> tuple[Intervention, ...]:
    """The same recipe, with each sentence whose vector is the same for every prompt as a step of that vector."""
    return tuple((isinstance(one, SteerBySentence) and one.as_step(session)) or one for one in interventions)


METHOD = Method(
    slug="hypernetwork",
    title="Hypernetwork (after HyperSteer)",
    paper="Sun et al. 2025, arXiv 2506.03292, on a small decoder of its own",
    needs="sentence",
    fitted_by="a trained hypernetwork reads the sentence and gives the vector",
    apply=add_fitted,
    sites=("resid_post", "resid_pre", "attn_out", "mlp_out"),
    is_additive=True,
)

OPERATOR = SteerBySentence
