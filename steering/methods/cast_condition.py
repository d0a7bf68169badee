"""CAST: a condition on the prompt, read once, that opens or closes other interventions.

Lee et al. 2024 (arXiv 2409.05907): with h̄ the mean over the prompt (or its last token) and c the condition vector,
sim = cos(h̄, tanh((c cᵀ / c·c) h̄)), elementwise tanh. The condition holds where sim is on one side of a threshold.
IBM's code calls "larger" what is met when sim < threshold; here the operator itself is written down.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.option import Option
from capture.recipe_number import read_number
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.direction import Direction, as_direction, check_width, direction_text, read_direction
from steering.fit_rows import BOS, MASSIVE_RATIO, SKIP_FIRST, RowsAsked
from steering.fitted import Fitted, Setting
from steering.method import Method, Options, Progress
from steering.methods.add_direction import AddDirection
from steering.methods.contrast_pca import first_component
from steering.pair_differences import pair_differences
from steering.row_spool import RowSpool, spooled

COMPARATORS = (">", "<")
IBM_COMPARATORS = {"larger": "<", "smaller": ">"}
"""What IBM's words do in its code, as of commit 52be602: the other way round than they read."""
POOLED = ("mean", "last")
POSITIONS = Option(
    "positions", "Positions", "What of the prompt is compared: its mean, or its last token.", "mean", choices=POOLED
)


def similarity(h: Float[Tensor, "... d"], c: Float[Tensor, "d"]) -> Float[Tensor, "..."]:
    """cos(h, tanh((c cᵀ / c·c) h)); the sign and the length of c do not matter, the length of h does."""
    projected = torch.tanh((h @ c)[..., None] * c / (c @ c))
    return torch.nn.functional.cosine_similarity(h, projected, dim=-1)


@dataclass(frozen=True)
class Condition:
    """Holds for a prompt where its similarity to the vector is above (">") or below ("<") the threshold."""

    at: HookPoint
    vector: Direction
    threshold: float
    comparator: str = ">"
    pooled: str = "mean"
    skip_first: bool = True

    kind = "cast_condition"

    def __post_init__(self) -> None:
        for value, known in ((self.comparator, COMPARATORS), (self.pooled, POOLED)):
            if value not in known:
                raise UserError(f"A condition has no {str(value)[:20]!r}.", f"Choose one of: {', '.join(known)}.")

    def similarity_of(self, session: ModelSession, tokens: Sequence[int]) -> float:
        """How alike prompt and condition are, in [−1, 1], from a clean run of the prompt."""
        rows = session.capture(tokens, (self.at,))[self.at].float()
        check_width(len(self.vector), rows[None], self.at)
        first = 1 if self.skip_first and len(rows) > 1 else 0
        pooled = rows[-1] if self.pooled == "last" else rows[first:].mean(dim=0)
        return float(similarity(pooled, torch.tensor(self.vector)))

    def holds(self, session: ModelSession, tokens: Sequence[int]) -> bool:
        """Whether what it guards may act on this prompt."""
        return self.is_met(self.similarity_of(session, tokens))

    def is_met(self, similarity: float) -> bool:
        """Whether a similarity lies on the open side of the threshold."""
        return bool(met(torch.tensor(similarity), self.threshold, self.comparator))

    def recipe(self) -> Recipe:
        """Plain JSON with the comparison spelled out."""
        return {
            "kind": self.kind,
            "at": str(self.at),
            "vector": direction_text(self.vector),
            "threshold": self.threshold,
            "comparator": self.comparator,
            "pooled": self.pooled,
            "skip_first": self.skip_first,
        }

    @classmethod
    def from_recipe(cls, recipe: Recipe) -> "Condition":
        """The condition that a recipe describes."""
        return cls(
            HookPoint.parse(recipe["at"]),
            read_direction(recipe["vector"]),
            read_number(recipe["threshold"]),
            recipe["comparator"],
            recipe["pooled"],
            bool(recipe["skip_first"]),
        )


