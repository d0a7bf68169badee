"""Moments of the differences between the two texts of each pair, from one run over the texts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.fit_rows import Progress, RowsAsked, fit_texts, stream_rows


@dataclass
class PairDifferences:
    """Second moments of the pairs' differences (positive − negative) at one hook point, in float64."""

    moment: Float[Tensor, "d d"]
    total: Float[Tensor, "d"]
    n: int = 0
    norm: float = 0.0


def pair_differences(
    session: ModelSession,
    contrast: Contrast,
    at: Sequence[HookPoint],
    asked: RowsAsked,
    progress: Progress | None = None,
) -> dict[HookPoint, PairDifferences]:
    """Moments of the pairs' differences; a row waits for its partner, which is at most one pool of texts away."""
    waiting: dict[tuple[HookPoint, int], Tensor] = {}
    found: dict[HookPoint, PairDifferences] = {}

    def take(point: HookPoint, rows: Tensor, text: Tensor) -> None:
        d = rows.shape[1]
        one = found.setdefault(point, PairDifferences(torch.zeros(d, d).double(), torch.zeros(d).double()))
        differences = []
        for row, index in zip(rows.double(), text.tolist(), strict=True):
            one.norm += float(row.norm()) / 2
            partner = waiting.pop((point, index ^ 1), None)
            if partner is None:
                waiting[point, index] = row
            else:
                differences.append(partner - row if index % 2 else row - partner)
        if differences:
            some = torch.stack(differences)
            one.moment += some.T @ some
            one.total += some.sum(dim=0)
            one.n += len(some)

    stream_rows(session, fit_texts(session, contrast, asked.bos), at, asked, take, progress)
    return found
