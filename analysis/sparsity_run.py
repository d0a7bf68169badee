"""The dense pass, the search and the pass at its answer, for one text or a text set.

The search's passes over a set are kept in the checkpoint as they end, so that a run that was stopped goes on behind
them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from analysis.cett import EDGES
from analysis.lens import Progress, Subject
from analysis.sparse_pass import LOGITS, Candidate, batch_tokens, run_candidates, token_losses
from analysis.sparsity_dense import DensePass, points_of
from analysis.sparsity_kept import KeptNeurons
from analysis.sparsity_methods import cett_masks, edges_for, masks_at
from analysis.sparsity_search import STEPS, Bracket, budget_nats, search
from analysis.stream_state import stream_set, to_bytes
from analysis.text_bootstrap import interval_over_texts
from capture.errors import UserError
from capture.hook_point import HookPoint

MIN_PREDICTED = 8
"""Fewer tokens than this have no perplexity worth a budget: one of them can move it by more than the budget."""


@dataclass(frozen=True)
class Answer:
    """The masks within the budget and what the model does with them; `why` says why nothing was searched."""

    edges: tuple[int, ...]
    masks: Candidate
    kept: KeptNeurons
    tried: dict[float, float]
    numbers: dict[str, Any]
    passes: dict[str, int]
    why: str

    @property
    def thresholds(self) -> tuple[float, ...]:
        """One threshold a layer, or an expert, on the length of a neuron's output."""
        return tuple(float(EDGES[edge]) for edge in self.edges)


def needed(texts: Sequence[tuple[int, ...]]) -> tuple[int, str]:
    """How many tokens are predicted, and why they are too few; "" where they are enough."""
    n_predicted = sum(len(tokens) - 1 for tokens in texts)
    if n_predicted >= MIN_PREDICTED:
        return n_predicted, ""
    return n_predicted, (
        f"A perplexity budget needs at least {MIN_PREDICTED} predicted tokens, as over fewer a single token decides; "
        f"this text has {n_predicted}. Nothing is switched off: type a longer text."
    )


def dense_of(subject: Subject, progress: Progress) -> DensePass:
    """The dense pass: from a text's captures, or streamed over a set."""
    dense = DensePass(subject.session, subject.texts)
    points = points_of(subject.session.shape)
    progress(0.1, "measuring every neuron's output")
    if subject.is_text_set:

        def part(share: float, words: str) -> None:
            progress(0.1 + 0.2 * share, words)

        stream_set(subject, points, dense, part, batch_tokens(subject.session.shape, points))
    else:
        pos = torch.arange(len(subject.texts[0]))
        for at in points:
            dense.update(at, subject.captures[at], torch.zeros_like(pos), pos)
    if not np.isfinite(dense.losses).all():
        raise UserError(
            "A loss must be a finite number, and this model's is not on this text.",
            "Choose float32, or a model whose weights are sound.",
        )
    return dense


def answer_of(subject: Subject, dense: DensePass, p: float, progress: Progress) -> Answer:
    """The largest CETT target within the budget, and the model at it."""
    budget = budget_nats(p)
    n_predicted, why = needed(subject.texts)
    tried: dict[int, float] = {}
    bracket = Bracket(0, STEPS, 0, 0)
    if not why:
        bracket = search(_Passes(subject, dense, n_predicted, progress), budget, tried, _same_thresholds(dense))
    edges = edges_for(dense, bracket.target) if not why else (0,) * len(dense.curves)
    masks = cett_masks(edges, subject.session.shape.n_experts)
    kept = KeptNeurons(subject.session.shape, subject.texts)
    by_token: list[np.ndarray] = []

    def look(candidate: int, text: int, seen: Mapping[HookPoint, Tensor]) -> None:
        kept.look(candidate, text, seen)
        if len(subject.texts) == 1:
            by_token.append(token_losses(seen[LOGITS], subject.texts[0]).double().numpy())

    progress(0.7, "measuring at the answer")
    passed = run_candidates(
        subject.session, subject.texts, [masks], kept.points, subject.interventions, look, _within(progress, 0.7)
    )
    change = passed.losses[0] - dense.losses
    n = max(n_predicted, 1)
    delta = float(change.sum() / n)
    interval = _interval(change, subject.texts) if not by_token else _interval_over_tokens(by_token[0], dense)
    numbers = {
        "is_searched": not why,
        "cett_target": bracket.target,
        "cett_beyond": bracket.high / STEPS,
        "loss_dense": float(dense.losses.sum() / n),
        "loss_sparse": float(passed.losses.sum() / n),
        "delta_loss": delta,
        "delta_interval": list(interval) if interval else None,
        "n_predicted": n_predicted,
        "n_telling": _n_telling(interval, n_predicted, budget),
        "perplexity_ratio": float(np.exp(delta)),
        "budget_nats": budget,
    }
    passes = {"dense": 1, "sparse": bracket.n_passes + 1, "rows": bracket.n_rows + 1}
    return Answer(edges, masks, kept, {k / STEPS: one for k, one in tried.items()}, numbers, passes, why)


