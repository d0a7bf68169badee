"""The methods that switch neurons or inputs off, each with its weak set, and as interventions.

s is the gate score act(W_gate x), in a plain MLP the neuron itself; z is what W_out reads; n_i = z_i W_out[i].
What a sparse decode could leave unread, as a share of the FFN's weight bytes (W_in, W_out and, where there is one,
W_gate; all of one size), for a share q of zeros:

- zero test, top-k, FAT and CETT put zeros on z, so the rows of W_out: q / 3 with a gate and q / 2 without;
- CATS masks the gate before W_in is read: rows of W_out and columns of W_in, 2 q / 3;
- TEAL: rows of W_gate and W_in where their shared input is zero, of W_out where its input is.

With an oracle that knew the weak set beforehand the matching columns of W_in and W_gate could be left unread too: q.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analysis.cett import EDGES, edge_for
from analysis.sparse_pass import Candidate
from analysis.sparsity_dense import INPUT_SITES, DensePass, scores_of
from capture.hook_point import HookPoint
from capture.mask import KeepLargest, MaskBelow, MaskWeakNeurons
from capture.session import ModelShape

SHARES = (0.3, 0.5, 0.7, 0.85, 0.95)
"""The shares of weak entries that rivals are asked for."""
TARGETS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8)
"""The CETT targets of the curve."""
GREEDY_SHARES = (0.3, 0.5, 0.7)
"""The shares of unread weights that TEAL's greedy allocation is asked for."""


