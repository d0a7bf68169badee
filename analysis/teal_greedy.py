"""TEAL's block-wise greedy allocation: which input of a block bears how large a share of zeros.

Liu et al. 2024 (arXiv 2408.14690), Algorithm 1. In each block alone, with dense activations before it:

1. All shares are 0. An input whose matrices hold the share w of the block's weights may rise by STEP / w, so that every
   rise makes the same share of weights unread.
2. Each rise is tried; the one whose block output is nearest to the dense one, by squared error over the last quarter of
   the sequence, is kept.
3. It ends when the target, the mean of the shares weighed by w, is reached.

The paper allocates to seven matrices. Here q, k and v share one input and gate and up another, as the model does, so
there are four. The texts are the first N_TEXTS that have four tokens.
"""

from collections.abc import Sequence

import torch

from analysis.lens import Progress, Subject
from analysis.sparse_pass import ByRows, Candidate
from analysis.sparsity_dense import INPUT_SITES, DensePass
from capture.hook_point import HookPoint
from capture.mask import MaskBelow
from capture.session import ModelShape

STEP = 0.05
N_TEXTS = 4
_HIGHEST = 0.99

Shares = dict[str, float]


def weight_shares(shape: ModelShape) -> Shares:
    """The share of a block's weights that reads each input."""
    heads = shape.d_head * shape.d_model
    sizes = {
        "ln1_out": heads * (shape.n_heads + 2 * shape.n_kv_heads),
        "z": heads * shape.n_heads,
        "ln2_out": shape.d_model * shape.d_mlp * (2 if shape.has_gate else 1),
        "mlp_post": shape.d_model * shape.d_mlp,
    }
    return {site: size / sum(sizes.values()) for site, size in sizes.items()}


def greedy_masks(subject: Subject, dense: DensePass, targets: Sequence[float], progress: Progress) -> list[Candidate]:
    """The masks for each target share of unread weights, targets in rising order."""
    texts = [tokens for tokens in subject.texts if len(tokens) >= 4][:N_TEXTS]
    found: list[Candidate] = [()] * len(targets)
    n_layers = subject.session.shape.n_layers
    for layer in range(n_layers):
        progress(0.72 + 0.08 * layer / n_layers, f"allocating TEAL's zeros in block {layer}")
        allocated = _allocated(subject, dense, layer, texts, targets)
        found = [(*masks, *_masks(dense, layer, shares)) for masks, shares in zip(found, allocated, strict=True)]
    return found


def _masks(dense: DensePass, layer: int, shares: Shares) -> Candidate:
    return tuple(
        MaskBelow(HookPoint(layer, site), dense.teal_threshold(layer, site, share))
        for site, share in shares.items()
        if share > 0
    )


def _allocated(
    subject: Subject, dense: DensePass, layer: int, texts: Sequence[tuple[int, ...]], targets: Sequence[float]
) -> list[Shares]:
    """The shares of one block's inputs when each target is reached."""
    weights = weight_shares(subject.session.shape)
    shares: Shares = dict.fromkeys(INPUT_SITES, 0.0)
    reached: list[Shares] = []
    for target in targets:
        while sum(shares[site] * weights[site] for site in shares) < target - STEP / 2:
            raised = [
                {**shares, site: shares[site] + STEP / weights[site]}
                for site in shares
                if shares[site] + STEP / weights[site] <= _HIGHEST
            ]
            if not raised:
                break
            errors = _errors(subject, layer, texts, [_masks(dense, layer, one) for one in raised])
            shares = raised[errors.index(min(errors))]
        reached.append(dict(shares))
    return reached


def _errors(
    subject: Subject, layer: int, texts: Sequence[tuple[int, ...]], candidates: Sequence[Candidate]
) -> list[float]:
    """The squared error of the block's output under each candidate, over the last quarter of each text."""
    at = HookPoint(layer, "resid_post")
    errors = [0.0] * len(candidates)
    for tokens in texts:
        rows = [tokens] * (len(candidates) + 1)
        changes = (*subject.interventions, ByRows(((), *candidates)))
        seen = [one[at][-(len(tokens) // 4) :].float() for one in subject.session.capture_batch(rows, [at], changes)]
        for number, changed in enumerate(seen[1:]):
            errors[number] += float(torch.square(changed - seen[0]).sum())
    return errors
