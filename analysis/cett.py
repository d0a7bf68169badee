"""CETT: how much of an MLP's output is lost when its weakest neurons are left out; its whole curve from one pass.

Sparsing Law (Luo et al. 2024, arXiv 2411.02335), section 4. Neuron i writes n_i = z_i W_out[i], and for one token

    CETT(eps) = ‖Σ_{i in D} n_i‖ / ‖Σ_i n_i‖,   D = {i : ‖n_i‖ < eps}

b_out belongs to no neuron and is in neither sum. A layer's CETT is the mean over tokens; a token whose MLP writes
exactly nothing has none, and is counted apart.

1. A token's neurons are sorted by ‖n_i‖ and summed from the weakest on; the ratio is known behind every group of
   `group_size` neurons. Inside a group its square grows with the squared norms, and ends where it must.
2. The step of the ratio at each neuron is added to the log-spaced bin of that neuron's norm. The running sum over bins
   is the sum over tokens of CETT at every bin's edge: the curve at all thresholds, in space that no token adds to.
3. The threshold of a target is found by bisection on that curve, from below: its own CETT is at most the target.
   Bisections for two targets visit the same edges until they part, so a larger target has no smaller threshold.
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32, Int
from torch import Tensor

from analysis.log_histogram import LogBins
from capture.errors import UserError

NORM_BINS = LogBins(-24, 16, 14)
"""Thresholds are told apart to 2**-14 of themselves."""
EDGES = NORM_BINS.edges()
CAP, N_CANDIDATES = 0.99, 65_536
"""The published search tries so many thresholds up to that quantile of the norms."""
MAX_GROUP = 8
_BLOCK = 16
_FLOATS = 1 << 20


def group_size(d_mlp: int) -> int:
    """How many neurons are summed at once: 1, which is exact, up to 8191 neurons, and more than 8 never.

    At 3072 neurons sums of 8 move a threshold by up to 9 of the published search's candidate steps, exact ones by one.
    """
    return max(1, min(MAX_GROUP, d_mlp // 4096))


@dataclass(frozen=True)
class Tails:
    """For each token its neurons from the weakest on: norms, and the ratio of the tail that ends there."""

    norms: Float32[np.ndarray, "n d_mlp"]
    ratios: Float32[np.ndarray, "n d_mlp"]
    """NaN for a token whose MLP writes exactly nothing."""


def tails(
    z: Float[Tensor, "n d_mlp"], w_out: Float[Tensor, "d_mlp d_model"], row_norms: Float[Tensor, "d_mlp"], group: int
) -> Tails:
    """Every tail of every token, `group` neurons at a time (1: each sum is made)."""
    strength = (z.abs() * row_norms).numpy()
    order = np.argsort(strength, axis=1, kind="stable" if group == 1 else None)
    norms = np.take_along_axis(strength, order, axis=1)
    squares = _group_squares(z, w_out, torch.from_numpy(order), group).numpy()  # [n groups]
    whole = np.sqrt(squares[:, -1:])
    inside = np.sqrt(_inside_groups(squares, norms, group))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = np.where(whole > 0, inside / whole, np.nan)
    return Tails(norms, ratios.astype(np.float32))


def _group_squares(
    z: Float[Tensor, "n d_mlp"], w_out: Float[Tensor, "d_mlp d_model"], order: Int[Tensor, "n d_mlp"], group: int
) -> Float[Tensor, "n groups"]:
    """Squared length of the running sum of neuron outputs behind each group."""
    n, f = z.shape
    starts = (torch.arange(n)[:, None] * f + torch.arange(0, f, group)).flatten()
    sums = torch.nn.functional.embedding_bag(
        order.flatten(), w_out, starts, mode="sum", per_sample_weights=z.gather(1, order).flatten()
    ).view(n, -1, w_out.shape[1])
    n_groups = sums.shape[1]
    if n_groups % _BLOCK:
        sums = torch.nn.functional.pad(sums, (0, 0, 0, -n_groups % _BLOCK))
    # A running sum in blocks, many tokens at a time: torch's and numpy's cumsum along this axis are 10 times as slow.
    blocks = sums.view(n, -1, _BLOCK, w_out.shape[1])
    for place in range(1, _BLOCK):
        blocks[:, :, place] += blocks[:, :, place - 1]
    blocks[:, 1:] += blocks[:, :-1, -1].cumsum(dim=1)[:, :, None]
    return torch.linalg.vector_norm(sums, dim=-1).square()[:, :n_groups]


def _inside_groups(
    squares: Float32[np.ndarray, "n groups"], norms: Float32[np.ndarray, "n d_mlp"], group: int
) -> Float32[np.ndarray, "n d_mlp"]:
    """The squares at every neuron: known at the ends of groups, and between them in proportion to squared norms."""
    if group == 1:
        return squares
    n, f = norms.shape
    energy = np.pad(norms.astype(np.float64) ** 2, ((0, 0), (0, -f % group))).reshape(n, -1, group).cumsum(axis=2)
    total = energy[:, :, -1:]
    share = np.divide(energy, total, out=np.ones_like(energy), where=total > 0)
    start = np.pad(squares, ((0, 0), (1, 0)))[:, :-1, None]
    return (start + share * (squares[:, :, None] - start)).reshape(n, -1)[:, :f].astype(np.float32)


@dataclass
class TailCurve:
    """The sum over tokens of CETT at every threshold of `EDGES`, for one layer; `update` takes in tokens."""

    steps: Float[np.ndarray, "bins"] = field(default_factory=lambda: np.zeros(NORM_BINS.n_bins))
    counts: Int[np.ndarray, "bins"] = field(default_factory=lambda: np.zeros(NORM_BINS.n_bins, np.int64))
    n_tokens: int = 0
    n_undefined: int = 0

    def update(
        self, z: Tensor, w_out: Tensor, row_norms: Float[Tensor, "d_mlp"], where: str, group: int | None = None
    ) -> None:
        """Take in tokens [n d_mlp]; raises UserError where an entry is not a finite number."""
        rows, weights = z.detach().float().cpu(), w_out.float().cpu()
        if not torch.isfinite(rows).all():
            raise UserError(
                f"Every activation must be a finite number; {where} has infinite ones or NaN.",
                "Choose float32, or a model whose weights are sound.",
            )
        group = group or group_size(rows.shape[1])
        step = max(1, _FLOATS * group // weights.numel())
        for start in range(0, len(rows), step):
            self._add(tails(rows[start : start + step], weights, row_norms.cpu(), group))

    def _add(self, found: Tails) -> None:
        is_defined = np.isfinite(found.ratios[:, -1])
        self.n_tokens += len(is_defined)
        self.n_undefined += int((~is_defined).sum())
        bins = torch.from_numpy(NORM_BINS.index(found.norms).astype(np.int64))
        torch.from_numpy(self.counts).index_add_(0, bins.flatten(), torch.ones(bins.numel(), dtype=torch.int64))
        ratios = np.where(is_defined[:, None], found.ratios, 0).astype(np.float64)
        grown = torch.from_numpy(np.diff(ratios, axis=1, prepend=0.0))
        torch.from_numpy(self.steps).index_add_(0, bins.flatten(), grown.flatten())

    def values(self) -> Float[np.ndarray, "edges"]:
        """The layer's CETT at each of `EDGES`; all zero where no token has one."""
        n = self.n_tokens - self.n_undefined
        return np.concatenate([[0.0], np.cumsum(self.steps)]) / max(n, 1)

    def kept(self) -> Float[np.ndarray, "edges"]:
        """The share of neurons at or above each of `EDGES`, a mean over tokens."""
        total = max(int(self.counts.sum()), 1)
        return 1 - np.concatenate([[0], np.cumsum(self.counts)]) / total

    def candidate_step(self) -> float:
        """How near two thresholds are told apart by the published search: the 0.99 quantile of norms / 65,536."""
        return float(EDGES[int(np.argmax(self.kept() <= 1 - CAP))]) / N_CANDIDATES


def edge_for(values: Float[np.ndarray, "edges"], target: float) -> int:
    """Index of the threshold that a CETT target selects: CETT there is at most the target, and above it one edge on.

    The curve need not be monotone, so this is a crossing, not the last one. Index 0 is the threshold 0, whose CETT is 0
    whatever the curve: nothing wraps around.
    """
    low, high = 0, len(values)
    while high - low > 1:
        middle = (low + high) // 2
        if values[middle] <= target:
            low = middle
        else:
            high = middle
    return low
