"""What the one dense pass leaves behind: CETT's curves, losses, and histograms that rivals take thresholds from.

The memory is that of the bins, and one number a text: tokens add nothing. A text that is alone keeps its losses by
token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from analysis.cett import TailCurve
from analysis.log_histogram import LogBins, quantile
from analysis.sparse_pass import LOGITS
from analysis.stream_state import State
from capture.experts import SITES
from capture.hook_point import HookPoint
from capture.mask import judged
from capture.session import ModelSession, ModelShape

SCORE_BINS = LogBins(-24, 16, 7)
_SUMS = ("score_counts", "input_counts", "n_zeros", "losses", "token_losses")
INPUT_SITES = ("ln1_out", "z", "ln2_out", "mlp_post")
"""What TEAL thresholds: the inputs of q, k and v (one tensor), of o, of gate and up (one tensor), of down."""


@dataclass(frozen=True)
class Scores:
    """Where the gate score s can be judged: behind `through` at the gate's pre-activation, or at the neuron itself."""

    site: str
    through: str


def scores_of(shape: ModelShape) -> Scores:
    """Where this model's gate score is: a plain MLP's is its neuron."""
    return Scores("mlp_pre", shape.activation) if shape.has_gate else Scores("mlp_post", "")


def n_units(shape: ModelShape) -> int:
    """How many thresholds there are: one a block, or one for each expert of each block, experts innermost."""
    return shape.n_layers * (shape.n_experts or 1)


def points_of(shape: ModelShape) -> tuple[HookPoint, ...]:
    """The hook points of the dense pass."""
    if shape.n_experts:
        return (*(HookPoint(layer, site) for layer in range(shape.n_layers) for site in SITES), LOGITS)
    gate = ("mlp_pre",) if shape.has_gate else ()
    blocks = [HookPoint(layer, site) for layer in range(shape.n_layers) for site in (*gate, *INPUT_SITES)]
    return (*blocks, LOGITS)


