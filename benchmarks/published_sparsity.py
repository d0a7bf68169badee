"""The search of PPL-p% thresholds as it was published, for comparison: Sparsing Law, arXiv 2411.02335, and its code.

Written plainly from the description of thunlp/SparsingLaw (src/model_utils.py, src/calc_activation.py):

1. Outer bisection of the CETT target in [0, 1] down to 1e-6. Every step makes the dense pass anew, finds each layer's
   threshold, runs the model with all layers masked, and compares exp(loss_sparse - loss_dense) with 1 + p/100.
2. Inner search of a layer's threshold: 65,536 candidates evenly spaced from the smallest norm to the 0.99 quantile of a
   strided sub-sample, and integer bisection on their index; a tail is the neurons of norm <= the candidate.

Traps that are left as they are: the inner search returns the candidate before its last left index, which is the largest
one where that index is 0; no threshold is beyond the 0.99 quantile; a token whose MLP writes nothing gives NaN.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from analysis.sparse_pass import LOGITS, Candidate, batch_tokens, summed_loss
from capture.batching import batches
from capture.hook_point import HookPoint
from capture.mask import MaskWeakNeurons
from capture.session import ModelSession

N_CANDIDATES = 65_536
TOLERANCE = 1e-6
CAP = 0.99
N_SAMPLED = 1 << 20

Texts = Sequence[tuple[int, ...]]


@dataclass(frozen=True)
class Published:
    """What the procedure gives, with the step between a layer's candidates."""

    target: float
    thresholds: tuple[float, ...]
    steps: tuple[float, ...]
    n_passes: int


def published_search(session: ModelSession, texts: Texts, p: float) -> Published:
    """The thresholds within a perplexity budget of p percent, by the published procedure."""
    low, high, n_passes = 0.0, 1.0, 0
    while high - low > TOLERANCE:
        target = (low + high) / 2
        neurons, loss_dense = dense_pass(session, texts)
        found = [threshold_for(session, layer, z, target) for layer, z in enumerate(neurons)]
        ratio = math.exp(sparse_loss(session, texts, [one for one, _ in found]) - loss_dense)
        low, high = (target, high) if ratio < 1 + p / 100 else (low, target)
        n_passes += 2
    target = (low + high) / 2
    neurons, _ = dense_pass(session, texts)
    found = [threshold_for(session, layer, z, target) for layer, z in enumerate(neurons)]
    return Published(target, tuple(one for one, _ in found), tuple(step for _, step in found), n_passes + 1)


def dense_pass(session: ModelSession, texts: Texts) -> tuple[list[Tensor], float]:
    """The neurons of every token [tokens d_mlp] by layer, and the mean loss."""
    points = [HookPoint(layer, "mlp_post") for layer in range(session.shape.n_layers)]
    seen: list[list[Tensor]] = [[] for _ in points]
    total = 0.0
    for rows in batches(texts, batch_tokens(session.shape, [LOGITS, *points])):
        tokens = [one for _, one in rows]
        for row, one in zip(tokens, session.capture_batch(tokens, [LOGITS, *points]), strict=True):
            total += summed_loss(one[LOGITS], row)
            for layer, at in enumerate(points):
                seen[layer].append(one[at])
    return [torch.cat(one).float() for one in seen], total / _n_predicted(texts)


def threshold_for(session: ModelSession, layer: int, z: Tensor, target: float) -> tuple[float, float]:
    """A layer's threshold for a CETT target, and the step between candidates."""
    w_out = session.weight("W_out", layer).float()
    norms = z.abs() * w_out.norm(dim=1)
    sample = norms.flatten()[:: max(1, norms.numel() // N_SAMPLED)]
    candidates = torch.linspace(float(norms.min()), float(sample.quantile(CAP)), N_CANDIDATES)
    whole = (z @ w_out).norm(dim=1)
    left, right = 0, N_CANDIDATES
    while left < right:
        middle = (left + right) // 2
        tail = (z * (norms <= candidates[middle])) @ w_out
        if float((tail.norm(dim=1) / whole).mean()) > target:
            right = middle
        else:
            left = middle + 1
    return float(candidates[left - 1]), float(candidates[1] - candidates[0])


def sparse_loss(session: ModelSession, texts: Texts, thresholds: Sequence[float]) -> float:
    """The mean loss with all layers masked."""
    masks: Candidate = tuple(
        MaskWeakNeurons(HookPoint(layer, "mlp_post"), threshold) for layer, threshold in enumerate(thresholds)
    )
    total = 0.0
    for rows in batches(texts, batch_tokens(session.shape, [LOGITS])):
        tokens = [one for _, one in rows]
        for row, one in zip(tokens, session.capture_batch(tokens, [LOGITS], masks), strict=True):
            total += summed_loss(one[LOGITS], row)
    return total / _n_predicted(texts)


def _n_predicted(texts: Texts) -> int:
    return sum(len(tokens) - 1 for tokens in texts)
