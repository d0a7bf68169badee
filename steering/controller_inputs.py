"""What a controller reads: the residual stream at the last token of each prompt, streamed; one row a prompt is kept."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.method import Progress, silent


def read_inputs(
    session: ModelSession,
    prompts: Sequence[Sequence[int]],
    at: Sequence[HookPoint],
    progress: Progress = silent,
) -> Float[Tensor, "prompts n_in"]:
    """Row i: the activations at the last token of prompt i, the hook points beside each other, float32 on the CPU."""
    last = torch.tensor([len(prompt) - 1 for prompt in prompts])
    found: dict[HookPoint, Tensor] = {}

    def take(point: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
        text = text_index.cpu()
        is_last = pos.cpu() == last[text]
        rows = values[is_last.to(values.device)].float().cpu()
        if point not in found:
            found[point] = torch.empty(len(prompts), rows.shape[1])
        found[point][text[is_last]] = rows

    session.stream(prompts, tuple(at), take, progress=progress)
    return torch.cat([found[point] for point in at], dim=1)


def mean_residual_norms(
    session: ModelSession, prompts: Sequence[Sequence[int]], layers: Sequence[int]
) -> Float[Tensor, "layers"]:
    """Mean length of the block outputs over all tokens of the prompts but the first, which is often a sink."""
    points = [HookPoint(layer, "resid_post") for layer in layers]
    total, n = dict.fromkeys(points, 0.0), dict.fromkeys(points, 0)

    def take(point: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
        rows = values[pos > 0]
        total[point] += float(rows.float().norm(dim=1).double().sum())
        n[point] += len(rows)

    session.stream(prompts, points, take)
    return torch.tensor([total[point] / max(1, n[point]) for point in points])
