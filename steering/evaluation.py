"""What a steering vector does to a model: the dose-response of its judge-free scores, and what chance would give.

1. The pairs are those that the vector was not fitted on; AUROC is that of their projections on the vector.
2. At each strength all scores of `proxies`, on those pairs and on every second prompt.
3. Null: the concept score of random directions, and of vectors fitted with the two texts of half the pairs
   exchanged by lot, both brought to the vector's length.
4. The strength is chosen on the pairs of the fit and the other half of the prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.session import ModelSession
from steering.contrast_pairs import Contrast, contrast_of
from steering.dose import Dose, Half, dose, knee
from steering.fit_rows import RowsAsked, fit_texts, stream_rows
from steering.fitted import Fitted, Setting
from steering.method import Method, Progress, silent
from steering.null_vectors import Refit, as_long_as, random_fits, shuffled_fits
from steering.recipe import Step, paper_scope
from steering.scores import auroc
from steering.scoring import Material, material_of, pair_scores, values_of
from steering.token_scope import TokenScope

STRENGTHS = (0.05, 0.1, 0.2, 0.4, 0.8)
N_NULL = 8


@dataclass(frozen=True)
class Null:
    """The highest concept score of `n_null` draws at one strength.

    `random` is None where no vector is added, `shuffled` where the labels decide nothing.
    """

    random: float | None
    shuffled: float | None


@dataclass(frozen=True)
class Evaluation:
    """The table of one vector; `steers` where the interval at the chosen strength lies above both nulls."""

    doses: tuple[Dose, ...]
    nulls: tuple[Null, ...]
    auroc: Mapping[str, float]
    chosen: float
    steers: bool
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        both = zip(self.doses, self.nulls, strict=True)
        return {
            "auroc": dict(self.auroc),
            "chosen_strength": self.chosen,
            "steers": self.steers,
            "doses": [
                {**asdict(one), "null_random": null.random, "null_shuffled": null.shuffled} for one, null in both
            ],
            "facts": dict(self.facts),
        }


def projection_auroc(session: ModelSession, fitted: Fitted, contrast: Contrast, bos: bool) -> dict[str, float]:
    """AUROC, at each hook point, of the mean over a text's tokens of x·v."""
    texts, labels = fit_texts(session, contrast, bos), [one.label == contrast.labels[0] for one in contrast.examples]
    scores: dict[HookPoint, Tensor] = {at: torch.full((len(texts),), float("nan")) for at in fitted.vectors}

    def take(at: HookPoint, rows: Tensor, text: Tensor) -> None:
        scores[at][text] = rows @ fitted.vectors[at].float()

    stream_rows(session, texts, tuple(fitted.vectors), RowsAsked("mean", bos=bos), take)
    wanted = torch.tensor(labels)
    return {str(at): auroc(one[wanted], one[~wanted]) for at, one in scores.items()}


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

    @property
    def halves(self) -> tuple[Half, Half]:
        """What chooses, the pairs of the fit and every second prompt; and what is reported, the others."""
        n_fit, n_held_out, n_prompts = len(self.fitted_on.pairs), len(self.held_out.pairs), len(self.prompts)
        prompts = [tuple(range(at, n_prompts, 2)) for at in (0, 1)]
        return (
            Half(tuple(range(n_fit)), prompts[0]),
            Half(tuple(range(n_fit, n_fit + n_held_out)), prompts[1] or prompts[0]),
        )


def evaluate(question: Question, strengths: Sequence[float] = STRENGTHS, progress: Progress = silent) -> Evaluation:
    """The dose-response of a vector, its null, and the strength that the fit's own half would choose."""
    fitted = question.fitted
    material = _material(question)
    settings = [replace(question.setting, strength=strength) for strength in strengths]
    found = values_of(material, [_used(question, fitted, one) for one in settings], _first_half(progress))
    choosing, reporting = (
        [dose(strength, None, one, material.written, half) for strength, one in zip(strengths, found, strict=True)]
        for half in question.halves
    )
    nulls = _nulls(question, material, settings, progress)
    best = knee(choosing)
    at_best = [
        (one, null) for one, null in zip(reporting, nulls, strict=True) if best and one.strength == best.strength
    ]
    steers = any(
        one.concept and one.concept.low > max(null.random or 0.0, null.shuffled or 0.0) for one, null in at_best
    )
    # A mask, or the mean of many steps, is no direction to project on.
    is_additive = question.method.is_additive
    areas = projection_auroc(question.session, fitted, question.held_out, question.bos) if is_additive else {}
    chosen = best.strength if best else 0.0
    return Evaluation(tuple(reporting), tuple(nulls), areas, chosen, steers, _facts(question, material.n_tokens))


def _used(question: Question, fitted: Fitted, setting: Setting) -> tuple[Intervention, ...]:
    """The vectors as they are scored: in the ranges of the setting, or at the ends of each prompt."""
    changes, scope = question.method.apply(fitted, setting), _ends(question)
    return changes if scope is None else (Step(question.method.title, changes, scope=scope),)


def _ends(question: Question) -> TokenScope | None:
    """The ends of a prompt, where the method was fitted there: a range of positions cannot say them."""
    method = question.method
    return paper_scope(method, (), question.fitted.facts) if method.scope == "prompt_ends" else None


def _material(question: Question) -> Material:
    """The pairs of the fit, then those held out, and the prompts."""
    fit, held_out = question.fitted_on, question.held_out
    both = contrast_of(fit.title, fit.labels, (*fit.examples, *held_out.examples), is_paired=True)
    return material_of(question.session, both, question.prompts, question.bos)


def _nulls(question: Question, material: Material, settings: Sequence[Setting], progress: Progress) -> list[Null]:
    """What the best of several vectors by chance would have scored on the pairs held out, at each strength."""
    start = 2 * len(question.fitted_on.pairs)
    held_out = replace(material, pairs=material.pairs[start:], read=material.read[start:])
    drawn = _drawn(question)
    found = []
    for n, setting in enumerate(settings):
        progress(0.5 + 0.5 * n / len(settings), f"null at strength {setting.strength:g}")
        highest = {
            name: max(_mean(pair_scores(held_out, _used(question, one, setting))[0]) for one in some)
            for name, some in drawn.items()
        }
        found.append(Null(highest.get("random"), highest.get("shuffled")))
    return found


def _drawn(question: Question) -> dict[str, list[Fitted]]:
    """What chance would have fitted; a random vector only where vectors are added, or the labels decide nothing."""
    fitted, is_additive = question.fitted, question.method.is_additive
    if not question.method.labels_decide:
        return {"random": [as_long_as(fitted, one) for one in random_fits(fitted, question.n_null)]}
    shuffled = shuffled_fits(question.fitted_on, question.refit, question.n_null)
    if not is_additive:
        return {"shuffled": shuffled}
    return {
        "shuffled": [as_long_as(fitted, one) for one in shuffled],
        "random": [as_long_as(fitted, one) for one in random_fits(fitted, question.n_null)],
    }


def _facts(question: Question, n_tokens: int) -> dict[str, Any]:
    scope = _ends(question)
    return {
        "unit": question.setting.unit,
        **({"ranges": [list(one) for one in question.setting.ranges]} if scope is None else {"scope": scope.recipe()}),
        "n_held_out": len(question.held_out.examples) // 2,
        "held_out": question.held_out.digest(),
        "n_prompts": len(question.prompts),
        "n_tokens": n_tokens,
        "n_null": question.n_null,
    }


def _first_half(progress: Progress) -> Progress:
    return lambda share, words: progress(share / 2, words)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