def met(sims: Float[Tensor, "..."], threshold: float, comparator: str) -> Bool[Tensor, "..."]:
    """Where the comparison holds."""
    return sims > threshold if comparator == ">" else sims < threshold


def f1(said: Bool[Tensor, "n"], true: Bool[Tensor, "n"]) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is found."""
    n_both = int((said & true).sum())
    return 2 * n_both / (int(said.sum()) + int(true.sum())) if n_both else 0.0


def best_threshold(sims: Float[Tensor, "n"], true: Bool[Tensor, "n"]) -> tuple[float, str, float]:
    """Threshold, comparator and F1 of the best cut between two neighbouring similarities; ties to the widest gap."""
    values = sims.double().sort().values
    cuts = [((a + b) / 2, b - a) for a, b in pairwise(values.tolist()) if b > a]
    scored = [
        (f1(met(sims.double(), cut, comparator), true), gap, cut, comparator)
        for cut, gap in cuts
        for comparator in COMPARATORS
    ]
    if not scored:
        raise UserError("All texts are equally like the condition.", "Choose other texts, or another layer.")
    score, _, cut, comparator = max(scored, key=lambda one: one[:2])
    return cut, comparator, score


def _sims(spool: RowSpool, vector: Tensor) -> tuple[Float[Tensor, "n"], Bool[Tensor, "n"]]:
    def parts() -> Iterator[tuple[Tensor, Tensor]]:
        for rows, labels in spool.batches():
            yield similarity(rows, vector), labels == 0

    sims, true = zip(*parts(), strict=True)
    return torch.cat(sims), torch.cat(true)


def _whole_texts(contrast: Contrast) -> Contrast:
    """The same texts with their prompts as part of them: a condition looks at all that it is given."""
    examples = tuple(replace(one, text=one.prompt + one.text, prompt="") for one in contrast.examples)
    return replace(contrast, examples=examples)


def fit(
    session: ModelSession, contrast: Contrast, at: Sequence[HookPoint], options: Options, progress: Progress
) -> Fitted:
    """The condition of the layer, threshold and comparator with the highest F1 on these texts."""
    asked, whole = RowsAsked.of(options), _whole_texts(contrast)
    pairs = pair_differences(session, whole, at, asked)
    found = []
    with spooled(session, whole, at, asked, progress) as spools:
        for point, spool in spools.items():
            vector, _ = first_component(pairs[point], "pair_centred")
            found.append((point, vector, *best_threshold(*_sims(spool, vector))))
    point, vector, threshold, comparator, score = max(found, key=lambda one: one[-1])
    condition = Condition(
        point, as_direction(vector), threshold, comparator, str(options["positions"]), asked.skip_first or asked.bos
    )
    facts = {
        "condition": {key: value for key, value in condition.recipe().items() if key != "vector"},
        "f1": score,
        "candidates": [
            {"at": str(one), "threshold": cut, "comparator": sign, "f1": best} for one, _, cut, sign, best in found
        ],
    }
    return Fitted("cast_condition", {point: vector}, {point: spools[point].mean_norm}, facts)


def condition_of(fitted: Fitted) -> Condition:
    """The condition that a fit found."""
    ((_, vector),) = fitted.vectors.items()
    return Condition.from_recipe({**fitted.facts["condition"], "vector": list(as_direction(vector))})


def apply(fitted: Fitted, setting: Setting) -> tuple[AddDirection, ...]:
    """Refuses: a condition changes nothing by itself."""
    raise UserError("A condition changes nothing by itself.", "Put it before the vectors of another method.")


METHOD = Method(
    slug="cast_condition",
    title="CAST condition",
    paper="Lee et al. 2024, arXiv 2409.05907",
    needs="pairs",
    fitted_by="first component of the pairs; layer, threshold and comparison by the best F1 on them",
    apply=apply,
    fit=fit,
    options=(POSITIONS, SKIP_FIRST, MASSIVE_RATIO, BOS),
    sites=("resid_post", "resid_pre"),
    chooses_layers=True,
)
