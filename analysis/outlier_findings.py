"""Sentences about outliers, computed and scored.

score = log2(magnitude / usual), where `usual` is what the quantity would be with nothing to see: even shares for shares
of norm and of attention, a Gaussian for max/median and kurtosis, random vectors for gate cosines. A finding whose score
is not above 0 is not made.
"""

from collections.abc import Callable, Mapping, Sequence
from math import isfinite, log, log2, sqrt
from typing import Any

import numpy as np

from analysis.outlier_criteria import SITE_WORDS, Verdict
from analysis.outlier_view import View
from analysis.report import Finding

MEDIAN_OF_GAUSSIAN = 0.6745
"""The median magnitude of a standard normal number."""
MAX_FINDINGS = 6


def findings_of(
    view: View,
    verdicts: Mapping[str, Verdict],
    numbers: Mapping[str, Any],
    cosines: Sequence[np.ndarray],
    token_at: Callable[[int, int], str],
) -> tuple[Finding, ...]:
    """The findings of a view, highest score first, at most MAX_FINDINGS."""
    made = [
        _first_position(view, numbers),
        _loudest_entry(view, verdicts["massive_activation"], token_at),
        _channel(view, verdicts["channel_outlier"]),
        _feature(verdicts["llm_int8"]),
        _kurtosis(view),
        _sink(view, numbers),
        _gate(view, cosines, numbers),
    ]
    found = [finding for finding in made if finding is not None and isfinite(finding.score) and finding.score > 0]
    return tuple(sorted(found, key=lambda finding: -finding.score)[:MAX_FINDINGS])


def usual_max_over_median(n: int) -> float:
    """About what the largest of n Gaussian magnitudes is of their median: sqrt(2 ln n) / 0.6745."""
    return sqrt(2 * log(max(n, 2))) / MEDIAN_OF_GAUSSIAN


def _finding(sentence: str, magnitude: float, unit: str, usual: float, place: dict[str, Any], series: Any) -> Finding:
    score = log2(magnitude / usual) if magnitude > 0 and usual > 0 else 0.0
    return Finding(sentence, float(magnitude), unit, score, place, series=tuple(float(value) for value in series))


def _first_position(view: View, numbers: Mapping[str, Any]) -> Finding | None:
    shares = [site.first_share for site in view.residual]
    layer = int(np.argmax(shares))
    even = numbers["n_texts"] / numbers["n_tokens"]
    return _finding(
        f"Position 0 carries {shares[layer]:.0%} of the residual stream's squared norm at block {layer}; an even share "
        f"would be {even:.1%}.",
        100 * shares[layer],
        "% of the squared norm",
        100 * even,
        {"layer": layer, "pos": 0},
        shares,
    )


def _loudest_entry(view: View, massive: Verdict, token_at: Callable[[int, int], str]) -> Finding | None:
    d = len(view.residual[0].abs_max)
    usual = usual_max_over_median(d)
    if massive.found:
        row, what = massive.found[0], "is a massive activation by Sun et al.'s criterion"
        times = row["ratio"]
    else:
        site = max(view.residual, key=lambda one: float(one.by_ratio.key[0]))
        entry = site.by_ratio
        row = {"layer": site.at.layer, "pos": int(entry.pos[0]), "dim": int(entry.channel[0])}
        row |= {"value": float(entry.value[0]), "text": int(entry.text[0])}
        times, what = float(entry.key[0]), "stands highest over its token's median"
    series = [float(site.abs_max[row["dim"]]) for site in view.residual]
    token = token_at(row["text"], row["pos"])
    return _finding(
        f"Dimension {row['dim']} at token {token!r} (position {row['pos']}) {what} at block {row['layer']}: "
        f"{row['value']:.3g}, {times:.3g} times the median; about {usual:.1f} is usual for {d} Gaussian entries.",
        times,
        "times the median",
        usual,
        {"layer": row["layer"], "pos": row["pos"], "dim": row["dim"]},
        series,
    )


def _channel(view: View, channels: Verdict) -> Finding | None:
    row = channels.found[0] if channels.found else channels.nearest
    if row is None or view.residual[0].n_tokens < 2:
        return None
    sites = [site for site in (*view.residual, *view.inputs) if site.at.site == row["site"]]
    d = len(sites[0].abs_max)
    return _finding(
        f"Dimension {row['dim']} is the loudest channel in {SITE_WORDS[row['site']]} of block {row['layer']}: across "
        f"tokens its median magnitude is {row['ratio']:.3g} times the median channel's"
        + (", a channel-wise outlier." if channels.found else "."),
        row["ratio"],
        "times the median channel",
        # The loudest of d Gaussian channels at few tokens is near the loudest of d Gaussian entries.
        usual_max_over_median(d),
        {"layer": row["layer"], "dim": row["dim"]},
        [site.channel_ratio[row["dim"]] for site in sites],
    )


def _feature(features: Verdict) -> Finding | None:
    if not features.found:
        return None
    row = features.found[0]
    return _finding(
        f"{features.n_found} dimension{'s' if features.n_found > 1 else ''} meet LLM.int8()'s criterion: dimension "
        f"{row['dim']} reaches 6 at {row['position_share']:.0%} of positions in {row['layer_share']:.0%} of layers.",
        row["value"],
        "largest magnitude (a norm's output has RMS about 1)",
        6.0,
        {"layer": row["layer"], "pos": row["pos"], "dim": row["dim"]},
        (),
    )


def _kurtosis(view: View) -> Finding | None:
    values = [site.kurtosis for site in view.residual]
    if not np.isfinite(values).any():
        return None
    layer = int(np.nanargmax(values))
    return _finding(
        f"The residual stream's entries are most heavy-tailed at block {layer}: kurtosis {values[layer]:.3g}, where a "
        "Gaussian has 3.",
        values[layer],
        "kurtosis",
        3.0,
        {"layer": layer},
        np.nan_to_num(values),
    )


def _sink(view: View, numbers: Mapping[str, Any]) -> Finding | None:
    even = numbers["even_sink_share"]
    if even is None:
        return None
    layer, head = (int(i) for i in np.unravel_index(np.argmax(view.sinks), view.sinks.shape))
    share = float(view.sinks[layer, head])
    return _finding(
        f"Head {head} of block {layer} gives position 0 {share:.0%} of its attention; {even:.0%} would be even. "
        f"{numbers['n_sinks']} of {view.sinks.size} heads are sinks (above 30%).",
        100 * share,
        "% of its attention",
        100 * even,
        {"layer": layer, "pos": 0, "head": head},
        view.sinks.max(axis=1),
    )


def _gate(view: View, cosines: Sequence[np.ndarray], numbers: Mapping[str, Any]) -> Finding | None:
    if not cosines or not numbers["gates"]["worst"]:
        return None
    worst = numbers["gates"]["worst"][0]
    d_model, n = len(view.residual[0].mean), sum(map(len, cosines))
    usual = sqrt(2 * log(max(n, 2)) / d_model)
    return _finding(
        f"Neuron {worst['neuron']} of block {worst['layer']} reads with gate and linear vectors at cosine "
        f"{worst['cos']:.2f}; the largest of {n:,} random pairs would be about {usual:.2f}.",
        abs(worst["cos"]),
        "cosine",
        usual,
        {"layer": worst["layer"], "neuron": worst["neuron"]},
        [float(np.nanmax(np.abs(cosine))) for cosine in cosines],
    )
