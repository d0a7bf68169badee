"""How often each neuron is kept: the histogram of a Report's neurons, and those that few texts need."""

from typing import TYPE_CHECKING

import numpy as np

from analysis.report import Report
from ui import charts
from ui.figures.picture import Picture
from ui.numbers import say_number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

N_BINS = 20
SPECIALISED = (0.1, 0.5)
"""Kept in at most this share of texts, and there at no fewer of the tokens: as the lens counts them."""


def frequencies(report: Report, layer: int) -> Picture:
    """How many neurons are kept at which share of tokens, in all layers and in the pinned one."""
    every = report.arrays["neuron_frequency"]
    drawn = _bars({"all layers": every.reshape(-1), f"block {layer}": every[layer]})
    caption = (
        "How many neurons are kept at which share of the tokens (log count). The first bar has those that are never "
        "kept, the last those that always are."
    )
    return Picture("sparsity-neurons", "How often a neuron is kept", caption, drawn)


def _bars(groups: dict[str, np.ndarray]) -> "Figure":
    """Bars for exactly 0, for bins in between, and for exactly 1."""
    import plotly.graph_objects as go

    names = ["never", *(f"{100 * n // N_BINS} to {100 * (n + 1) // N_BINS} %" for n in range(N_BINS)), "always"]
    colours = (charts.CLEAN, charts.STEERED)
    traces = []
    for (group, values), colour in zip(groups.items(), colours, strict=True):
        between = values[(values > 0) & (values < 1)]
        inside = np.histogram(between, N_BINS, (0, 1))[0]
        counts = np.array([int((values == 0).sum()), *inside.tolist(), int((values == 1).sum())])
        hover = [f"{group}, {name}: {say_number(n)} neurons" for name, n in zip(names, counts.tolist(), strict=True)]
        traces.append(
            go.Bar(
                x=np.arange(len(names)), y=counts, name=group, hovertext=hover, hoverinfo="text", marker_color=colour
            )
        )
    shown = [0, *range(5, N_BINS, 5), N_BINS + 1]
    words = ["never", *(f"{100 * n // N_BINS} %" for n in range(5, N_BINS, 5)), "always"]
    across = {
        "title": "share of tokens at which a neuron is kept",
        "tickvals": shown,
        "ticktext": words,
        "showgrid": False,
    }
    return charts.figure(
        traces, across, {**charts.LOG_AXIS, "title": "neurons (log count)"}, barmode="group", bargap=0.2
    )


def specialised(report: Report) -> Picture:
    """Each neuron of a text set: in how many texts it is kept, and how much in the one that needs it most."""
    import plotly.graph_objects as go

    arrays = report.arrays
    texts, peak = (100 * arrays[name].reshape(-1) for name in ("neuron_text_share", "neuron_peak_frequency"))
    n_layers, d_mlp = arrays["neuron_text_share"].shape
    width = d_mlp // (report.numbers.get("n_experts") or 1)
    experts = ["" if width == d_mlp else f"expert {neuron // width}, " for neuron in range(d_mlp)]
    names = [
        f"block {layer}, {experts[neuron]}neuron {neuron % width}"
        for layer in range(n_layers)
        for neuron in range(d_mlp)
    ]
    hover = [
        f"{name}: in {say_number(share)} % of texts, at {say_number(top)} % of the tokens of text {text}"
        for name, share, top, text in zip(names, texts, peak, arrays["neuron_peak_text"].reshape(-1), strict=True)
    ]
    most, least = SPECIALISED
    is_special = (texts > 0) & (texts <= 100 * most) & (peak >= 100 * least)
    kind = go.Scattergl if len(texts) > charts.MANY_POINTS else go.Scatter
    traces = [
        kind(
            x=texts[rows],
            y=peak[rows],
            mode="markers",
            name=name,
            text=[hover[row] for row in np.flatnonzero(rows)],
            hoverinfo="text",
            marker={"color": colour, "size": 5, "opacity": charts.FAINT if colour == charts.CLEAN else 1},
        )
        for name, colour, rows in (("neurons", charts.CLEAN, ~is_special), ("specialised", charts.STEERED, is_special))
    ]
    across = {"title": "texts in which it is kept at all (%)"}
    drawn = charts.figure(traces, across, {"title": "tokens of its best text (%)"})
    caption = (
        "One point a neuron. Specialised ones, at the upper left, are kept in at most a tenth of the texts, and there "
        "at half of the tokens or more."
    )
    return Picture("sparsity-specialised", "Neurons that few texts need", caption, drawn)
