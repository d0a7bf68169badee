"""How well a controller does on prompts held out, beside constant steering, CAST and no steering at equal side effect.

1. s: AUROC, reliability, ECE and Brier score over all held-out prompts.
2. Effect on a target: C = [ll_m(D+) − ll_0(D+)] − [ll_m(D−) − ll_0(D−)], the mean over pairs held out of what comes
   after the prompt, nats per token. Side effect on another prompt: KL(p_0 ‖ p_m) along the clean model's own
   continuation, nats per token. Both are proxies (formulas in steering/scores.py).
3. Every system adds the controller's directions behind the prompt, and differs in how much: the controller s · w_l,
   constant steering ½ everywhere, CAST ½ where its condition holds, known labels ½ on the targets alone.
4. Fluency: what each system writes after the targets, read by the model as it is: its perplexity over that of what is
   written without steering, and the fluency of it, at the dose of each side effect that is compared.
5. A dose is a multiple of α. At equal side effect each system stands at the dose where its mean side effect is the one
   asked for, between measured doses by a straight line; one that stays below it at its largest dose stands there.
   Intervals resample the prompts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from capture.session import ModelSession
from steering.calibration import Bin, brier, calibration_error, reliability
from steering.contrast_pairs import Contrast, Example, contrast_of
from steering.controller import FIXED_WEIGHT, Controller, Decision, check_fits, decisions
from steering.controller_inputs import read_inputs
from steering.controller_measures import BUDGETS, N_TOKENS, SystemScores, measured_texts, system_scores
from steering.controller_prompts import Prompts
from steering.controller_writing import N_WRITTEN
from steering.fitting import fit_method
from steering.method import Progress, method_named, silent
from steering.methods.cast_condition import condition_of
from steering.scores import N_RESAMPLES, Interval, auroc

DOSES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
CONSTANT, CAST, KNOWN = "constant", "CAST", "labels known"


@dataclass(frozen=True)
class PromptDecision:
    """One held-out prompt as a page lists it."""

    text: str
    is_target: bool
    decision: Decision


@dataclass(frozen=True)
class Compared:
    """A controller of the table: which it is, the hook points that it reads, and how well its s tells targets."""

    name: str
    variant: str
    inputs: tuple[str, ...]
    auroc_interval: Interval
    ece: float
    brier: float


@dataclass(frozen=True)
class ControllerScores:
    """The whole table of one controller."""

    auroc: float
    auroc_interval: Interval
    ece: float
    brier: float
    bins: tuple[Bin, ...]
    compared: tuple[Compared, ...]
    systems: tuple[SystemScores, ...]
    prompts: tuple[PromptDecision, ...]
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self) | {"facts": dict(self.facts)}


@dataclass(frozen=True)
class Question:
    """Controllers to compare by name (of one set of directions), the prompts held out, and pairs held out."""

    session: ModelSession
    controllers: Mapping[str, Controller]
    held_out: Prompts
    pairs: Contrast
    learnt_from: Prompts
    """What CAST's condition is fitted on."""
    doses: Sequence[float] = DOSES


def evaluate_controllers(question: Question, progress: Progress = silent) -> dict[str, ControllerScores]:
    """The table of every controller; the systems of all stand in each, so that variants can be compared."""
    session, held_out = question.session, question.held_out
    for controller in question.controllers.values():
        check_fits(controller, session)
    said = {name: _decided(session, one, held_out) for name, one in question.controllers.items()}
    progress(0.0, "fitting CAST's condition")
    amounts = _amounts(question, said)

    def part(n: int) -> Progress:
        return lambda share, words: progress((n + share) / (len(amounts) + 1), words)

    texts = measured_texts(session, held_out, question.pairs, part(0))
    systems = tuple(
        system_scores(name, session, controller, amount, texts, question.doses, part(n))
        for n, (name, (controller, amount)) in enumerate(amounts.items(), 1)
    )
    compared = tuple(_compared(name, one, said[name], held_out) for name, one in question.controllers.items())
    return {
        own.name: _scores(question, said[own.name], systems, compared, own, question.controllers[own.name])
        for own in compared
    }


