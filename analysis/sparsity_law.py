"""The sparsity law of one training run: the activation ratio at each checkpoint, and the law fitted to them.

Sparsing Law (Luo et al. 2024, arXiv 2411.02335), its protocol for curves over training:

1. One dense pass over the texts with each checkpoint: CETT's curve of each layer, and the loss.
2. One CETT target jointly for the last five checkpoints: the largest whose perplexity ratio, a mean over them, stays
   below 1 + p/100.
3. That target's thresholds in every checkpoint: the share of neurons at or above them, and the loss without the rest.
4. The law of the activation, by Levenberg-Marquardt.

Arrays: `tokens_b`, `ratio` [checkpoint], `ratio_by_layer` [checkpoint layer]; `curve_tokens_b`, `curve_ratio`,
`curve_low`, `curve_high` [point], NaN where the law is unknown; `published_tokens_b` [point], `published_ratio`
[published point]. Ratios are shares in [0, 1], tokens in billions.

Numbers: `points` [{name, tokens, ratio, loss_dense, delta_loss_nats, is_joint}]; `fit` {parameters [{name, value,
interval}], residual, is_identified} or null; `sentence` on the fit, `trend`; `activation`, `form`, `formula`, `p`,
`cett`, `published`, `confidence`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from analysis import sparsity
from analysis.cett import edge_for
from analysis.lens import Measured, Options, Progress, Series, SeriesLens
from analysis.quantity import Quantity
from analysis.sparse_pass import run_candidates
from analysis.sparsity_dense import DensePass, points_of
from analysis.sparsity_law_report import Point, report_of
from analysis.sparsity_methods import cett_masks
from analysis.sparsity_search import STEPS, budget_nats, search
from capture.checkpoints import TrainedModel
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession, ModelShape

N_JOINT = 5
HELD_BYTES = 1 << 31
"""Checkpoints that take no more than this together are loaded once."""


class Sessions:
    """Opens the checkpoints of a series; keeps them while they are small."""

    def __init__(self, series: Series) -> None:
        self._series = series
        self._held: dict[str, ModelSession] = {}

    def open(self, one: TrainedModel) -> ModelSession:
        """The session of a checkpoint."""
        if one.name in self._held:
            return self._held[one.name]
        session = self._series.open(one)
        if 4 * session.shape.n_params * len(self._series.checkpoints) <= HELD_BYTES:
            self._held[one.name] = session
        return session


@dataclass(frozen=True)
class Seen:
    """What the dense pass over a checkpoint left: its tokens, CETT and share kept at `EDGES` by layer, and its loss."""

    texts: tuple[tuple[int, ...], ...]
    cett: tuple[Float[np.ndarray, "edges"], ...]
    kept: tuple[Float[np.ndarray, "edges"], ...]
    loss_sum: float

    @property
    def n_predicted(self) -> int:
        """How many tokens have a loss."""
        return sum(len(tokens) - 1 for tokens in self.texts)

    def edges(self, steps: int) -> tuple[int, ...]:
        """The threshold of each layer for a CETT target."""
        return tuple(edge_for(values, steps / STEPS) for values in self.cett)


def measure(series: Series, options: Options, progress: Progress) -> Measured:
    """The points of all checkpoints and their law; see the module for the names."""
    sessions, n = Sessions(series), len(series.checkpoints)
    seen: dict[str, Seen] = {}
    for number, one in enumerate(series.checkpoints):
        part = _at(progress, 0.5 * number / n, f"running {one.name} as it is")
        seen[one.name] = _dense(sessions.open(one), series, part)
    p = float(options["p"])
    steps = _joint_target(sessions, seen, series.checkpoints[-N_JOINT:], p, progress)
    points = []
    for number, one in enumerate(series.checkpoints):
        part = _at(progress, 0.85 + 0.15 * number / n, f"running {one.name} without its weak neurons")
        is_joint = number >= n - N_JOINT
        points.append(_point(one, sessions.open(one), seen[one.name], steps, is_joint, part))
    progress(1.0, "done")
    return report_of(points, sessions.open(series.checkpoints[-1]).shape.activation, p, steps / STEPS)


def _at(progress: Progress, share: float, doing: str) -> Progress:
    """Progress whose bar stands still while its words go on; raising cancels all the same."""
    progress(share, doing)
    return lambda _, words: progress(share, f"{doing}: {words}")


def _dense(session: ModelSession, series: Series, progress: Progress) -> Seen:
    texts = tuple(session.tokens(text, series.bos) for text in series.texts)
    if not any(len(tokens) > 1 for tokens in texts):
        raise UserError("Perplexity needs a predicted token, and no text here has two tokens.", "Choose longer texts.")
    dense = DensePass(session, texts)
    session.stream(texts, points_of(session.shape), dense.update, progress=progress)
    curves = dense.curves
    return Seen(
        texts, tuple(one.values() for one in curves), tuple(one.kept() for one in curves), float(dense.losses.sum())
    )


def _joint_target(
    sessions: Sessions, seen: dict[str, Seen], joint: Sequence[TrainedModel], p: float, progress: Progress
) -> int:
    """The largest target, in steps, whose mean perplexity ratio over the checkpoints is within the budget."""
    n_tried = 0

    def log_mean_ratios(targets: Sequence[int]) -> list[float]:
        nonlocal n_tried
        share = 0.5 + 0.35 * n_tried / (n_tried + 4)
        part = _at(progress, share, f"looking for the joint CETT target, pass {n_tried + 1}")
        n_tried += 1
        rises = np.array([_rises(sessions.open(one), seen[one.name], targets, part) for one in joint])
        return [float(one) for one in np.log(np.mean(np.exp(rises), axis=0))]

    def is_same(low: int, high: int) -> bool:
        return all(seen[one.name].edges(low) == seen[one.name].edges(high) for one in joint)

    return search(log_mean_ratios, budget_nats(p), {}, is_same).low


def _rises(
    session: ModelSession, seen: Seen, targets: Sequence[int], progress: Progress
) -> Float[np.ndarray, "targets"]:
    """The rise of the mean loss at each target, in nats a token."""
    masks = [cett_masks(seen.edges(target)) for target in targets]
    sums = run_candidates(session, seen.texts, masks, [], progress=progress).losses.sum(axis=1)
    return (sums - seen.loss_sum) / seen.n_predicted


def _point(
    one: TrainedModel, session: ModelSession, seen: Seen, steps: int, is_joint: bool, progress: Progress
) -> Point:
    edges = seen.edges(steps)
    dense = seen.loss_sum / seen.n_predicted
    rise = float(_rises(session, seen, [steps], progress)[0])
    ratios = tuple(float(kept[edge]) for kept, edge in zip(seen.kept, edges, strict=True))
    return Point(one.name, one.n_tokens, ratios, dense, dense + rise, is_joint)


def hook_points(shape: ModelShape, options: Options) -> tuple[HookPoint, ...]:
    """The neurons of every layer."""
    return tuple(HookPoint(layer, "mlp_post") for layer in range(shape.n_layers))


_BY_POINT, _BY_PUBLISHED = ("point",), ("published", "point")
SERIES_LENS = SeriesLens(
    slug="sparsity_law",
    title="Sparsity law",
    question="How does the share of neurons that a model needs change while it is trained?",
    paper="Luo et al. 2024, Sparsing Law, arXiv 2411.02335: section 4 and table 1.",
    how_to_read=(
        "Each point is one checkpoint: the share of its MLP neurons that must stay for perplexity to rise by no more "
        "than the budget, with one CETT target for all checkpoints. The line is the law that the paper found for this "
        "kind of activation; where few points cannot tell its parameters, the sentence above the picture says so."
    ),
    options=tuple(one for one in sparsity.OPTIONS if one.name == "p"),
    needs=sparsity.LENS.needs,
    hook_points=hook_points,
    measure=measure,
    quantities=(
        Quantity("tokens_b", "tokens seen in training", ("checkpoint",), "billions", is_log=True),
        Quantity("ratio", "activation ratio", ("checkpoint",)),
        Quantity("ratio_by_layer", "activation ratio", ("checkpoint", "layer")),
        Quantity("curve_tokens_b", "tokens of the fitted law", _BY_POINT, "billions", is_log=True),
        Quantity("curve_ratio", "activation ratio of the fitted law", _BY_POINT),
        Quantity("curve_low", "lower end of the law's interval", _BY_POINT),
        Quantity("curve_high", "upper end of the law's interval", _BY_POINT),
        Quantity("published_tokens_b", "tokens of the published laws", _BY_POINT, "billions", is_log=True),
        Quantity("published_ratio", "activation ratio of the published laws", _BY_PUBLISHED),
    ),
)
