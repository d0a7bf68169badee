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
from jaxtyping import Float, Int
from torch import Tensor

from capture.sampling import Sampling

_FIRST_LOOK = 64
_SMALLEST = 2.0**-25


def next_tokens(
    logits: Float[Tensor, "rows d_vocab"],
    sampling: Sampling,
    seeds: Sequence[int],
    steps: Sequence[int],
    before: Sequence[Sequence[int]],
) -> list[int]:
    """The next token of each row; `steps` counts the tokens that each has had, `before` are all tokens before it.

    Temperature 0 takes the likeliest.
    """
    logits = _penalised(logits, before, sampling.repetition_penalty)
    if sampling.temperature == 0:
        return [int(token) for token in logits.argmax(dim=-1)]
    probabilities = torch.softmax(logits / sampling.temperature, dim=-1)
    waits = _exponential(list(zip(seeds, steps, strict=True)), logits.shape[-1])
    if sampling.top_k == 0 and sampling.top_p >= 1:
        return [int(token) for token in (probabilities / waits).argmax(dim=-1)]
    order, kept = _left_over(probabilities, sampling.top_k, sampling.top_p)
    drawn = (kept / waits.gather(1, order)).argmax(dim=-1, keepdim=True)
    return [int(token) for token in order.gather(1, drawn)[:, 0]]


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


def _left_over(
    probabilities: Float[Tensor, "rows d_vocab"], top_k: int, top_p: float | int
) -> tuple[Int[Tensor, "rows n"], Float[Tensor, "rows n"]]:
    """The likeliest tokens and their probabilities, largest first, 0 for those that are not left to choose from.

    Sorting a whole vocabulary takes longer than a step of a small model: the nucleus is looked for among the first
    few, then among more.
    """
    d_vocab = probabilities.shape[-1]
    n_most = min(top_k or d_vocab, d_vocab)
    n = n_most if top_p >= 1 else min(_FIRST_LOOK, n_most)
    while True:
        values, order = probabilities.topk(n, dim=-1)
        reached = values.double().cumsum(dim=-1)
        if n == n_most or (top_k == 0 and bool((reached[:, -1] >= top_p).all())):
            break
        n = n_most if top_k else min(16 * n, n_most)
    # A token stays where those before it do not reach top_p of what top_k left, so the first always does.
    whole = reached[:, -1:] if top_k else 1.0
    left = (reached - values < top_p * whole).index_fill(1, torch.tensor([0]), True)
    return order, values * left


def _exponential(draws: Sequence[tuple[int, int]], d_vocab: int) -> Float[Tensor, "rows d_vocab"]:
    """Exponential noise of each (seed, step); rows with equal ones have equal noise."""
    made = {draw: _waits(*draw, d_vocab) for draw in dict.fromkeys(draws)}
    return torch.stack([made[draw] for draw in draws])


def _waits(seed: int, step: int, d_vocab: int) -> Float[Tensor, "d_vocab"]:
    # The generator takes 32 bits of a seed; a digest lets every bit of both numbers count.
    digest = hashlib.blake2b(f"{seed} {step}".encode(), digest_size=4).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest))
    return torch.rand(d_vocab, generator=generator).neg_().log1p_().neg_().clamp_(min=_SMALLEST)
