"""The four outlier criteria, exact and named, each with what it found and what came nearest.

A criterion takes the statistics of hook points (layer 0 first) and returns a Verdict. Massive activations are looked
for in the residual stream; LLM.int8() features where attention and MLP read; channels and spikes in both.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32

from analysis.magnitudes import ratio
from analysis.site_statistics import SiteStatistics
from analysis.stat_stream import LARGE
from analysis.top_entries import TopEntries

MASSIVE_VALUE = 100.0
MASSIVE_RATIO = 1000.0
INT8_LAYER_SHARE = 0.25
INT8_POSITION_SHARE = 0.06
CHANNEL_RATIO = 8.0
SPIKE_RATIO = 20.0
MAX_ROWS = 200

Row = dict[str, Any]


@dataclass(frozen=True)
class Verdict:
    """What a criterion says: `found` (at most MAX_ROWS of `n_found`), the `nearest` miss, and a sentence.

    `is_complete` is False where more entries may meet the criterion than were kept. Rows are plain JSON.
    """

    name: str
    criterion: str
    paper: str
    found: list[Row]
    n_found: int
    nearest: Row | None
    sentence: str
    is_complete: bool = True

    def to_json(self) -> dict[str, Any]:
        """As a Report holds it."""
        return asdict(self)


def massive_activations(residual: Sequence[SiteStatistics]) -> Verdict:
    """Residual entries above 100 and at least 1000 times the median magnitude of their layer's residual stream."""
    rows, near, n_found, is_complete = _nothing()
    for site in residual:
        shares = np.abs(site.by_value.value) / MASSIVE_VALUE
        shares = np.minimum(shares, ratio(shares * MASSIVE_VALUE, np.full(len(shares), site.median)) / MASSIVE_RATIO)
        meets = np.flatnonzero((np.abs(site.by_value.value) > MASSIVE_VALUE) & (shares >= 1))
        n_found += len(meets)
        is_complete &= len(meets) < site.by_value.limit
        rows += [_massive_row(site, int(i)) for i in meets[:MAX_ROWS]]
        near.append(_massive_row(site, 0) | {"share_of_criterion": float(shares[0])})
    nearest = _nearest(near)
    rows.sort(key=lambda row: -abs(row["value"]))
    sentence = (
        f"{_count(n_found, 'massive activation')}: the largest is {_at(rows[0])} with {rows[0]['value']:.4g}, "
        f"{rows[0]['ratio']:.4g} times the median."
        if rows
        else f"No massive activation: the nearest entry, {_at(nearest)}, is {nearest['value']:.3g} (the criterion asks "
        f"for more than 100) and {nearest['ratio']:.3g} times its layer's median (it asks for 1000)."
    )
    return Verdict(
        "massive_activation",
        "|x| > 100 and |x| >= 1000 times the median magnitude of the layer's residual stream (resid_post, all tokens "
        "and dimensions).",
        "Sun et al. 2024, Massive activations in large language models, arXiv 2402.17762",
        rows[:MAX_ROWS],
        n_found,
        nearest,
        sentence,
        is_complete,
    )


