"""Choosing the next token."""

import torch
from jaxtyping import Float
from torch import Tensor


def next_token(
    logits: Float[Tensor, "d_vocab"], temperature: float | int, top_p: float | int, generator: torch.Generator
) -> int:
    """The most likely token at temperature 0, else one drawn from the nucleus.

    Nucleus sampling: Holtzman et al. 2020 (arXiv 1904.09751), the fewest tokens whose probabilities reach `top_p`.
    """
    if temperature == 0:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits.double() / temperature, dim=-1).sort(descending=True, stable=True)
    # A token stays when the tokens before it do not yet reach top_p, so the first one always stays.
    before = probabilities.cumsum(-1) - probabilities
    kept = probabilities.masked_fill(before >= top_p, 0.0)
    kept[0] = probabilities[0]
    return int(order[torch.multinomial(kept, 1, generator=generator)])
