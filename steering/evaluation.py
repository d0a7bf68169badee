"""What a steering vector does to a model: the dose-response of its judge-free scores, and what chance would give.

1. The pairs are those that the vector was not fitted on; AUROC is that of their projections on the vector.
2. At each strength: concept score with its interval over pairs, KL on neutral prompts along the clean model's own
   continuation, perplexity (under the clean model) and repetition of the steered continuations.
3. Null: the concept score of random directions, and of vectors fitted with the two texts of half the pairs
   exchanged by lot, both brought to the vector's length.
4. The strength is chosen on the pairs of the fit and half of the prompts, and reported on the others.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.fit_rows import FitText, RowsAsked, fit_texts, stream_rows
from steering.fitted import Fitted, Setting
from steering.method import Method, Progress, silent
from steering.null_vectors import Refit, as_long_as, random_fits, shuffled_fits
from steering.scores import Interval, anti_steerable, auroc, chosen_strength, concept, fluency, interval, kl
from steering.scores import repeated_share as repeated

STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
N_NULL = 8
N_TOKENS = 32
BATCH_TOKENS = 2048
LOGITS = HookPoint(None, "logits")


@dataclass(frozen=True)
class Dose:
    """The scores at one strength. Null values are the highest of `n_null` draws; None where no vector is added."""

    strength: float
    concept: Interval
    anti_steerable: float
    null_random: float | None
    null_shuffled: float
    kl: float
    perplexity_ratio: float
    repetition: float
    fluency: float


@dataclass(frozen=True)
class Evaluation:
    """The table of one vector; `steers` where the interval at the chosen strength lies above both nulls."""

    doses: tuple[Dose, ...]
    auroc: Mapping[str, float]
    chosen: float
    steers: bool
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "auroc": dict(self.auroc),
            "chosen_strength": self.chosen,
            "steers": self.steers,
            "doses": [asdict(one) for one in self.doses],
            "facts": dict(self.facts),
        }


@dataclass(frozen=True)
class Prompts:
    """Neutral prompts with the clean model's continuations and their log-probabilities."""

    tokens: tuple[tuple[int, ...], ...]
    continued: tuple[tuple[int, ...], ...]
    clean: tuple[Float[Tensor, "_ d_vocab"], ...]


def neutral_prompts(session: ModelSession, texts: Sequence[str], bos: bool, n_tokens: int = N_TOKENS) -> Prompts:
    """The prompts, continued by the clean model with the seed of their place in the list."""
    if not texts:
        raise UserError("Side effects are measured on neutral prompts; none was given.", "Give a few sentences.")
    tokens = tuple(session.tokens(text, bos) for text in texts)
    continued = tuple(
        one + session.generate(one, n_tokens, seed=seed, temperature=1.0, top_p=1.0) for seed, one in enumerate(tokens)
    )
    clean = tuple(log_probabilities(session, continued, ()))
    return Prompts(tokens, continued, clean)


def log_likelihoods(
    session: ModelSession, texts: Sequence[FitText], changes: Sequence[Intervention] = ()
) -> list[float]:
    """Mean log-likelihood per token of the part of each text that its label speaks of."""
    found = []
    for text, odds in zip(texts, log_probabilities(session, [one.tokens for one in texts], changes), strict=True):
        start = max(1, text.start)
        wanted = torch.tensor(text.tokens[start:])[:, None]
        found.append(float(odds[start - 1 : -1].gather(1, wanted).double().mean()))
    return found


