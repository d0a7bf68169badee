"""The palette and every plotly figure, drawn from plain arrays; no numbers are computed here beyond layout.

A figure carries our template, whose ink reads on white and on dark; Streamlit's theme may refine it. Text from a model
or a person is escaped, since plotly reads tags in labels.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ui.numbers import escape, quantity_label, say_number, token_label

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

# Cividis, lowest value first.
# fmt: off
SEQUENTIAL = (
    "#00204D", "#00336F", "#39486B", "#575C6D", "#707173", "#8A8779", "#A69C75", "#C4B56C", "#E4CF5B", "#FFEA46",
)
# fmt: on
DIVERGING = ("#2166AC", "#F7F7F7", "#B35806")
CLEAN = "#64748B"
STEERED, SECOND_STEERED, THIRD_STEERED = "#C2410C", "#7E22CE", "#0F766E"
OK, CAUTION, WRONG = "#15803D", "#B45309", "#B91C1C"
COMPARED = DIVERGING[0]
"""A second series that is not a steered one, and what is pinned."""
SERIES = (CLEAN, COMPARED, CAUTION, THIRD_STEERED, SECOND_STEERED)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
GRID = "rgba(128, 136, 148, 0.25)"
INK = "#737B87"  # Where no theme is known: reads on white and on dark.
CLEAR = "rgba(0, 0, 0, 0)"
FAINT = 0.5
HEIGHT_PX = 280
BAR_PX = 22
MANY_POINTS, MAX_TOKEN_LABELS = 3000, 12
# Plotly writes powers of ten a quarter larger than the tick font says.
LOG_AXIS = {"type": "log", "exponentformat": "power", "dtick": 1, "tickfont": {"size": 9.6}}
COUNT_AXIS = {**LOG_AXIS, "title": "entries (log count)"}


def template() -> Any:
    """The one plotly template: no ground, no frame, a light grid, our colours."""
    import plotly.graph_objects as go

    axis = {
        "gridcolor": GRID,
        "zerolinecolor": GRID,
        "showline": False,
        "ticks": "",
        "automargin": True,
        "exponentformat": "SI",
        "minexponent": 4,
        "title": {"standoff": 8, "font": {"size": 13}},
        "tickfont": {"size": 12},
    }
    legend = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"}
    return go.layout.Template(
        layout={
            "font": {"color": INK, "size": 13},
            "colorway": SERIES,
            "colorscale": {"sequential": list(SEQUENTIAL), "diverging": list(DIVERGING)},
            "xaxis": axis,
            "yaxis": axis,
            "legend": legend,
            "hoverlabel": {"align": "left"},
            "bargap": 0.15,
        }
    )


def figure(traces: Sequence[Any], x: Mapping[str, Any], y: Mapping[str, Any], **layout: Any) -> "Figure":
    """A figure of the traces in our template; a legend only where two or more have names."""
    import plotly.graph_objects as go

    has_legend = sum(bool(trace.name) for trace in traces) >= 2
    together = {
        # Said in the figure itself, since Streamlit's theme replaces a template's ground and margins.
        "paper_bgcolor": CLEAR,
        "plot_bgcolor": CLEAR,
        "height": HEIGHT_PX,
        "margin": {"l": 8, "r": 16, "t": 32 if has_legend else 8, "b": 8},
        "showlegend": has_legend,
        "template": template(),
        "xaxis": dict(x),
        "yaxis": dict(y),
    }
    return go.Figure(list(traces), together | layout)


def histogram_with_qq(
    values: ArrayLike,
    normal_quantiles: ArrayLike,
    value_quantiles: ArrayLike,
    *,
    quantity: str,
    unit: str = "",
    n_bins: int = 80,
) -> "Figure":
    """Left the histogram of the values (log count), right their quantiles against a normal distribution's.

    The dashed line runs through the two quartiles: a normal distribution would lie on it.
    """
    import plotly.graph_objects as go

    hover = "%{y} entries at %{x}<extra></extra>"
    bars = go.Histogram(x=_flat(values), nbinsx=n_bins, marker={"color": CLEAN}, hovertemplate=hover)
    pairs = [trace.update(xaxis="x2", yaxis="y2") for trace in _qq(normal_quantiles, value_quantiles)]
    right = {
        "xaxis2": {"domain": [0.62, 1], "anchor": "y2", "title": "normal quantile (sd)"},
        "yaxis2": {"anchor": "x2", "title": "quantile of the values"},
    }
    return figure([bars, *pairs], {"domain": [0, 0.44], "title": axis_title(quantity, unit)}, COUNT_AXIS, **right)


def _qq(normal_quantiles: ArrayLike, value_quantiles: ArrayLike) -> list[Any]:
    import plotly.graph_objects as go

    x, y = _flat(normal_quantiles), _flat(value_quantiles)
    low, high = (int(np.argmin(abs(x - quartile))) for quartile in (-0.6745, 0.6745))
    slope = (y[high] - y[low]) / (x[high] - x[low]) if x[high] > x[low] else 0.0
    hover = "normal %{x:.2f} sd<br>value %{y:.3~g}<extra></extra>"
    dashed = {"color": INK, "dash": "dash", "width": 1}
    return [
        go.Scatter(x=x, y=y[low] + slope * (x - x[low]), mode="lines", line=dashed, hoverinfo="skip"),
        go.Scatter(x=x, y=y, mode="markers", marker={"color": CLEAN, "size": 5}, hovertemplate=hover),
    ]


def binned(edges: ArrayLike, counts: ArrayLike, *, quantity: str, unit: str = "", log_x: bool = False) -> "Figure":
    """Counts [n] between edges [n + 1] as steps, log count."""
    import plotly.graph_objects as go

    ends, heights = _flat(edges), _flat(counts)
    hover = [
        f"{say_number(n)} entries from {say_number(a)} to {quantity_label(b, unit)}"
        for n, a, b in zip(heights, ends[:-1], ends[1:], strict=True)
    ]
    steps = {"shape": "hv", "color": CLEAN, "width": 1.5}
    heights = np.append(heights, heights[-1:])
    trace = go.Scatter(x=ends, y=heights, mode="lines", fill="tozeroy", line=steps, text=[*hover, ""], hoverinfo="text")
    return figure([trace], _axis(axis_title(quantity, unit), log_x), COUNT_AXIS)


def ranked_bars(
    names: Sequence[str],
    values: ArrayLike,
    *,
    quantity: str,
    unit: str = "",
    pinned: int | None = None,
    log: bool = False,
) -> "Figure":
    """Horizontal bars in the order given, the first on top, each with its number; the pinned one stands out."""
    import plotly.graph_objects as go

    lengths, labels = _flat(values), [escape(name) for name in names]
    trace = go.Bar(
        x=lengths,
        y=np.arange(len(labels)),
        orientation="h",
        text=[say_number(length) for length in lengths],
        textposition="outside",
        cliponaxis=False,
        hovertext=[f"{label}: {quantity_label(length, unit)}" for label, length in zip(labels, lengths, strict=True)],
        hoverinfo="text",
        marker=_standing_out(len(labels), pinned),
    )
    ticks = {"tickvals": np.arange(len(labels)), "ticktext": labels, "showgrid": False}
    down = {**ticks, "range": [len(labels) - 0.5, -0.5], "zeroline": False}
    # Plotly's own range leaves no room for the numbers at the bars' ends.
    low, high = min(0, *lengths[np.isfinite(lengths)], 0), max(0, *lengths[np.isfinite(lengths)], 0)
    span = {} if log or low == high else {"range": [1.2 * low - 0.02 * high, 1.2 * high - 0.02 * low]}
    across = {**_axis(axis_title(quantity, unit), log), **span}
    margin = {"l": 8, "r": 56 if log else 8, "t": 8, "b": 8}
    return figure([trace], across, down, height=56 + BAR_PX * max(2, len(labels)), margin=margin)


def gate_scatter(
    cosine: ArrayLike, amplification: ArrayLike, names: Sequence[str], *, pinned: int | None = None, log: bool = True
) -> "Figure":
    """One point a neuron: the cosine of its gate and up weights against how much it amplifies."""
    import plotly.graph_objects as go

    x, y = _flat(cosine), _flat(amplification)
    kind = go.Scattergl if len(x) > MANY_POINTS else go.Scatter
    text = np.array([escape(name) for name in names])
    hover = "%{text}<br>cosine %{x:.2f}<br>amplification %{y:.3~g} ×<extra></extra>"
    points = {"mode": "markers", "hovertemplate": hover}
    traces = [kind(x=x, y=y, text=text, marker={"color": CLEAN, "size": 5, "opacity": FAINT}, **points)]
    if pinned is not None:
        ring = {"color": COMPARED, "size": 12, "symbol": "circle-open", "line": {"width": 3}, "opacity": 1}
        traces.append(kind(x=x[[pinned]], y=y[[pinned]], text=text[[pinned]], marker=ring, **points))
    across = {"title": "cosine of gate and up weights", "range": [-1.03, 1.03]}
    return figure(traces, across, _axis("amplification (×)", log))


def before_after_lines(
    before: ArrayLike,
    after: ArrayLike,
    *,
    quantity: str,
    unit: str = "",
    names: tuple[str, str] = ("as is", "rotated"),
    log: bool = True,
) -> "Figure":
    """Two sorted curves over channels, such as channel norms as they are and after a rotation."""
    import plotly.graph_objects as go

    traces = [
        go.Scatter(
            x=np.arange(1, len(_flat(curve)) + 1),
            y=_flat(curve),
            name=escape(name),
            mode="lines",
            line={"color": SERIES[place], "dash": DASHES[place], "width": 2},
            hovertemplate=f"{escape(name)}: %{{y:.3~g}} {escape(unit)}, channel ranked %{{x}}<extra></extra>",
        )
        for place, (name, curve) in enumerate(zip(names, (before, after), strict=True))
    ]
    return figure(traces, {"title": "channel, loudest first (rank)"}, _axis(axis_title(quantity, unit), log))


def layer_lines(
    series: Mapping[str, ArrayLike], *, quantity: str, unit: str = "", pinned: int | None = None, log: bool = False
) -> "Figure":
    """One line a name over the layers, the pinned layer marked."""
    import plotly.graph_objects as go

    traces = [
        go.Scatter(
            x=np.arange(len(_flat(values))),
            y=_flat(values),
            name=escape(name),
            mode="lines+markers",
            line={"color": SERIES[place % len(SERIES)], "dash": DASHES[place % len(DASHES)], "width": 2},
            marker={"size": 6},
            text=[quantity_label(value, unit) for value in _flat(values)],
            hovertemplate=f"{escape(name)}<br>layer %{{x}}: %{{text}}<extra></extra>",
        )
        for place, (name, values) in enumerate(series.items())
    ]
    n_layers = max((len(trace.x) for trace in traces), default=1)
    across = {"title": "layer", "dtick": max(1, n_layers // 12), "range": [-0.3, n_layers - 0.7], "zeroline": False}
    drawn = figure(traces, across, _axis(axis_title(quantity, unit), log))
    return drawn if pinned is None else drawn.add_vline(pinned, line={"color": INK, "width": 1, "dash": "dot"})


def tokens_bar(
    tokens: Sequence[str],
    values: ArrayLike,
    *,
    quantity: str,
    unit: str = "",
    pinned: int | None = None,
    log: bool = False,
) -> "Figure":
    """One bar a token, left to right; the pinned one stands out."""
    import plotly.graph_objects as go

    heights, labels = _flat(values), [token_label(token, n_chars=12) for token in tokens]
    hover = [
        f"{label}, position {position}: {quantity_label(height, unit)}"
        for position, (label, height) in enumerate(zip(labels, heights, strict=True))
    ]
    places = np.arange(len(labels))
    bars = go.Bar(x=places, y=heights, hovertext=hover, hoverinfo="text", marker=_standing_out(len(labels), pinned))
    shown = places[:: -(-len(labels) // MAX_TOKEN_LABELS) or 1]
    ticks = {"tickvals": shown, "ticktext": [labels[place] for place in shown], "tickangle": -45}
    across = {**ticks, "title": "token, by position", "showgrid": False}
    return figure([bars], across, _axis(axis_title(quantity, unit), log))


def spark(values: ArrayLike, *, colour: str = CLEAN, height: int = 40) -> "Figure":
    """A line without axes, to stand beside a sentence."""
    import plotly.graph_objects as go

    line = go.Scatter(y=_flat(values), mode="lines", line={"color": colour, "width": 2}, hoverinfo="skip")
    bare = {"visible": False, "fixedrange": True}
    return figure([line], bare, bare, height=height, margin={"l": 2, "r": 2, "t": 4, "b": 4})


def axis_title(quantity: str, unit: str = "") -> str:
    """An axis's name with its unit in brackets."""
    return escape(f"{quantity} ({unit})" if unit else quantity)


def _axis(title: str, log: bool) -> dict[str, Any]:
    return {**LOG_AXIS, "title": title} if log else {"title": title}


def _flat(values: ArrayLike) -> NDArray[Any]:
    return np.asarray(values).reshape(-1)


def _standing_out(n: int, pinned: int | None) -> dict[str, Any]:
    colours = [COMPARED if place == pinned else CLEAN for place in range(n)]
    return {"color": colours, "opacity": [1.0 if pinned in (None, place) else FAINT for place in range(n)]}