@dataclass(frozen=True)
class Method:
    """One method, in words: what is weak, what is thresholded, which tensor has the zeros, what need not be read."""

    slug: str
    title: str
    weak_set: str
    thresholded: str
    tensor: str
    skips: str
    paper: str
    reason: str = ""
    """Why it does not apply to this model; empty where it does."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


LAW = "Luo et al. 2024, arXiv 2411.02335"
_Z = "mlp_post: what W_out reads"
_ROWS = "rows of W_out"
_CATS = "rows of W_out and columns of W_in"
METHODS = (
    Method("zero", "Zero test", "s = 0 exactly", "gate score s", _Z, _ROWS, "Mirzadeh et al. 2023, arXiv 2310.04564"),
    Method("top_k", "Top-k", "all but the k largest |s| of a token", "gate score s", _Z, _ROWS, LAW),
    Method("fat", "FAT-ε", "|s| < ε, one ε for all layers", "gate score s", _Z, _ROWS, "Kurtz et al. 2020"),
    Method("cett", "CETT", "‖n_i‖ < ε_l, from one CETT target", "‖n_i‖ = |z_i| ‖W_out[i]‖", _Z, _ROWS, LAW),
    Method(
        "cett_ppl",
        "CETT-PPL-p%",
        "‖n_i‖ < ε_l, from the largest CETT target within the perplexity budget",
        "‖n_i‖ = |z_i| ‖W_out[i]‖",
        _Z,
        _ROWS,
        LAW,
    ),
    Method(
        "cats",
        "CATS",
        "|s| below a percentile of its layer",
        "gate score s",
        "the gate's output, so mlp_post too",
        _CATS,
        "Lee et al. 2024, arXiv 2404.08763",
    ),
    Method(
        "teal",
        "TEAL, uniform",
        "|x| < t, each input at the same share",
        "each linear map's input x",
        "ln1_out (q, k, v share it), z (o), ln2_out (gate and up share it), mlp_post (down)",
        "rows of every matrix whose input is zero",
        "Liu et al. 2024, arXiv 2408.14690",
    ),
    Method(
        "teal_greedy",
        "TEAL, greedy",
        "|x| < t, each input at a share of its own",
        "each linear map's input x",
        "ln1_out (q, k, v share it), z (o), ln2_out (gate and up share it), mlp_post (down)",
        "rows of every matrix whose input is zero",
        "Liu et al. 2024, arXiv 2408.14690, Algorithm 1",
    ),
)
SLUGS = tuple(method.slug for method in METHODS)


def methods_for(shape: ModelShape, is_greedy: bool) -> tuple[dict[str, Any], ...]:
    """Every method as JSON, with a reason where it does not apply."""
    rows = [method.to_json() for method in METHODS]
    if not is_greedy:
        rows[SLUGS.index("teal_greedy")]["reason"] = "It takes longer than all the others: switch it on to measure it."
    if shape.n_experts:
        for slug in ("top_k", "fat", "cats", "teal", "teal_greedy"):
            rows[SLUGS.index(slug)]["reason"] = "It is measured for dense MLPs alone; these are mixtures of experts."
    elif not shape.has_gate:
        rows[SLUGS.index("cats")]["reason"] = "CATS thresholds a gate, and these MLPs have none."
    return tuple(rows)


def cett_masks(edges: Sequence[int], n_experts: int | None = None) -> Candidate:
    """The masks of one threshold a layer, or one an expert, each given as an index of `EDGES`."""
    if n_experts:
        limits = EDGES[list(edges)].reshape(-1, n_experts)
        points = [HookPoint(layer, "expert_post") for layer in range(len(limits))]
        return tuple(MaskWeakNeurons(at, tuple(one.tolist())) for at, one in zip(points, limits, strict=True))
    return tuple(
        MaskWeakNeurons(HookPoint(layer, "mlp_post"), float(EDGES[edge])) for layer, edge in enumerate(edges) if edge
    )


def edges_for(dense: DensePass, target: float) -> tuple[int, ...]:
    """Each layer's or expert's threshold for a CETT target; 0 for an expert that no token was routed to."""
    return tuple(
        edge_for(values, target) if curve.n_tokens else 0
        for values, curve in zip(dense.cett, dense.curves, strict=True)
    )


def masks_at(dense: DensePass, target: float) -> Candidate:
    """The masks of a CETT target."""
    return cett_masks(edges_for(dense, target), dense.session.shape.n_experts)


def rival(slug: str, dense: DensePass, share: float) -> Candidate:
    """The masks of a rival that is asked for a share of weak entries."""
    shape = dense.session.shape
    scores = scores_of(shape)
    layers = range(shape.n_layers)
    points = [HookPoint(layer, scores.site) for layer in layers]
    if slug == "top_k":
        k = max(1, round(shape.d_mlp * (1 - share)))
        return tuple(KeepLargest(at, k, scores.through) for at in points)
    if slug == "fat":
        epsilon = dense.pooled_score_quantile(share)
        return tuple(MaskBelow(at, epsilon, scores.through) for at in points)
    if slug == "cats":
        limits = dense.score_quantile(share)
        return tuple(MaskBelow(at, float(limit), scores.through) for at, limit in zip(points, limits, strict=True))
    if slug == "teal":
        places = [HookPoint(layer, site) for layer in layers for site in INPUT_SITES]
        return tuple(MaskBelow(at, dense.teal_threshold(at.layer or 0, at.site, share)) for at in places)
    raise ValueError(f"no rival is called {slug!r}")


def skipped_share(slug: str, zero_share: dict[str, float], has_gate: bool) -> float:
    """The share of FFN weight bytes that a sparse decode need not read; zero shares by site."""
    n_matrices = 3 if has_gate else 2
    q = zero_share["mlp_post"]
    if slug.startswith("teal"):
        return ((n_matrices - 1) * zero_share["ln2_out"] + q) / n_matrices
    if slug == "cats":
        return 2 * q / 3
    return q / n_matrices


def frontier_plan(dense: DensePass) -> list[tuple[str, float, Candidate]]:
    """Method, budget and masks of each point of the frontier, but for CETT-PPL's own."""
    plan: list[tuple[str, float, Candidate]] = [("zero", 0.0, ())]
    plan += [("cett", target, masks_at(dense, target)) for target in TARGETS]
    if dense.session.shape.n_experts:
        return plan
    slugs = ("top_k", "fat", "cats", "teal") if dense.session.shape.has_gate else ("top_k", "fat", "teal")
    plan += [(slug, share, rival(slug, dense, share)) for slug in slugs for share in SHARES]
    return plan


def mean_zero_shares(zero_share: np.ndarray, points: Sequence[HookPoint]) -> dict[str, float]:
    """The mean over layers of the share of zeros at each site; `mlp_post` is of routed experts, where there are any."""
    sites = dict.fromkeys(at.site for at in points)
    means = {
        site: float(np.mean([share for share, at in zip(zero_share, points, strict=True) if at.site == site]))
        for site in sites
    }
    if "expert_post" in means:
        # Experts that a token is not routed to are zeros as well, and are left out.
        means["mlp_post"] = 1 - (1 - means["expert_post"]) / (1 - means["routing_weights"])
    return means