def log_probabilities(
    session: ModelSession, rows: Sequence[Sequence[int]], changes: Sequence[Intervention]
) -> Iterator[Float[Tensor, "pos d_vocab"]]:
    """Log-probabilities after each token of each row, several rows in one forward pass where the model lets them."""
    if not session.has_site(LOGITS):
        yield from (session.logits(row, changes).log_softmax(dim=-1) for row in rows)
        return
    longest = max(map(len, rows))
    n_rows = max(1, BATCH_TOKENS // longest)
    for start in range(0, len(rows), n_rows):
        for one in session.capture_batch(rows[start : start + n_rows], (LOGITS,), changes):
            yield one[LOGITS].float().log_softmax(dim=-1)


def projection_auroc(session: ModelSession, fitted: Fitted, contrast: Contrast, bos: bool) -> dict[str, float]:
    """AUROC, at each hook point, of the mean over a text's tokens of x·v."""
    texts, labels = fit_texts(session, contrast, bos), [one.label == contrast.labels[0] for one in contrast.examples]
    scores: dict[HookPoint, Tensor] = {at: torch.full((len(texts),), float("nan")) for at in fitted.vectors}

    def take(at: HookPoint, rows: Tensor, text: Tensor) -> None:
        scores[at][text] = rows @ fitted.vectors[at].float()

    stream_rows(session, texts, tuple(fitted.vectors), RowsAsked("mean", bos=bos), take)
    wanted = torch.tensor(labels)
    return {str(at): auroc(one[wanted], one[~wanted]) for at, one in scores.items()}


def side_effect(session: ModelSession, prompts: Prompts, changes: Sequence[Intervention]) -> list[float]:
    """KL of each prompt along the clean model's continuation, nats per token."""
    changed = log_probabilities(session, prompts.continued, changes)
    return [
        kl(before[len(prompt) - 1 : -1], after[len(prompt) - 1 : -1])
        for prompt, before, after in zip(prompts.tokens, prompts.clean, changed, strict=True)
    ]


def generation_scores(
    session: ModelSession, prompts: Prompts, changes: Sequence[Intervention], n_tokens: int = N_TOKENS
) -> tuple[float, float]:
    """Perplexity, under the clean model, of steered continuations over that of clean ones; and excess repetition.

    Of every second prompt, with the seeds of the clean continuations.
    """
    chosen = list(enumerate(prompts.tokens))[1::2] or [(0, prompts.tokens[0])]
    steered = [
        prompt + session.generate(prompt, n_tokens, seed=seed, temperature=1.0, top_p=1.0, interventions=changes)
        for seed, prompt in chosen
    ]
    clean = [prompts.continued[seed] for seed, _ in chosen]
    losses, loops = [], []
    for texts in (steered, clean):
        parts = [FitText(text, len(prompt)) for text, (_, prompt) in zip(texts, chosen, strict=True)]
        weights = [len(part.tokens) - part.start for part in parts]
        total = sum(n * one for n, one in zip(weights, log_likelihoods(session, parts), strict=True))
        losses.append(-total / sum(weights))
        loops.append(sum(repeated(part.tokens[part.start :]) for part in parts) / len(parts))
    return math.exp(losses[0] - losses[1]), max(0.0, loops[0] - loops[1])


@dataclass(frozen=True)
class Question:
    """What is evaluated: a method's vectors, the pairs they were fitted on, and pairs held out."""

    session: ModelSession
    method: Method
    fitted: Fitted
    fitted_on: Contrast
    held_out: Contrast
    prompts: Sequence[str]
    setting: Setting
    refit: Refit
    bos: bool = True
    n_null: int = N_NULL


def evaluate(question: Question, strengths: Sequence[float] = STRENGTHS, progress: Progress = silent) -> Evaluation:
    """The dose-response of a vector, its null, and the strength that the fit's own half would choose."""
    session, fitted = question.session, question.fitted
    prompts = neutral_prompts(session, question.prompts, question.bos)
    nulls = _nulls(question)
    ours, theirs = (_Pairs.of(session, some, question.bos) for some in (question.held_out, question.fitted_on))
    doses, fit_concepts, kls = [], [], []
    for n, strength in enumerate(strengths):
        progress(n / len(strengths), f"strength {strength:g}")
        setting = replace(question.setting, strength=strength)
        changes = question.method.apply(fitted, setting)
        moved = {
            name: max(_mean(ours.concepts(session, question.method.apply(one, setting))) for one in some)
            for name, some in nulls.items()
        }
        effects = side_effect(session, prompts, changes)
        ratio, repetition = generation_scores(session, prompts, changes)
        concepts = ours.concepts(session, changes)
        fit_concepts.append(_mean(theirs.concepts(session, changes)))
        # The strength is chosen on every second prompt, and the KL reported is that of the others.
        kls.append(_mean(effects[::2]))
        doses.append(
            Dose(
                strength,
                interval(concepts),
                anti_steerable(concepts),
                moved.get("random"),
                moved["shuffled"],
                _mean(effects[1::2] or effects),
                ratio,
                repetition,
                fluency(ratio, repetition),
            )
        )
    chosen = chosen_strength(strengths, fit_concepts, kls)
    at_chosen = [one for one in doses if one.strength == chosen]
    steers = any(one.concept.low > max(one.null_random or 0.0, one.null_shuffled) for one in at_chosen)
    # A mask, or the mean of many steps, is no direction to project on.
    is_additive = question.method.is_additive
    areas = projection_auroc(session, fitted, question.held_out, question.bos) if is_additive else {}
    return Evaluation(tuple(doses), areas, chosen, steers, _facts(question))


def _nulls(question: Question) -> dict[str, list[Fitted]]:
    """What chance would have fitted; a random vector only where vectors are added."""
    fitted, is_additive = question.fitted, question.method.is_additive
    shuffled = shuffled_fits(question.fitted_on, question.refit, question.n_null)
    if not is_additive:
        return {"shuffled": shuffled}
    return {
        "shuffled": [as_long_as(fitted, one) for one in shuffled],
        "random": [as_long_as(fitted, one) for one in random_fits(fitted, question.n_null)],
    }


def _facts(question: Question) -> dict[str, Any]:
    return {
        "unit": question.setting.unit,
        "ranges": [list(one) for one in question.setting.ranges],
        "n_held_out": len(question.held_out.examples) // 2,
        "held_out": question.held_out.digest(),
        "n_prompts": len(question.prompts),
        "n_tokens": N_TOKENS,
        "n_null": question.n_null,
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


@dataclass(frozen=True)
class _Pairs:
    """Pairs as tokens, with the clean model's log-likelihoods."""

    positive: list[FitText]
    negative: list[FitText]
    positive_clean: list[float]
    negative_clean: list[float]

    @classmethod
    def of(cls, session: ModelSession, contrast: Contrast, bos: bool) -> "_Pairs":
        texts = fit_texts(session, contrast, bos) if contrast.pairs else []
        positive, negative = texts[::2], texts[1::2]
        return cls(positive, negative, log_likelihoods(session, positive), log_likelihoods(session, negative))

    def concepts(self, session: ModelSession, changes: Sequence[Intervention]) -> list[float]:
        """C of each pair under the changes."""
        up, down = (log_likelihoods(session, some, changes) for some in (self.positive, self.negative))
        return concept(up, self.positive_clean, down, self.negative_clean)
