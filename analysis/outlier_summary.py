"""The tables of the outliers Report: dimensions, tokens, sinks, gates and flatness, each row plain JSON."""

from collections.abc import Sequence
from math import isfinite, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

from analysis.attention_sinks import SINK, even_share
from analysis.flatness import flatness, relative_flatness
from analysis.gate_alignment import ALIGNED, amplification, gate_cosine
from analysis.lens import Subject
from analysis.outlier_view import QUANTILE_SHARES, View, has_neurons_with_gate
from capture.session import ModelSession

N_DIMS = 32
N_TOKENS = 12
N_SINKS = 24
N_NEURONS = 24
N_LOUDEST = 5
PERSISTENT = 3.0
"""A dimension counts as loud in a layer where its median magnitude is this many times the median channel's."""

Row = dict[str, Any]


class Tokens:
    """The tokens of the texts as they are shown, made when they are asked for."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._known: dict[int, tuple[str, ...]] = {}

    def of_text(self, text: int) -> tuple[str, ...]:
        """The tokens of one text."""
        if text not in self._known:
            self._known[text] = self._subject.session.token_texts(self._subject.texts[text])
        return self._known[text]

    def at(self, text: int, pos: int) -> str:
        """One token."""
        return self.of_text(text)[pos]


def with_tokens(verdict: Row, tokens: Tokens) -> Row:
    """The verdict with the token added to each row that has a place."""

    def add(row: Row | None) -> Row | None:
        return row | {"token": tokens.at(row["text"], row["pos"])} if row is not None else None

    return verdict | {"found": [add(row) for row in verdict["found"]], "nearest": add(verdict["nearest"])}


def ranked_dims(view: View) -> list[Row]:
    """The residual dimensions with the largest share of norm (mean over layers), at most N_DIMS.

    `layer` is where its share is largest; kurtosis, one-sidedness (the share of tokens with the commoner sign), channel
    ratio, maximum, mean and median are those there. Persistence is the share of layers where it is loud (PERSISTENT).
    """
    shares = np.stack([site.norm_share for site in view.residual])
    loud = np.stack([site.channel_ratio >= PERSISTENT for site in view.residual]).mean(axis=0)
    rows = []
    for dim in np.argsort(-shares.mean(axis=0), kind="stable")[:N_DIMS]:
        layer = int(shares[:, dim].argmax())
        site = view.residual[layer]
        positive = float(site.positive_share[dim])
        rows.append(
            {
                "dim": int(dim),
                "norm_share": float(shares[:, dim].mean()),
                "layer": layer,
                "layer_share": float(shares[layer, dim]),
                "layer_shares": shares[:, dim].tolist(),
                "kurtosis": finite_or_none(site.channel_kurtosis[dim]),
                "persistence": float(loud[dim]),
                "one_sidedness": max(positive, 1 - positive),
                "positive_share": positive,
                "channel_ratio": float(site.channel_ratio[dim]),
                "max_abs": float(site.abs_max[dim]),
                "mean": float(site.mean[dim]),
                "median_abs": float(site.channel_median[dim]),
            }
        )
    return rows


def loudest_dims(view: View) -> list[Row]:
    """The five residual dimensions whose largest entry stands highest over its token's median, where that entry is."""
    found: dict[int, tuple[float, Row]] = {}
    for site in view.residual:
        entries = site.by_ratio
        _, firsts = np.unique(entries.channel, return_index=True)
        for i in np.sort(firsts)[:N_LOUDEST]:
            dim, key = int(entries.channel[i]), float(entries.key[i])
            if dim not in found or key > found[dim][0]:
                found[dim] = (key, {"layer": site.at.layer, "site": site.at.site, "dim": dim, "ratio": key})
    ranked = sorted(found.values(), key=lambda one: -one[0])
    return [row for _, row in ranked[:N_LOUDEST]]


def massive_tokens(view: View, tokens: Tokens) -> list[Row]:
    """The tokens whose largest entry stands highest over their median in any layer, one row a token, in words."""
    best: dict[tuple[int, int], Row] = {}
    for site in view.residual:
        entries = site.by_ratio
        # Entries come highest first, so the first of a token is its largest.
        _, firsts = np.unique(np.stack([entries.text, entries.pos]), axis=1, return_index=True)
        for i in np.sort(firsts)[:N_TOKENS]:
            place, times = (int(entries.text[i]), int(entries.pos[i])), float(entries.key[i])
            if place in best and times <= best[place]["max_over_median"]:
                continue
            best[place] = {
                "text": place[0],
                "pos": place[1],
                "layer": site.at.layer,
                "dim": int(entries.channel[i]),
                "value": float(entries.value[i]),
                "max_over_median": times,
            }
    rows = sorted(best.values(), key=lambda row: (-row["max_over_median"], row["text"], row["pos"]))[:N_TOKENS]
    for row in rows:
        row["token"] = tokens.at(row["text"], row["pos"])
        row["sentence"] = (
            f"{row['token']!r} at position {row['pos']}: dimension {row['dim']} is {row['value']:.3g} after block "
            f"{row['layer']}, {row['max_over_median']:.3g} times the token's median."
        )
    return rows


