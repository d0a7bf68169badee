"""What a system writes after targets, read by the model as it is: the perplexity ratio and the fluency of `proxies`."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from capture.generation import GenerationRow
from capture.session import ModelSession
from steering.controller import Controller, added_behind
from steering.controller_prompts import Prompts
from steering.fit_rows import FitText
from steering.method import Progress, silent
from steering.scores import Interval, fluency, perplexity_ratio, repeated_share
from steering.scoring import continuations, token_logprobs

N_WRITTEN = 32
"""Tokens that are written after a target."""


@dataclass(frozen=True)
class Writing:
    """How fluent a system writes after targets at a dose; `repetition` is in excess of what is written without it."""

    dose: float
    perplexity_ratio: Interval
    repetition: float
    fluency: float


@dataclass(frozen=True)
class Read:
    """Continuations as the clean model reads them: mean loss of each in nats per token, length, repeated share."""

    losses: tuple[float, ...]
    n_tokens: tuple[int, ...]
    repeated: tuple[float, ...]


def clean_writing(session: ModelSession, held_out: Prompts, progress: Progress = silent) -> Read:
    """What the model writes after the targets without steering."""
    return _read(session, [GenerationRow(prompt, (), n) for n, prompt in enumerate(held_out.of(wanted=True))], progress)


def writing_at(
    session: ModelSession,
    controller: Controller,
    amount: Float[Tensor, "targets layers"],
    dose: float,
    held_out: Prompts,
    clean: Read,
) -> Writing:
    """What is written with dose · α · `amount` of the controller's directions behind each target; seeds as without."""
    amounts = (dose * controller.alpha * amount).tolist()
    rows = [
        GenerationRow(prompt, added_behind(controller, own, len(prompt), controller.unit), n)
        for n, (prompt, own) in enumerate(zip(held_out.of(wanted=True), amounts, strict=True))
    ]
    steered = _read(session, rows)
    ratio = perplexity_ratio(steered.losses, steered.n_tokens, clean.losses, clean.n_tokens)
    excess = max(0.0, (sum(steered.repeated) - sum(clean.repeated)) / len(rows))
    return Writing(dose, ratio, excess, fluency(ratio.mean, excess))


def _read(session: ModelSession, rows: Sequence[GenerationRow], progress: Progress = silent) -> Read:
    written = continuations(session, rows, N_WRITTEN, progress)
    texts = [FitText(row.prompt + new, len(row.prompt)) for row, new in zip(rows, written, strict=True)]
    return Read(
        tuple(-float(one.mean()) for one in token_logprobs(session, texts)),
        tuple(map(len, written)),
        tuple(map(repeated_share, written)),
    )
