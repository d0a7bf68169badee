"""The frontier: each method at a handful of budgets, what it costs in loss and what a sparse decode need not read."""

from dataclasses import dataclass

import numpy as np

from analysis.lens import Progress, Subject
from analysis.sparse_pass import run_candidates
from analysis.sparsity_dense import INPUT_SITES, DensePass
from analysis.sparsity_methods import GREEDY_SHARES, SLUGS, frontier_plan, mean_zero_shares, skipped_share
from analysis.sparsity_run import Answer
from analysis.teal_greedy import greedy_masks
from analysis.text_bootstrap import interval_over_texts
from capture.experts import SITES
from capture.hook_point import HookPoint

MAX_TEXTS = 64
"""The frontier of a set is that of its first 64 texts: it has more rows than the search."""
MAX_NATS = 100.0
"""A loss further above the dense one gives a perplexity ratio of e^100: no picture goes there, and none overflows."""


@dataclass(frozen=True)
class Frontier:
    """The arrays of the frontier and of the curve, over the first `n_texts` texts."""

    arrays: dict[str, np.ndarray]
    n_texts: int
    n_rows: int


def frontier_of(
    subject: Subject, dense: DensePass, answer: Answer, p: float, is_greedy: bool, progress: Progress
) -> Frontier:
    """Every method at its budgets, in one pass; no point where the text is too short for a perplexity."""
    texts = subject.texts[:MAX_TEXTS]
    if answer.why:
        dense_ratio = float(dense.nonzero_share().mean())
        return Frontier({**_curve([(0.0, 0.0, dense_ratio)]), **_points([])}, len(texts), 0)
    shape = subject.session.shape
    plan = [*frontier_plan(dense), ("cett_ppl", p, answer.masks)]
    if is_greedy and not shape.n_experts:
        allocated = greedy_masks(subject, dense, GREEDY_SHARES, progress)
        plan += [("teal_greedy", share, masks) for share, masks in zip(GREEDY_SHARES, allocated, strict=True)]
    counted = SITES if shape.n_experts else INPUT_SITES
    sites = [HookPoint(layer, site) for layer in range(shape.n_layers) for site in counted]
    progress(0.8, "setting other methods beside it")
    passed = run_candidates(
        subject.session,
        texts,
        [masks for _, _, masks in plan],
        sites,
        subject.interventions,
        progress=lambda share, words: progress(0.8 + 0.18 * share, words),
    )
    counts = np.array([len(tokens) - 1 for tokens in texts])
    changes = passed.losses - dense.losses[: len(texts)]
    points = [
        _point(slug, budget, change, counts, mean_zero_shares(zeros, sites), shape.has_gate)
        for (slug, budget, _), change, zeros in zip(plan, changes, passed.zero_share, strict=True)
    ]
    targets = {"zero": 0.0, "cett_ppl": answer.numbers["cett_target"]}
    curve = [
        (targets.get(slug, budget), point.delta, 1 - point.z_zero_share)
        for (slug, budget, _), point in zip(plan, points, strict=True)
        if slug in (*targets, "cett")
    ]
    return Frontier({**_curve(curve), **_points(points)}, len(texts), len(plan))


@dataclass(frozen=True)
class _Point:
    method: int
    budget: float
    delta: float
    interval: tuple[float, float] | None
    z_zero_share: float
    zero_share: float
    skipped: float
    oracle: float


def _point(
    slug: str, budget: float, change: np.ndarray, counts: np.ndarray, zeros: dict[str, float], has_gate: bool
) -> _Point:
    is_teal = slug.startswith("teal")
    skipped = skipped_share(slug, zeros, has_gate)
    return _Point(
        SLUGS.index(slug),
        budget,
        float(change.sum() / counts.sum()),
        interval_over_texts(change, counts),
        zeros["mlp_post"],
        float(np.mean([zeros[site] for site in INPUT_SITES])) if is_teal else zeros["mlp_post"],
        skipped,
        skipped if is_teal else zeros["mlp_post"],
    )


def _points(points: list[_Point]) -> dict[str, np.ndarray]:
    intervals = [one.interval for one in points if one.interval]
    return {
        "frontier_method": np.array([one.method for one in points], np.int32),
        "frontier_budget": np.array([one.budget for one in points], float),
        "frontier_delta_loss": np.array([one.delta for one in points], float),
        "frontier_interval": np.array(intervals, float) if intervals else np.zeros((0, 0)),
        "frontier_zero_share": np.array([one.zero_share for one in points], float),
        "frontier_skipped_share": np.array([one.skipped for one in points], float),
        "frontier_oracle_share": np.array([one.oracle for one in points], float),
    }


def _curve(rows: list[tuple[float, float, float]]) -> dict[str, np.ndarray]:
    targets, deltas, ratios = np.array(sorted(rows), float).T
    return {
        "curve_target": targets,
        "curve_activation_ratio": ratios,
        "curve_delta_loss": deltas,
        "curve_perplexity_ratio": np.exp(np.minimum(deltas, MAX_NATS)),
    }