class DensePass:
    """Takes in what `ModelSession.stream` passes on; `kept_passes` are sparse passes that were finished since."""

    def __init__(self, session: ModelSession, texts: Sequence[tuple[int, ...]]) -> None:
        shape = session.shape
        self.session = session
        self.curves = [TailCurve() for _ in range(n_units(shape))]
        """One for each unit that has a threshold of its own."""
        self.score_counts = np.zeros((shape.n_layers, SCORE_BINS.n_bins), np.int64)
        self.input_counts = np.zeros((shape.n_layers, len(INPUT_SITES), 2 * SCORE_BINS.n_bins), np.int64)
        self.n_zeros = np.zeros(shape.n_layers, np.int64)
        self.losses = np.zeros(len(texts))
        self.token_losses = np.zeros(max(len(texts[0]) - 1, 0) if len(texts) == 1 else 0)
        self.kept_passes: dict[str, np.ndarray] = {}
        self._scores = scores_of(shape)
        self._is_routed = torch.zeros(0, 0, dtype=torch.bool)
        self._ids = np.array([token for tokens in texts for token in tokens] or [0], np.int64)
        self._starts = np.cumsum([0, *map(len, texts)])

    def update(self, at: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
        """Take in tokens at one hook point."""
        if at == LOGITS:
            self._add_losses(values, text_index.numpy(), pos.numpy())
            return
        assert at.layer is not None
        rows = values.detach().flatten(1).float().cpu()
        if at.site == "mlp_post":
            w_out, norms = (self.session.weight(kind, at.layer) for kind in ("W_out", "W_out_norms"))
            self.curves[at.layer].update(rows, w_out, norms, str(at))
            self.n_zeros[at.layer] += int((rows == 0).sum())
        if at.site == self._scores.site:
            score = judged(rows, self._scores.through).abs()
            self.score_counts[at.layer] += SCORE_BINS.count(score.numpy())
        if at.site == "routing_weights":
            self._is_routed = rows > 0
        if at.site == "expert_post":
            self._add_experts(at.layer, rows, str(at))
        if at.site in INPUT_SITES:
            self.input_counts[at.layer, INPUT_SITES.index(at.site)] += SCORE_BINS.count_signed(rows.numpy())

    def _add_experts(self, layer: int, rows: Float[Tensor, "n neurons"], where: str) -> None:
        """Take in each expert's neurons at the tokens that were routed to it: the weights come just before them."""
        weights, norms = (self.session.weight(kind, layer) for kind in ("W_out_experts", "W_out_norms"))
        n_experts, d_mlp = weights.shape[:2]
        for expert, is_routed in enumerate(self._is_routed.T):
            own = slice(expert * d_mlp, (expert + 1) * d_mlp)
            if is_routed.any():
                z = rows[is_routed, own]
                self.curves[layer * n_experts + expert].update(z, weights[expert], norms[own], where)
                self.n_zeros[layer] += int((z == 0).sum())

    def _add_losses(self, logits: Tensor, text: Int[np.ndarray, "n"], pos: Int[np.ndarray, "n"]) -> None:
        place = self._starts[text] + pos + 1
        is_predicting = place < self._starts[text + 1]
        targets = torch.from_numpy(self._ids[place[is_predicting]]).to(logits.device)
        rows = logits[torch.from_numpy(is_predicting).to(logits.device)].float()
        losses = torch.nn.functional.cross_entropy(rows, targets, reduction="none")
        by_token = losses.double().cpu().numpy()
        np.add.at(self.losses, text[is_predicting], by_token)
        if len(self.losses) == 1:
            self.token_losses[pos[is_predicting]] = by_token

    @cached_property
    def cett(self) -> list[Float[np.ndarray, "edges"]]:
        """Each layer's CETT at every threshold, once all tokens were taken in."""
        return [curve.values() for curve in self.curves]

    def nonzero_share(self) -> Float[np.ndarray, "layer"]:
        """The share of neurons that are not exactly zero, by layer; of experts those at the tokens routed to them."""
        n_tokens = np.array([curve.n_tokens for curve in self.curves]).reshape(len(self.n_zeros), -1).sum(axis=1)
        return 1 - self.n_zeros / np.maximum(n_tokens * self.session.shape.d_mlp, 1)

    def score_quantile(self, share: float) -> Float[np.ndarray, "layer"]:
        """The magnitude of the gate score below which that share of a layer's scores lies, to 0.8 %."""
        return quantile(self.score_counts, SCORE_BINS.edges(), share)

    def pooled_score_quantile(self, share: float) -> float:
        """The same over all layers together."""
        return float(quantile(self.score_counts.sum(axis=0), SCORE_BINS.edges(), share))

    def teal_threshold(self, layer: int, site: str, share: float) -> float:
        """TEAL's threshold for a share of an input to be zeroed."""
        return teal_threshold(self.input_counts[layer, INPUT_SITES.index(site)], share)

    def state(self) -> State:
        """All that was taken in."""
        curves = {
            f"curve {layer} {name}": np.asarray(getattr(curve, name))
            for layer, curve in enumerate(self.curves)
            for name in TailCurve.__dataclass_fields__
        }
        sums = {name: getattr(self, name) for name in _SUMS}
        return {**curves, **sums, **{f"pass {name}": one for name, one in self.kept_passes.items()}}

    def go_on_from(self, state: State) -> None:
        """Take in what `state` gave."""
        for name in _SUMS:
            setattr(self, name, state[name])
        for layer, curve in enumerate(self.curves):
            for name in TailCurve.__dataclass_fields__:
                array: Any = state[f"curve {layer} {name}"]
                setattr(curve, name, array if array.ndim else int(array))
        self.kept_passes = {name[5:]: one for name, one in state.items() if name.startswith("pass ")}


def teal_threshold(counts: Int[np.ndarray, "signed_bins"], share: float) -> float:
    """The inverse distribution function at 0.5 + share / 2, from a histogram of signed values.

    Liu et al. 2024, TEAL (arXiv 2408.14690): entries are taken to be symmetric around 0, so that `share` of them has a
    magnitude below it. A value below 0, as of a lopsided distribution, thresholds nothing.
    """
    return max(0.0, float(quantile(counts, SCORE_BINS.signed_edges(), 0.5 + share / 2)))
