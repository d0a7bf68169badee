"""The figures of the SAE quality page: drawn from a Report, on the page and in an export alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from analysis.report import Report
from ui import charts
from ui.figures.picture import Picture
from ui.figures.sae_quality_parts import pinned, sentences, strip, tables
from ui.numbers import escape, say_number

__all__ = ["pictures", "sentences", "strip", "tables"]
N_BINS = 30
N_LAW_POINTS = 40


def pictures(report: Report, pins: Mapping[str, Any]) -> tuple[Picture, ...]:
    """Every figure of the page at the pinned token."""
    return (*by_token(report, pins), *density(report), *training(report), *beside(report), *scaling(report))


def by_token(report: Report, pins: Mapping[str, Any]) -> tuple[Picture, ...]:
    """What each token of a text loses; none of a text set."""
    tokens = report.numbers["tokens"]
    if not tokens:
        return ()
    pos = pinned(report, pins)
    rise = charts.tokens_bar(
        tokens, report.arrays["token_delta_ce"], quantity="rise of the loss", unit="nats", pinned=pos
    )
    error = charts.tokens_bar(tokens, report.arrays["token_fvu"], quantity="squared error over variance", pinned=pos)
    return (
        Picture(
            "sae-quality-rise",
            "Rise of the loss by token",
            "How many nats more each token costs with the SAE's output in place of the activation.",
            rise,
        ),
        Picture(
            "sae-quality-error",
            "Error by token",
            "Squared error of each token's reconstruction over the mean squared distance from the text's mean: their "
            "mean is FVU.",
            error,
        ),
    )


def density(report: Report) -> tuple[Picture, ...]:
    """How many latents fire how often, on a log axis; none where nothing was counted."""
    values, n = report.arrays["density"], report.numbers["n_counted"]
    fires = values[values > 0]
    if not len(fires):
        return ()
    # Between whole numbers of tokens, so that no bin is empty by its place.
    edges = (np.unique(np.floor(np.geomspace(1, n + 1, N_BINS + 1))) - 0.5) / n
    counts, _ = np.histogram(fires, edges)
    drawn = charts.binned(edges, counts, quantity="share of tokens", log_x=True).update_yaxes(
        title="latents (log count)"
    )
    n_silent = len(values) - len(fires)
    caption = (
        f"Latents by the share of {say_number(n)} tokens that they fire on, on log axes. {n_silent:,} of "
        f"{len(values):,} fire on none of them and are left out"
    )
    caption += ": so few tokens do not show that a latent is dead." if n < 10 * len(values) else "."
    return (Picture("sae-quality-density", "Density of the latents", caption, drawn),)


def training(report: Report) -> tuple[Picture, ...]:
    """Dead latents over the training, and FVU; none without its record."""
    curve = report.numbers["curve"]
    if not curve:
        return ()
    steps = [point["step"] + 1 for point in curve]
    dead = _lines([("dead", steps, [100 * point["dead_share"] for point in curve])], "step", "dead latents (%)")
    fvu = _lines([("FVU", steps, [point["fvu"] for point in curve])], "step", "FVU of the batch", log_y=True)
    return (
        Picture(
            "sae-quality-dead",
            "Dead latents in training",
            "Share of latents that had not fired for as many rows as the training calls dead, by step.",
            dead,
        ),
        Picture("sae-quality-training-fvu", "FVU in training", "FVU of each noted batch, on a log axis.", fvu),
    )


def beside(report: Report) -> tuple[Picture, ...]:
    """L0 against loss recovered, one point an SAE; none where one was measured alone."""
    import plotly.graph_objects as go

    points = [one for one in report.numbers["others"] if None not in (one["l0"], one["loss_recovered_zero"])]
    if len(points) < 2:
        return ()
    recovered = [one["loss_recovered_zero"] for one in points]
    above = [0 if one["high"] is None else one["high"] - one["loss_recovered_zero"] for one in points]
    below = [0 if one["low"] is None else one["loss_recovered_zero"] - one["low"] for one in points]
    across = [one["l0"] for one in points]
    room = 0.25 * (max(across) - min(across)) or 1.0
    trace = go.Scatter(
        x=across,
        y=recovered,
        mode="markers+text",
        text=[escape(one["name"]) for one in points],
        textposition="top center",
        error_y={"array": above, "arrayminus": below, "color": charts.INK, "thickness": 1},
        marker={"color": [charts.COMPARED, *[charts.CLEAN] * (len(points) - 1)], "size": 10},
        hovertemplate="%{text}<br>L0 %{x:.3~g}, loss recovered %{y:.4f}<extra></extra>",
        cliponaxis=False,
    )
    # Plotly's own range leaves no room for the names.
    span = {"title": "L0 (latents a token)", "range": [min(across) - room, max(across) + room]}
    drawn = charts.figure([trace], span, {"title": "loss recovered, of zeros"})
    caption = "SAEs of this model on the same text, the page's own in blue; up and to the left is better."
    return (Picture("sae-quality-beside", "L0 against loss recovered", caption, drawn),)


def scaling(report: Report) -> tuple[Picture, ...]:
    """The runs of a grid and the law through them, one line for each k; none without a grid."""
    grid = report.numbers["scaling"]
    if not grid:
        return ()
    points, law = grid["points"], grid["law"]
    ns = sorted({one["n"] for one in points})
    across = np.geomspace(ns[0], ns[-1], N_LAW_POINTS)
    traces = []
    for place, k in enumerate(sorted({one["k"] for one in points})):
        own = sorted((one for one in points if one["k"] == k), key=lambda one: one["n"])
        traces += _line_and_points(place, f"k {k}", (across, _law(law, across, k)), own)
    across_axis = {"type": "log", "title": "latents", "tickvals": ns, "ticktext": [f"{n:,}" for n in ns]}
    drawn = charts.figure(traces, across_axis, {"type": "log", "title": "FVU on held-out text"})
    where = f" at {grid['hook_point']}" if grid["hook_point"] else ""
    caption = f"{len(points)} small runs{where} and L(n, k) through them. {grid['sentence']}"
    return (Picture("sae-quality-scaling", "Scaling law", caption, drawn),)


def _law(law: Mapping[str, float], n: np.ndarray, k: int) -> np.ndarray:
    """L(n, k), as `sae.scaling` has it; a page of an exported Report has its numbers alone."""
    ln_n, ln_k = np.log(n), np.log(k)
    reducible = law["alpha"] + law["b_k"] * ln_k + law["b_n"] * ln_n + law["g"] * ln_k * ln_n
    return np.asarray(np.exp(reducible) + np.exp(law["zeta"] + law["eta"] * ln_k))


def _line_and_points(
    place: int, name: str, line: tuple[np.ndarray, np.ndarray], own: Sequence[Mapping[str, Any]]
) -> list[Any]:
    import plotly.graph_objects as go

    colour, dash = charts.SERIES[place % len(charts.SERIES)], charts.DASHES[place % len(charts.DASHES)]
    hover = f"{name}, %{{x:,}} latents<br>FVU %{{y:.4f}}<extra></extra>"
    law = {"x": line[0], "y": line[1], "mode": "lines", "line": {"color": colour, "dash": dash, "width": 2}}
    x, y = [one["n"] for one in own], [one["fvu"] for one in own]
    return [
        go.Scatter(name=name, hoverinfo="skip", **law),
        go.Scatter(
            x=x, y=y, mode="markers", marker={"color": colour, "size": 8}, hovertemplate=hover, showlegend=False
        ),
    ]


def _lines(series: Sequence[tuple[str, Sequence[float], Sequence[float]]], x: str, y: str, log_y: bool = False) -> Any:
    import plotly.graph_objects as go

    traces = [
        go.Scatter(
            x=across,
            y=values,
            mode="lines",
            line={"color": charts.CLEAN, "width": 2},
            hovertemplate=f"{name} %{{y:.3~g}} at {x} %{{x:,}}<extra></extra>",
        )
        for name, across, values in series
    ]
    up = {"title": y, "type": "log"} if log_y else {"title": y, "rangemode": "tozero"}
    return charts.figure(traces, {"title": x}, up)
