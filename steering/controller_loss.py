"""The losses of a controller: the paper's on s, and ours on the layer weights, through the frozen model.

    L_s = λ mean_targets (s − 1)² + (1 − λ) mean_others s²,  λ = 1/2                      (Guiding Giants)
    L_w = − mean_targets (1/n) Σ_t log p_w(o_t | x, o_<t) + β mean_others KL(p_0 ‖ p_w)   (ours)

p_w is the model with w_l · α · d_l added at every chosen block from the end of the prompt on, as if s were 1: whether a
patch acts is what s learns, and what acting does at each layer is what w learns. o is a wanted continuation, and the KL
is the mean along the clean model's own continuation: what acting costs where it should not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.session import ModelSession

BALANCE = 0.5


def paper_loss(target: Float[Tensor, "targets"], other: Float[Tensor, "others"]) -> Float[Tensor, ""]:
    """λ mean (s − 1)² over targets + (1 − λ) mean s² over the others, λ = 1/2."""
    return BALANCE * ((target - 1) ** 2).mean() + (1 - BALANCE) * (other**2).mean()


def cross_entropy_loss(target: Float[Tensor, "targets"], other: Float[Tensor, "others"]) -> Float[Tensor, ""]:
    """The same balance of binary cross-entropies, s being a logit."""
    softplus = torch.nn.functional.softplus
    return BALANCE * softplus(-target).mean() + (1 - BALANCE) * softplus(other).mean()


@dataclass(frozen=True)
class Continued:
    """A prompt and what comes after it; `clean` has the clean model's log-probabilities before each of those tokens."""

    prompt: tuple[int, ...]
    after: tuple[int, ...]
    clean: Float[Tensor, "after d_vocab"] | None = None


def added_after_prompts(
    rows: Sequence[Continued],
    amounts: Float[Tensor, "rows layers"],
    directions: Float[Tensor, "layers d_model"],
    points: Sequence[HookPoint],
) -> dict[HookPoint, Float[Tensor, "rows pos d_model"]]:
    """What is added at each hook point: amounts[row, layer] · direction behind the row's prompt, and 0 within it."""
    n_pos = max(len(row.prompt) + len(row.after) for row in rows)
    starts = torch.tensor([len(row.prompt) for row in rows])
    is_after = (torch.arange(n_pos) >= starts[:, None]).float()  # [rows pos]
    return {at: (amounts[:, place, None] * is_after)[..., None] * directions[place] for place, at in enumerate(points)}


def steered_logprobs(
    session: ModelSession, rows: Sequence[Continued], added: Mapping[HookPoint, Tensor]
) -> list[Float[Tensor, "after d_vocab"]]:
    """For each row the log-probabilities before each token that comes after its prompt, with the tensors added."""
    logits = session.with_gradient([row.prompt + row.after for row in rows], added)
    parts = (
        one[len(row.prompt) - 1 : len(row.prompt) + len(row.after) - 1] for row, one in zip(rows, logits, strict=True)
    )
    return [part.log_softmax(dim=-1) for part in parts]


def wanted_loss(odds: Sequence[Tensor], rows: Sequence[Continued]) -> Float[Tensor, ""]:
    """− mean over rows of the mean log-probability of the tokens that come after the prompt."""
    each = [-one.gather(1, torch.tensor(row.after)[:, None]).mean() for one, row in zip(odds, rows, strict=True)]
    return torch.stack(each).mean()


def kl_loss(odds: Sequence[Tensor], rows: Sequence[Continued]) -> Float[Tensor, ""]:
    """Mean over rows of the mean KL(p_0 ‖ p_w) before the tokens that come after the prompt."""
    each = []
    for one, row in zip(odds, rows, strict=True):
        assert row.clean is not None  # rows of others have it
        each.append((row.clean.exp() * (row.clean - one)).sum(dim=-1).mean())
    return torch.stack(each).mean()
