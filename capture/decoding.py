"""Choosing next tokens: what the logits leave to choose from, and a draw whose noise is fixed by seed and position.

1. Repetition penalty (Keskar et al. 2019, arXiv 1909.05858, section 4.1): a logit of a token that was there already is
   divided by the penalty where it is above 0, and multiplied by it elsewhere, as transformers has it.
2. Temperature, then the `top_k` largest, then the nucleus: the fewest tokens whose probabilities reach `top_p`
   (Holtzman et al. 2020, arXiv 1904.09751).
3. Of what is left, the token with the largest p / e, where e is drawn from an exponential distribution: that takes
   each token with its probability. e depends on seed, step and token alone (common random numbers), so two rows with
   one seed part only where their probabilities do.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.sampling import Sampling

_SMALLEST = 2.0**-25


def next_tokens(
    logits: Float[Tensor, "rows d_vocab"],
    sampling: Sampling,
    seeds: Sequence[int],
    steps: Sequence[int],
    before: Sequence[Sequence[int]],
) -> list[int]:
    """The next token of each row; `steps` counts the tokens that each has had, `before` are all tokens before it.

    Temperature 0 takes the likeliest. Raises UserError where a change was so strong that the logits are no numbers.
    """
    if bool(logits.sum().isnan()):
        raise UserError(
            "A next token is chosen by logits that are numbers; under these changes they are not (NaN).",
            "Lower the strength of a change.",
        )
    logits = _penalised(logits, before, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return [int(token) for token in logits.argmax(dim=-1)]
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
    if 0 < sampling.top_k < logits.shape[-1]:
        smallest = probabilities.topk(sampling.top_k, dim=-1).values[:, -1:]
        probabilities = probabilities.masked_fill(probabilities < smallest, 0.0)
    ratios = probabilities / _exponential(list(zip(seeds, steps, strict=True)), logits.shape[-1])
    return _winners(ratios, probabilities, sampling.top_p)


def _penalised(
    logits: Float[Tensor, "rows d_vocab"], before: Sequence[Sequence[int]], penalty: float | int
) -> Float[Tensor, "rows d_vocab"]:
    if penalty == 1:
        return logits
    changed = logits.clone()
    for row, tokens in enumerate(before):
        seen = torch.tensor(sorted(set(tokens)))
        of_seen = logits[row, seen]
        changed[row, seen] = torch.where(of_seen > 0, of_seen / penalty, of_seen * penalty)
    return changed


def _winners(
    ratios: Float[Tensor, "rows d_vocab"], probabilities: Float[Tensor, "rows d_vocab"], top_p: float | int
) -> list[int]:
    """The token of the nucleus with the largest ratio, in each row.

    Sorting a vocabulary takes longer than a step of a small model. The largest ratio of all is that of the nucleus
    too, unless its token lies outside: where those that are more likely reach `top_p`. Then the largest of those.
    """
    whole = probabilities.sum(dim=-1, dtype=torch.float64)
    while True:
        drawn = ratios.argmax(dim=-1, keepdim=True)
        if top_p >= 1:
            break
        is_likelier = probabilities > probabilities.gather(1, drawn)
        reached = (probabilities * is_likelier).sum(dim=-1, dtype=torch.float64)
        is_outside = reached >= top_p * whole
        if not bool(is_outside.any()):
            break
        ratios = torch.where(is_outside[:, None] & ~is_likelier, -1.0, ratios)
    return [int(token) for token in drawn[:, 0]]


def _exponential(draws: Sequence[tuple[int, int]], d_vocab: int) -> Float[Tensor, "rows d_vocab"]:
    """Exponential noise of each (seed, step); rows with equal ones have equal noise."""
    made = {draw: _waits(*draw, d_vocab) for draw in dict.fromkeys(draws)}
    return torch.stack([made[draw] for draw in draws])


def _waits(seed: int, step: int, d_vocab: int) -> Float[Tensor, "d_vocab"]:
    # The generator takes 32 bits of a seed; a digest lets every bit of both numbers count.
    digest = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=4).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest))
    return torch.rand(d_vocab, generator=generator).neg_().log1p_().neg_().clamp_(min=_SMALLEST)