def llm_int8_features(inputs: Sequence[SiteStatistics], n_layers: int) -> Verdict:
    """Dimensions of the linear maps' inputs with |x| >= 6 in at least 25% of layers and 6% of positions."""
    d = len(inputs[0].abs_max)
    reached = np.zeros((n_layers, d), bool)
    for site in inputs:
        reached[site.at.layer] |= site.abs_max >= LARGE
    layer_share = reached.mean(axis=0)
    position_share = np.mean([site.large_share for site in inputs], axis=0)
    peaks = np.stack([site.abs_max for site in inputs])
    meets = (layer_share >= INT8_LAYER_SHARE) & (position_share >= INT8_POSITION_SHARE)
    near = np.minimum(layer_share / INT8_LAYER_SHARE, position_share / INT8_POSITION_SHARE)
    # Where no dimension has both shares, the largest value says how near the nearest is.
    best = np.lexsort((-peaks.max(axis=0), -near))

    found = best[meets[best]]
    shares = {"layer_share": layer_share, "position_share": position_share}
    rows = [_feature_row(inputs, int(dim), reached, shares) for dim in found]
    n_found = len(rows)
    nearest = _feature_row(inputs, int(best[0]), reached, shares) | {"share_of_criterion": float(near[best[0]])}
    sentence = (
        f"{_count(n_found, 'outlier feature')} (LLM.int8()): dimension {rows[0]['dim']} reaches 6 in "
        f"{rows[0]['layer_share']:.0%} of layers and at {rows[0]['position_share']:.0%} of positions."
        if rows
        else f"No LLM.int8() outlier feature: the nearest, dimension {nearest['dim']}, reaches 6 in "
        f"{nearest['layer_share']:.0%} of layers (the criterion asks for 25%) and at "
        f"{nearest['position_share']:.1%} of positions (it asks for 6%); its largest magnitude is "
        f"{nearest['value']:.3g}."
    )
    return Verdict(
        "llm_int8",
        "A dimension with |x| >= 6 in at least 25% of layers and at least 6% of positions, at the inputs of "
        "attention and MLP (ln1_out, ln2_out: after the norm's gain). A layer counts where either input reaches 6 at "
        "any position; the share of positions is the mean over these inputs.",
        "Dettmers et al. 2022, LLM.int8(), arXiv 2208.07339",
        rows[:MAX_ROWS],
        n_found,
        nearest,
        sentence,
    )


def channel_outliers(sites: Sequence[SiteStatistics]) -> Verdict:
    """Channels whose median magnitude over tokens is at least 8 times the median channel's."""
    rows, near, n_found, _ = _nothing()
    for site in sites:
        shares = site.channel_ratio
        meets = np.flatnonzero(shares >= CHANNEL_RATIO)
        n_found += len(meets)
        rows += [_channel_row(site, int(dim)) for dim in meets[np.argsort(-shares[meets], kind="stable")][:MAX_ROWS]]
        best = _channel_row(site, int(shares.argmax()))
        near.append(best | {"share_of_criterion": best["ratio"] / CHANNEL_RATIO})
    nearest = _nearest(near)
    rows.sort(key=lambda row: -row["ratio"])
    if sites[0].n_tokens < 2:
        rows, n_found, sentence = (
            [],
            0,
            "One token cannot show a channel that is large across tokens: give a longer text.",
        )
    elif rows:
        sentence = (
            f"{_count(n_found, 'channel-wise outlier')}: the loudest is dimension {rows[0]['dim']} in "
            f"{_site(rows[0])}, {rows[0]['ratio']:.3g} times the median channel."
        )
    else:
        sentence = (
            f"No channel-wise outlier: the nearest, dimension {nearest['dim']} in {_site(nearest)}, is "
            f"{nearest['ratio']:.3g} times the median channel (the criterion asks for 8)."
        )
    return Verdict(
        "channel_outlier",
        "A channel whose median magnitude over tokens is at least 8 times the median of that over channels, in the "
        "residual stream and at the inputs of attention and MLP.",
        "Rotated Runtime Smooth, arXiv 2409.20361, names the kind; the threshold of 8 is this program's",
        rows[:MAX_ROWS],
        n_found,
        nearest,
        sentence,
    )