def _decided(session: ModelSession, controller: Controller, prompts: Prompts) -> tuple[Decision, ...]:
    return decisions(controller, read_inputs(session, prompts.tokens, controller.inputs))


def _amounts(
    question: Question, said: Mapping[str, Sequence[Decision]]
) -> dict[str, tuple[Controller, Float[Tensor, "prompts layers"]]]:
    """How much of α each system adds, by prompt and layer."""
    held_out = question.held_out
    first = next(iter(question.controllers.values()))
    half = torch.full((len(held_out.tokens), len(first.layers)), FIXED_WEIGHT)
    found = {
        name: (controller, torch.tensor([[one.s * w for w in one.weights] for one in said[name]]))
        for name, controller in question.controllers.items()
    }
    holds = torch.tensor(_cast_holds(question)).float()[:, None]
    is_target = torch.tensor(held_out.is_target).float()[:, None]
    others = {CONSTANT: half, CAST: half * holds, KNOWN: half * is_target}
    return found | {name: (first, amount) for name, amount in others.items()}


def _cast_holds(question: Question) -> list[bool]:
    """Whether CAST's condition, fitted on the prompts that the controller learnt from, holds for each held out."""
    session, learnt = question.session, question.learnt_from
    rows = list(zip(learnt.texts, learnt.is_target, strict=True))
    targets, others = ([text for text, one in rows if one == wanted] for wanted in (True, False))
    pairs = list(zip(targets, others, strict=False))
    examples = [one for up, down in pairs for one in (Example(up, "target"), Example(down, "other"))]
    contrast = contrast_of(learnt.title, ("target", "other"), examples, is_paired=True)
    layers = range(session.shape.n_layers)
    condition = condition_of(fit_method(method_named("cast_condition"), session, contrast, list(layers)))
    return [condition.holds(session, tokens) for tokens in question.held_out.tokens]


def _compared(name: str, controller: Controller, said: Sequence[Decision], held_out: Prompts) -> Compared:
    sure, true = [one.probability for one in said], list(held_out.is_target)
    return Compared(
        name,
        controller.variant,
        tuple(map(str, controller.inputs)),
        _auroc_interval(torch.tensor([one.raw for one in said]), true),
        calibration_error(reliability(sure, true)),
        brier(sure, true),
    )


def _scores(
    question: Question,
    said: Sequence[Decision],
    systems: tuple[SystemScores, ...],
    compared: tuple[Compared, ...],
    own: Compared,
    controller: Controller,
) -> ControllerScores:
    held_out = question.held_out
    true = list(held_out.is_target)
    rows = zip(held_out.texts, true, said, strict=True)
    return ControllerScores(
        own.auroc_interval.mean,
        own.auroc_interval,
        own.ece,
        own.brier,
        reliability([one.probability for one in said], true),
        compared,
        systems,
        tuple(PromptDecision(*row) for row in rows),
        {
            "held_out": held_out.title,
            "n_targets": sum(true),
            "n_others": len(true) - sum(true),
            "n_tokens": N_TOKENS,
            "n_written": N_WRITTEN,
            "pairs": question.pairs.title,
            "pairs_digest": question.pairs.digest(),
            "budgets": list(BUDGETS),
            "alpha": controller.alpha,
            "unit": controller.unit,
        },
    )


def _auroc_interval(raw: Float[Tensor, "prompts"], true: Sequence[bool], seed: int = 0) -> Interval:
    """AUROC over resampled prompts of each kind."""
    is_target = torch.tensor(true)
    up, down = raw[is_target], raw[~is_target]
    draw = torch.Generator().manual_seed(seed)
    values = [
        auroc(
            up[torch.randint(len(up), (len(up),), generator=draw)],
            down[torch.randint(len(down), (len(down),), generator=draw)],
        )
        for _ in range(N_RESAMPLES)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(auroc(up, down), float(low), float(high))
