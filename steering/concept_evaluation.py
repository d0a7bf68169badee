"""How well something steers to concepts, after AxBench (Wu et al. 2025, arXiv 2501.17148) without its judge.

1. Only examples that no fit sees count: pairs of a positive and a negative, and the prompts that are kept for it.
2. Each contestant's vector, at length 1, is added at every position at several strengths, relative to the mean
   activation norm; where each prompt has a vector of its own, they have length 1 on average; a prompting one has its
   words before the prompt instead.
3. Every strength is scored by `scoring` and `dose`: concept, fluency and side effect, each in [0, 2], and their
   harmonic mean. The strength is chosen by it on one half of the pairs and prompts and reported on the other, which the
   choice never sees. Halves go by the digests of prompts.
4. Beside the proxies: the share of the other half's continuations that show the concept by its own rule.
5. Detection: AUROC, over the examples, of the largest x·v of each text, where one vector is for all texts.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.generation import GenerationRow
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.session import ModelSession
from steering.concept_contestants import Contestant, aurocs
from steering.concepts import Concept, ConceptSet, Example
from steering.contrast_pairs import NEGATIVE, POSITIVE
from steering.contrast_pairs import Example as LabelledExample
from steering.direction import as_direction
from steering.dose import Dose, Half, dose
from steering.fit_rows import FitText, fit_text
from steering.methods.add_direction import AddDirection
from steering.prompt_vectors import PromptVectors, prompts_of
from steering.scores import concept as concept_scores
from steering.scores import kl
from steering.scoring import N_TOKENS, SAMPLING, Material, Values, material_of, token_logprobs, values_of, written_of
from steering.token_scope import Ranges

STRENGTHS = (0.05, 0.1, 0.15, 0.2)
MAX_PROMPTS = 12
N_SHOWN = 2
BUT_BOS: Ranges = ((1, None),)
Pushed = Float[Tensor, "d"] | PromptVectors


@dataclass(frozen=True)
class Arena:
    """What all contestants meet: the model, a hook point with its mean norm, prompts and strengths."""

    session: ModelSession
    at: HookPoint
    mean_norm: float
    prompts: tuple[str, ...]
    material: Material
    """Of the prompts alone; the pairs are each concept's own."""
    strengths: tuple[float, ...]

    @property
    def prompt_halves(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Places of the prompts that choose, and of those that are reported."""
        return _halves([Example(prompt, "x") for prompt in self.prompts], "prompt")


def arena_of(
    session: ModelSession,
    concepts: ConceptSet,
    at: HookPoint,
    prompts: Sequence[str] = (),
    strengths: Sequence[float] = STRENGTHS,
    n_tokens: int = N_TOKENS,
) -> Arena:
    """The prompts of the set that are kept for evaluation, or those given; and the mean norm on positives of fits."""
    if not strengths or not all(one > 0 for one in strengths):
        raise UserError("Strengths must be numbers above 0.", f"Leave them out for {STRENGTHS}.")
    own = {one.prompt for some in concepts.concepts for one in some.evaluation.positives if one.prompt.strip()}
    chosen = tuple(prompts) or _evenly(own)
    if not chosen:
        raise UserError("The texts of this set follow no prompt.", "Name a text set of neutral prompts.")
    material = material_of(session, None, chosen, n_tokens=n_tokens)
    return Arena(session, at, mean_norm(session, concepts, at), chosen, material, tuple(strengths))


def _evenly(prompts: Collection[str]) -> tuple[str, ...]:
    """At most MAX_PROMPTS, as many of each half as of the other where there are, by their digests."""
    order = sorted(prompts, key=lambda one: Example(one, "").lot)
    sides = [[one for one in order if Example(one, "").lot // 3 % 2 == side] for side in (0, 1)]
    return tuple(one for some in sides for one in some[: MAX_PROMPTS // 2])


def mean_norm(session: ModelSession, concepts: ConceptSet, at: HookPoint, n_texts: int = 128) -> float:
    """Mean length of the activations of training texts, BOS left out; the texts are spread over all concepts."""
    every = [one for some in concepts.held_in or concepts.concepts for one in some.training.positives]
    texts = [fit_text(session, _labelled(one, POSITIVE), True) for one in every[:: max(1, len(every) // n_texts)]]
    if not texts:
        raise UserError("No concept of this set has texts for a fit.", "Give more texts.")
    total, n = 0.0, 0
    for start in range(0, len(texts), 32):
        for one in session.capture_batch([text.tokens for text in texts[start : start + 32]], (at,)):
            norms = one[at][1:].float().norm(dim=1)
            total, n = total + float(norms.sum()), n + len(norms)
    return total / max(1, n)


@dataclass(frozen=True)
class Row:
    """One contestant on one concept; `reported` at the strength that the other half chose, None for a strength of 0."""

    concept: str
    group: str
    is_held_out: bool
    contestant: str
    strength: float
    reported: dict[str, float]
    choosing: tuple[float, ...]
    """The overall score of each strength on the half that chose."""
    shown: float | None
    """Share of the continuations that show the concept by its rule; None without a rule."""
    detection: float | None
    seconds: float
    flops: float | None
    texts: tuple[str, ...]
    """The first continuations at that strength."""
    length: float = 1.0
    """Mean length of the vectors of its prompts as they came, in mean norms; a vector that is for all prompts has 1."""


@dataclass(frozen=True)
class Field:
    """One concept's pairs of evaluation, as the clean model reads them, and the two halves."""

    concept: Concept
    pairs: tuple[tuple[Example, Example], ...]
    material: Material
    halves: tuple[Half, Half]
    activations: tuple[Float[Tensor, "_ d"], ...]
    """At the hook point, of the texts of the pairs in turn, without BOS and the prompt."""


def field_of(arena: Arena, concept: Concept) -> Field:
    """The material of one concept; raises UserError where a half would be empty."""
    session, part = arena.session, concept.evaluation
    pairs = tuple(zip(part.positives, part.negatives, strict=False))
    texts = [fit_text(session, _labelled(one, label), True) for pair in pairs for one, label in _labels(pair)]
    texts = [FitText(one.tokens, max(1, one.start)) for one in texts]
    places = _halves([positive for positive, _ in pairs], f"pair of {concept.name!r}")
    material = replace(arena.material, pairs=tuple(texts), read=tuple(token_logprobs(session, texts)))
    seen = session.capture_batch([one.tokens for one in texts], (arena.at,))
    rows = tuple(one[arena.at][text.start :].float() for one, text in zip(seen, texts, strict=True))
    choosing, reporting = (Half(some, other) for some, other in zip(places, arena.prompt_halves, strict=True))
    return Field(concept, pairs, material, (choosing, reporting), rows)


def _halves(examples: Sequence[Example], what: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Places by the parity of what the digests leave: equal prompts are in one half."""
    first, second = (tuple(i for i, one in enumerate(examples) if one.lot // 3 % 2 == side) for side in (1, 0))
    if not first or not second:
        raise UserError(
            f"One half chooses the strength and the other reports it; each needs a {what}. There are {len(examples)}.",
            "Give more texts or prompts.",
        )
    return first, second


def _labelled(one: Example, label: str) -> LabelledExample:
    return LabelledExample(one.text, label, one.prompt)


def _labels(pair: tuple[Example, Example]) -> list[tuple[Example, str]]:
    return list(zip(pair, (POSITIVE, NEGATIVE), strict=True))


def measure(arena: Arena, field: Field, contestant: Contestant) -> Row:
    """One contestant on one concept."""
    begun = time.monotonic()
    vector = None if contestant.vector is None else contestant.vector(field.concept).float()
    pushed: Pushed | None = vector
    if contestant.by_prompt is not None:
        prompts = prompts_of(field.material)
        pushed = PromptVectors(prompts, contestant.by_prompt(field.concept, prompts).float())
    seconds = (time.monotonic() - begun) / (len(pushed.prompts) if isinstance(pushed, PromptVectors) else 1)
    if pushed is not None:
        strengths = arena.strengths
        found = values_of(field.material, [changes(arena, pushed, one) for one in strengths])
    elif contestant.lead is not None:
        strengths, found = (1.0,), [led_values(arena, field, contestant.lead(field.concept))]
    else:
        strengths, found = (0.0,), values_of(field.material, [()])
    choosing, reporting = (
        [_dose(field, *both, half) for both in zip(strengths, found, strict=True)] for half in (0, 1)
    )
    best = chosen(choosing)
    written = continuations(arena, field, contestant, pushed, strengths[best])
    rule = field.concept.rule
    return Row(
        field.concept.name,
        field.concept.group,
        field.concept.is_held_out,
        contestant.name,
        strengths[best],
        figures(reporting[best]),
        tuple(one.overall or 0.0 for one in choosing),
        None if rule is None else sum(map(rule.holds, written)) / len(written),
        None if vector is None else detection(field, vector),
        seconds,
        None if contestant.flops is None else contestant.flops(field.concept),
        tuple(written[:N_SHOWN]),
        pushed.length if isinstance(pushed, PromptVectors) else 1.0,
    )


def changes(arena: Arena, pushed: Pushed, strength: float) -> tuple[Intervention, ...]:
    """What is added but at BOS, so many mean norms long: a vector, or that of each prompt, so long on average."""
    if isinstance(pushed, Tensor):
        return (AddDirection(arena.at, as_direction(pushed), strength, arena.mean_norm, BUT_BOS),)
    return (pushed.added(arena.at, strength * arena.mean_norm, BUT_BOS),)


def chosen(choosing: Sequence[Dose]) -> int:
    """The place of the highest overall score; of equal ones the first, which is the weakest."""
    overalls = [one.overall or 0.0 for one in choosing]
    return overalls.index(max(overalls))


def _dose(field: Field, strength: float, values: Values, half: int) -> Dose:
    return dose(strength, None, values, field.material.written, field.halves[half])


def figures(one: Dose) -> dict[str, float]:
    """What of a dose is kept: the scores, and what they are made of."""
    assert one.concept is not None
    return {
        "overall": one.overall or 0.0,
        "concept": one.concept.mean,
        "fluency": one.fluency,
        "instruct": one.instruct,
        "kl": one.kl.mean,
        "perplexity_ratio": one.perplexity_ratio.mean,
        "repetition": one.repetition,
        "relevance_change": one.relevance_change,
    }


def led_values(arena: Arena, field: Field, lead: str) -> Values:
    """The scores of a model that has words before every prompt; likelihoods are of the same tokens as without them."""
    session, clean = arena.session, field.material
    texts = []
    for one, text in zip((one for pair in field.pairs for one in pair), clean.pairs, strict=True):
        prompt = _led(session, lead, one.prompt)
        texts.append(FitText(prompt + text.tokens[text.start :], len(prompt)))
    means, means_clean = ([float(one.mean()) for one in some] for some in (token_logprobs(session, texts), clean.read))
    rows = [GenerationRow(_led(session, lead, prompt), (), seed) for seed, prompt in enumerate(arena.prompts)]
    written = session.generate_rows(rows, clean.n_tokens, SAMPLING, remember=False)
    after = list(session.row_logprobs(rows, clean.continued))
    pairs = list(zip(clean.clean, after, strict=True))
    moved = concept_scores(means[::2], means_clean[::2], means[1::2], means_clean[1::2])
    return Values(
        tuple(moved),
        (0.0,) * len(moved),
        (0.0,) * len(moved),
        tuple(kl(before, led) for before, led in pairs),
        tuple(kl(before[:1], led[:1]) for before, led in pairs),
        written_of(session, clean.prompts, clean.expected, written, clean.bos, clean.n_tokens),
    )


def _led(session: ModelSession, lead: str, prompt: str) -> tuple[int, ...]:
    """The tokens of the words and then the prompt."""
    return session.tokens(f"{lead} {prompt}".strip(), bos=True)


def continuations(
    arena: Arena, field: Field, contestant: Contestant, pushed: Pushed | None, strength: float
) -> list[str]:
    """What is written after the prompts of the half that is reported, at one strength, with the seeds of the scores."""
    session, material = arena.session, field.material
    lead = None if contestant.lead is None else contestant.lead(field.concept)
    prompts = [
        (place, material.prompts[place] if lead is None else _led(session, lead, arena.prompts[place]))
        for place in field.halves[1].prompts
    ]
    made = () if pushed is None else changes(arena, pushed, strength)
    rows = [GenerationRow(prompt, made, place) for place, prompt in prompts]
    written = session.generate_rows(rows, material.n_tokens, SAMPLING, remember=False)
    return ["".join(session.token_texts(new)) for new in written]


def detection(field: Field, vector: Float[Tensor, "d"]) -> float:
    """AUROC of the largest x·v of each text over its tokens."""
    largest = torch.stack([(rows @ vector).max() for rows in field.activations])
    return float(aurocs(largest[::2, None], largest[1::2, None]))


def row_json(row: Row) -> dict[str, Any]:
    """Plain JSON."""
    return dict(vars(row)) | {"choosing": list(row.choosing), "texts": list(row.texts)}