def _interval(change: np.ndarray, texts: Sequence[tuple[int, ...]]) -> tuple[float, float] | None:
    return interval_over_texts(change, np.array([len(tokens) - 1 for tokens in texts]))


def _interval_over_tokens(losses: np.ndarray, dense: DensePass) -> tuple[float, float] | None:
    """Predicted tokens drawn anew instead of texts: of a single text there is nothing better."""
    return interval_over_texts(losses - dense.token_losses, np.ones(len(losses), np.int64))


def _n_telling(interval: tuple[float, float] | None, n_predicted: int, budget: float) -> int | None:
    """About how many predictions make the interval's half width the budget: it shrinks with the root of their number.

    Over fewer, chance moves the loss by more than the budget allows.
    """
    return None if interval is None else math.ceil(n_predicted * ((interval[1] - interval[0]) / 2 / budget) ** 2)


def _same_thresholds(dense: DensePass) -> Callable[[int, int], bool]:
    """Whether the thresholds of two targets are as near as the published search tells them apart, in every layer."""
    steps = np.array([curve.candidate_step() for curve in dense.curves])

    def is_same(low: int, high: int) -> bool:
        ends = (EDGES[list(edges_for(dense, target / STEPS))] for target in (low, high))
        return high < STEPS and bool((np.subtract(*reversed(list(ends))) <= steps).all())

    return is_same


class _Passes:
    """Tries CETT targets, several in one pass; what a stopped run had tried is read and not run."""

    def __init__(self, subject: Subject, dense: DensePass, n_predicted: int, progress: Progress) -> None:
        self.subject, self.dense, self.n_predicted, self.progress = subject, dense, n_predicted, progress
        self.number = 0

    def __call__(self, targets: Sequence[int]) -> list[float]:
        self.number += 1
        name = f"search {self.number}"
        if name not in self.dense.kept_passes:
            self.dense.kept_passes[name] = self._run(targets)
            self._save()
        change = self.dense.kept_passes[name] - self.dense.losses
        return [float(one) for one in change.sum(axis=1) / self.n_predicted]

    def _run(self, targets: Sequence[int]) -> np.ndarray:
        candidates = [masks_at(self.dense, target / STEPS) for target in targets]
        # At most eleven passes: each gets a part of the bar, and it never runs back.
        share = 0.3 + 0.4 * (1 - 0.75 ** (self.number - 1))
        self.progress(share, f"search, pass {self.number}: {len(targets)} targets at once")
        subject = self.subject
        return run_candidates(
            subject.session, subject.texts, candidates, (), subject.interventions, None, _within(self.progress, share)
        ).losses

    def _save(self) -> None:
        if self.subject.checkpoint is None:
            return
        n_batches, tokens = self.dense_batches()
        self.subject.checkpoint.save(to_bytes(self.dense.state(), n_batches, tokens))

    def dense_batches(self) -> tuple[int, int]:
        """More batches than there are, so that a run that goes on skips the dense pass whole."""
        return 1 << 40, batch_tokens(self.subject.session.shape, points_of(self.subject.session.shape))


def _within(progress: Progress, share: float) -> Progress:
    """Words of a part whose bar stands still; raising cancels all the same."""
    return lambda _, words: progress(share, words)