def sink_rows(view: View, texts: Sequence[Sequence[int]]) -> tuple[list[Row], int, float | None]:
    """Heads with the largest sink share, how many are sinks, and the share if attention were even (None: one token)."""
    n_queries = [len(tokens) - 1 for tokens in texts]
    if sum(n_queries) == 0:
        return [], 0, None
    even = sum(even_share(n + 1) * n for n in n_queries if n) / sum(n_queries)
    order = np.argsort(-view.sinks, axis=None, kind="stable")[:N_SINKS]
    rows = []
    for layer, head in zip(*np.unravel_index(order, view.sinks.shape), strict=True):
        share = float(view.sinks[layer, head])
        if share > SINK:
            sentence = f"Head {head} of block {layer} gives position 0 {share:.0%} of its attention."
            rows.append({"layer": int(layer), "head": int(head), "share": share, "sentence": sentence})
    return rows, int((view.sinks > SINK).sum()), even


def gate_summary(session: ModelSession, view: View, tokens: Tokens) -> tuple[dict[str, np.ndarray], Row]:
    """Cosine and amplification of every neuron, and a summary that says why where there are none."""
    shape = session.shape
    if not has_neurons_with_gate(shape):
        reason = (
            f"not applicable: {session.name} has {shape.n_experts} experts a block, whose neurons are not captured"
            if shape.n_experts
            else f"not applicable: the MLP of {session.name} ({shape.activation}) has no gate"
        )
        empty = np.zeros((0, 0), np.float32)
        return {"gate_cos": empty, "gate_amplification": empty}, {
            "applicable": False,
            "reason": reason,
            "random_std": None,
            "n_neurons": None,
            "n_aligned": None,
            "aligned_share_of_max": None,
            "worst": [],
        }
    layers = range(shape.n_layers)
    cosines = np.stack(
        [
            gate_cosine(*(session.weight(kind, n).detach().float().cpu().numpy() for kind in ("W_gate", "W_in")))
            for n in layers
        ]
    )
    amplified = np.stack([amplification(peaks.value) for peaks in view.neurons])
    aligned = np.abs(cosines) > ALIGNED
    peaks = np.stack([one.value for one in view.neurons])
    share = np.where(aligned, peaks, 0).max(axis=1) / np.maximum(peaks.max(axis=1), np.finfo(np.float32).tiny)
    order = np.argsort(-np.nan_to_num(np.abs(cosines)), axis=None, kind="stable")[:N_NEURONS]
    worst = [_neuron(view, cosines, amplified, int(i), tokens) for i in order]
    arrays = {"gate_cos": cosines.astype(np.float32), "gate_amplification": amplified.astype(np.float32)}
    return arrays, {
        "applicable": True,
        "reason": None,
        "random_std": 1 / sqrt(shape.d_model),
        "n_neurons": int(cosines.size),
        "n_aligned": int(aligned.sum()),
        "aligned_share_of_max": share.tolist(),
        "worst": worst,
    }


def _neuron(view: View, cosines: np.ndarray, amplified: np.ndarray, flat: int, tokens: Tokens) -> Row:
    layer, neuron = divmod(flat, cosines.shape[1])
    peaks = view.neurons[layer]
    text, pos = int(peaks.text[neuron]), int(peaks.pos[neuron])
    return {
        "layer": layer,
        "neuron": neuron,
        "cos": finite_or_none(cosines[layer, neuron]),
        "amplification": finite_or_none(amplified[layer, neuron]),
        "max_abs": float(peaks.value[neuron]),
        "text": text,
        "pos": pos,
        "token": tokens.at(text, pos),
    }


def flatness_arrays(view: View) -> tuple[dict[str, np.ndarray], Row]:
    """Flatness and sorted channel norms of both inputs, before and after the rotation, and a summary of the MLP's."""
    arrays: dict[str, np.ndarray] = {}
    for first, prefix in ((1, ""), (0, "attn_")):
        for name, all_norms in (("raw", view.norms), ("rotated", view.rotated_norms)):
            norms = np.stack(all_norms[first::2])
            arrays[f"{prefix}flatness_{name}"] = flatness(norms).astype(np.float32)
            arrays[f"{prefix}phi_{name}"] = relative_flatness(norms).astype(np.float32)
            arrays[f"{prefix}channel_norms_{name}"] = -np.sort(-norms, axis=1).astype(np.float32)
    raw, rotated = float(arrays["flatness_raw"].sum()), float(arrays["flatness_rotated"].sum())
    sentence = f"Summed over blocks, the flatness of the MLP input goes from {raw:.4g} to {rotated:.4g} by rotation."
    return arrays, {"site": "ln2_out", "sum_raw": raw, "sum_rotated": rotated, "sentence": sentence}


def layer_arrays(view: View) -> dict[str, np.ndarray]:
    """The arrays by layer that a text and a text set have alike."""
    normal = [NormalDist().inv_cdf(float(share)) for share in QUANTILE_SHARES]
    return {
        "layer_kurtosis": np.array([site.kurtosis for site in view.residual], np.float32),
        "layer_median": np.array([site.median for site in view.residual], np.float32),
        "first_share": np.array([site.first_share for site in view.residual], np.float32),
        "sink_share": view.sinks.astype(np.float32),
        "quantile_shares": QUANTILE_SHARES.astype(np.float32),
        "normal_quantiles": np.array(normal, np.float32),
    }


def finite_or_none(value: Any) -> float | None:
    """A number as JSON can hold it."""
    return float(value) if isfinite(value) else None
