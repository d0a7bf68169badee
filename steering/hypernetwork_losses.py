"""What a hypernetwork is trained by: the frozen model's loss under its vectors, detection, or a teacher's vectors."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity, softplus

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.concept_rows import Row, continuation_losses

SHARPNESS = 10.0
"""Of the detection loss: a lead of 0.1 mean norms is a margin of 1."""


def added_rows(
    delta: Float[Tensor, "batch d"], rows: Sequence[Row], length: float, skip_first: bool
) -> Float[Tensor, "batch pos d"]:
    """length × Δ at every position of each row, or at every one but the first."""
    places = torch.ones(max(len(row.tokens) for row in rows), dtype=delta.dtype, device=delta.device)
    if skip_first:
        places[0] = 0.0
    return length * delta[:, None, :] * places[None, :, None]


def steered_losses(
    session: ModelSession, rows: Sequence[Row], at: HookPoint, added: Float[Tensor, "batch pos d"] | None
) -> Float[Tensor, "batch"]:
    """Cross-entropy of each row's continuation under the frozen model with `added` on top of the hook point.

    Differentiable in `added`; the model's own weights have no gradient. None runs the model as it is.
    """
    changes = {} if added is None else {at: added}
    return continuation_losses(session.with_gradient([row.tokens for row in rows], changes), rows)


def detection_loss(
    session: ModelSession,
    delta: Float[Tensor, "batch d"],
    pairs: tuple[Sequence[Row], Sequence[Row]],
    at: HookPoint,
    mean_norm: float,
) -> Float[Tensor, ""]:
    """softplus(−10 (m⁺ − m⁻)), m the largest h·Δ / mean norm over the tokens of a text with and without the concept.

    Ours: HyperSteer names a joint concept-detection loss; AxBench (Wu et al. 2025, arXiv 2501.17148) detects by the
    maximum over tokens, and a logistic loss of the difference is a smooth AUROC.
    """
    with_it, without = (detected(session, delta, rows, at) / mean_norm for rows in pairs)
    return softplus(-SHARPNESS * (with_it - without)).mean()


def detected(
    session: ModelSession, delta: Float[Tensor, "batch d"], rows: Sequence[Row], at: HookPoint
) -> Float[Tensor, "batch"]:
    """The largest h·Δ over the tokens of each continuation."""
    seen = session.capture_batch([row.tokens for row in rows], [at])
    scores = [
        (one[at][row.n_prompt :].to(delta) @ vector).max() for one, row, vector in zip(seen, rows, delta, strict=True)
    ]
    return torch.stack(scores)


def reconstruction_loss(delta: Float[Tensor, "batch d"], wanted: Float[Tensor, "batch d"]) -> Float[Tensor, "batch"]:
    """1 − cos(Δ, Δ*) + ‖Δ − Δ*‖² (HyperSteer's ablation); 0 only where Δ = Δ*."""
    return 1 - cosine_similarity(delta, wanted, dim=-1) + (delta - wanted).square().sum(dim=-1)