def spikes(sites: Sequence[SiteStatistics]) -> Verdict:
    """Entries at least 20 times both the median of their token and the median of their channel."""
    rows, near, n_found, is_complete = _nothing()
    for site in sites:
        entries = site.by_ratio
        columns = ratio(np.abs(entries.value), site.channel_median[entries.channel].astype(np.float32))
        least = np.minimum(columns, entries.key)
        order = np.argsort(-least, kind="stable")
        meets = order[least[order] >= SPIKE_RATIO]
        n_found += len(meets)
        is_complete &= len(entries) < entries.limit or float(entries.key[-1]) < SPIKE_RATIO
        rows += [_spike_row(site, int(i), columns) for i in meets[:MAX_ROWS]]
        best = _spike_row(site, int(order[0]), columns)
        near.append(best | {"share_of_criterion": best["ratio"] / SPIKE_RATIO})
    nearest = _nearest(near)
    rows.sort(key=lambda row: -row["ratio"])
    sentence = (
        f"{_count(n_found, 'spike')}: the sharpest is {_place(rows[0])} in {_site(rows[0])} with "
        f"{rows[0]['value']:.3g}, {rows[0]['row_ratio']:.3g} times its token's median and "
        f"{rows[0]['column_ratio']:.3g} times its channel's."
        if rows
        else f"No spike: the nearest entry, {_place(nearest)} in {_site(nearest)}, is "
        f"{nearest['row_ratio']:.3g} times its token's median and {nearest['column_ratio']:.3g} times its channel's "
        "(the criterion asks for 20 of both)."
    )
    return Verdict(
        "spike",
        "An entry at least 20 times both the median magnitude of its token and that of its channel, in the residual "
        "stream and at the inputs of attention and MLP.",
        "Rotated Runtime Smooth, arXiv 2409.20361, names the kind; the threshold of 20 is this program's",
        rows[:MAX_ROWS],
        n_found,
        nearest,
        sentence,
        is_complete,
    )


def _massive_row(site: SiteStatistics, i: int) -> Row:
    row = _entry_row(site, site.by_value, i)
    times = ratio(np.abs(site.by_value.value[i : i + 1]), np.full(1, site.median, np.float32))
    return row | {"median_abs": site.median, "ratio": float(times[0])}


def _feature_row(
    inputs: Sequence[SiteStatistics],
    dim: int,
    reached: Bool[np.ndarray, "n_layers d"],
    shares: dict[str, Float[np.ndarray, "d"]],
) -> Row:
    site = max(inputs, key=lambda one: float(one.abs_max[dim]))
    positive = float(np.mean([one.positive_share[dim] for one in inputs]))
    return {
        "dim": dim,
        **{name: float(share[dim]) for name, share in shares.items()},
        "layers": np.flatnonzero(reached[:, dim]).tolist(),
        "value": float(site.abs_max[dim]),
        "layer": site.at.layer,
        "site": site.at.site,
        "pos": int(site.abs_max_pos[dim]),
        "text": int(site.abs_max_text[dim]),
        "one_sidedness": max(positive, 1 - positive),
    }


def _channel_row(site: SiteStatistics, dim: int) -> Row:
    positive = float(site.positive_share[dim])
    return {
        "layer": site.at.layer,
        "site": site.at.site,
        "dim": dim,
        "ratio": float(site.channel_ratio[dim]),
        "median_abs": float(site.channel_median[dim]),
        "value": float(site.abs_max[dim]),
        "pos": int(site.abs_max_pos[dim]),
        "text": int(site.abs_max_text[dim]),
        "one_sidedness": max(positive, 1 - positive),
    }


def _spike_row(site: SiteStatistics, i: int, columns: Float32[np.ndarray, "k"]) -> Row:
    by_row, by_column = float(site.by_ratio.key[i]), float(columns[i])
    shares = {"ratio": min(by_row, by_column), "row_ratio": by_row, "column_ratio": by_column}
    return _entry_row(site, site.by_ratio, i) | shares


def _entry_row(site: SiteStatistics, entries: TopEntries, i: int) -> Row:
    return {
        "layer": site.at.layer,
        "site": site.at.site,
        "text": int(entries.text[i]),
        "pos": int(entries.pos[i]),
        "dim": int(entries.channel[i]),
        "value": float(entries.value[i]),
    }


def _nothing() -> tuple[list[Row], list[Row], int, bool]:
    """No rows found, no nearest of any site, none counted, none missed: where a criterion starts."""
    return [], [], 0, True


def _nearest(near: list[Row]) -> Row:
    return max(near, key=lambda row: row["share_of_criterion"])


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _at(row: Row) -> str:
    return f"block {row['layer']}, {_place(row)}"


def _place(row: Row) -> str:
    return f"position {row['pos']}, dimension {row['dim']}"


SITE_WORDS = {
    "resid_post": "the residual stream",
    "ln1_out": "the attention input",
    "ln2_out": "the MLP input",
}


def _site(row: Row) -> str:
    return f"{SITE_WORDS[row['site']]} of block {row['layer']}"
