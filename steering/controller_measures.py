"""Effect and side effect of adding so much behind each prompt, dose by dose: what `controller_evaluation` compares."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.generation import GenerationRow
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.controller import Controller
from steering.controller_loss import Continued, added_after_prompts, steered_logprobs
from steering.controller_prompts import Prompts
from steering.controller_writing import N_WRITTEN, Read, Writing, clean_writing, writing_at
from steering.equal_cost import at_equal_cost, dose_at_cost
from steering.method import Progress, silent
from steering.scores import Interval, interval, kl
from steering.scoring import continuations

BUDGETS = (0.02, 0.05, 0.1)
"""Side effects, in nats per token, at which systems are compared."""
N_TOKENS = 16
BATCH_ROWS = 32
PAIRS_EACH = 2
"""Pairs held out that stand after each target."""


@dataclass(frozen=True)
class Dose:
    """Mean effect on targets and side effect on the rest at one multiple of α."""

    dose: float
    effect: Interval
    side_effect: Interval


@dataclass(frozen=True)
class SystemScores:
    """The dose-response of one system, and its effect where its side effect is each of BUDGETS."""

    name: str
    doses: tuple[Dose, ...]
    at_budget: tuple[Interval, ...]
    reached: tuple[bool, ...]
    """Whether its side effect came to the budget at the largest dose measured."""
    written: tuple[Writing, ...]
    """What it writes after targets at the dose of each budget."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Places of the prompts, what stands after each, and what the clean model says of it."""

    targets: list[int]
    """The place of the prompt of each row of `wanted` and `unwanted`."""
    wanted: list[Continued]
    unwanted: list[Continued]
    clean_contrast: Float[Tensor, "rows"]
    """Log-likelihood of the wanted minus that of the unwanted, nats per token."""
    others: list[int]
    continued: list[Continued]
    """Other prompts with the clean model's own continuation and its log-probabilities."""
    held_out: Prompts
    written: Read
    """What the clean model writes after the targets."""


def measured_texts(session: ModelSession, held_out: Prompts, pairs: Contrast, progress: Progress) -> Measured:
    """What effect and side effect are measured on; raises UserError where a text does not fit the model."""
    targets: list[int] = []
    wanted: list[Continued] = []
    unwanted: list[Continued] = []
    for n, place in enumerate(place for place, one in enumerate(held_out.is_target) if one):
        for k in range(PAIRS_EACH):
            targets.append(place)
            couple = pairs.pairs[(PAIRS_EACH * n + k) % len(pairs.pairs)]
            for rows, example in zip((wanted, unwanted), couple, strict=True):
                rows.append(Continued(held_out.tokens[place], session.tokens(example.text, bos=False)))
    longest = max([N_TOKENS, N_WRITTEN, *(len(row.after) for row in (*wanted, *unwanted))])
    if max(map(len, held_out.tokens)) + longest > session.shape.context:
        raise UserError("A prompt and what is measured after it do not fit the model.", "Shorten the longest prompts.")
    others = [place for place, one in enumerate(held_out.is_target) if not one]
    asked = [GenerationRow(held_out.tokens[place], (), n) for n, place in enumerate(others)]
    after = continuations(session, asked, N_TOKENS, progress)
    continued = [Continued(row.prompt, new) for row, new in zip(asked, after, strict=True)]
    clean = _odds(session, continued)
    known = [Continued(row.prompt, row.after, odds) for row, odds in zip(continued, clean, strict=True)]
    contrast = _likelihoods(session, wanted) - _likelihoods(session, unwanted)
    return Measured(targets, wanted, unwanted, contrast, others, known, held_out, clean_writing(session, held_out))


def system_scores(
    name: str,
    session: ModelSession,
    controller: Controller,
    amount: Float[Tensor, "prompts layers"],
    texts: Measured,
    doses: Sequence[float],
    progress: Progress = silent,
) -> SystemScores:
    """The scores of adding dose · α · `amount` of the controller's directions behind each prompt."""
    effects, costs = [], []
    for n, dose in enumerate(doses):
        progress(n / (len(doses) + 1), f"measuring {name} at {dose:g} × α")
        scaled = amount * dose * controller.alpha
        at_targets, at_others = scaled[torch.tensor(texts.targets)], scaled[torch.tensor(texts.others)]
        contrast = _likelihoods(session, texts.wanted, controller, at_targets)
        contrast = contrast - _likelihoods(session, texts.unwanted, controller, at_targets)
        effects.append(_by_prompt(texts.targets, contrast - texts.clean_contrast))
        odds = _odds(session, texts.continued, controller, at_others)
        costs.append(
            torch.tensor(
                [kl(row.clean, one) for row, one in zip(texts.continued, odds, strict=True) if row.clean is not None]
            )
        )
    effect, cost = torch.stack(effects).double().numpy(), torch.stack(costs).double().numpy()  # [doses prompts]
    at_targets = amount[torch.tensor(texts.held_out.is_target)]
    progress(len(doses) / (len(doses) + 1), f"writing with {name}")
    chosen = [dose_at_cost(doses, cost, budget) for budget in BUDGETS]
    known = {
        dose: writing_at(session, controller, at_targets, dose, texts.held_out, texts.written)
        for dose in dict.fromkeys(chosen)
    }
    return SystemScores(
        name,
        tuple(
            Dose(dose, interval(a.tolist()), interval(b.tolist()))
            for dose, a, b in zip(doses, effect, cost, strict=True)
        ),
        tuple(at_equal_cost(effect, cost, budget) for budget in BUDGETS),
        tuple(bool(cost.mean(axis=1).max() >= budget) for budget in BUDGETS),
        tuple(known[dose] for dose in chosen),
    )


def _odds(
    session: ModelSession,
    rows: Sequence[Continued],
    controller: Controller | None = None,
    amounts: Float[Tensor, "rows layers"] | None = None,
) -> list[Float[Tensor, "after d_vocab"]]:
    """Log-probabilities of each row, with `amounts` of the directions added behind its prompt."""
    found = []
    with torch.no_grad():
        for start in range(0, len(rows), BATCH_ROWS):
            some, added = rows[start : start + BATCH_ROWS], {}
            if controller is not None and amounts is not None:
                lengths = controller.mean_norms if controller.unit == "relative" else torch.ones(len(controller.layers))
                directions = controller.directions * lengths[:, None]
                part = amounts[start : start + BATCH_ROWS]
                added = added_after_prompts(some, part, directions, controller.points())
            found += steered_logprobs(session, some, added)
    return found


def _likelihoods(
    session: ModelSession,
    rows: Sequence[Continued],
    controller: Controller | None = None,
    amounts: Float[Tensor, "rows layers"] | None = None,
) -> Float[Tensor, "rows"]:
    """Mean log-likelihood of what comes after each prompt, nats per token."""
    odds = _odds(session, rows, controller, amounts)
    each = [one.gather(1, torch.tensor(row.after)[:, None]).mean() for one, row in zip(odds, rows, strict=True)]
    return torch.stack(each)


def _by_prompt(places: Sequence[int], values: Float[Tensor, "rows"]) -> Float[Tensor, "prompts"]:
    """Mean over the rows of each prompt, so that prompts are what is resampled."""
    _, index = torch.unique_consecutive(torch.tensor(places), return_inverse=True)
    sums = torch.zeros(int(index.max()) + 1).index_add_(0, index, values.float())
    return sums / torch.bincount(index)
