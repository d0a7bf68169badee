"""Pictures of a controller: s and w by prompt, how far s can be taken at its word, effect against side effect."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ui import charts
from ui.numbers import escape, say_number
from ui.words import shortened

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

KINDS = {True: ("targets", charts.STEERED, "circle"), False: ("others", charts.CLEAN, "line-ns-open")}
PROMPT_CHARS = 70
SYSTEM_COLOURS = {"constant": charts.CLEAN, "CAST": charts.CAUTION, "labels known": charts.THIRD_STEERED}
OWN_COLOURS = (charts.STEERED, charts.SECOND_STEERED, charts.COMPARED)


def prompts_figure(prompts: Sequence[Mapping[str, Any]], layers: Sequence[int]) -> "Figure":
    """Above s of every held-out prompt, lowest first, marked by what it is; below the weight of each block on it."""
    import plotly.graph_objects as go

    order = sorted(range(len(prompts)), key=lambda n: prompts[n]["decision"]["s"])
    rows = [prompts[n] for n in order]
    said = [escape(shortened(one["text"], PROMPT_CHARS)) for one in rows]
    traces: list[Any] = []
    for wanted, (name, colour, symbol) in KINDS.items():
        places = [n for n, one in enumerate(rows) if one["is_target"] == wanted]
        traces.append(
            go.Scatter(
                x=places,
                y=[rows[n]["decision"]["s"] for n in places],
                text=[said[n] for n in places],
                name=name,
                mode="markers",
                marker={"color": colour, "size": 7, "symbol": symbol, "line": {"width": 1.5}},
                hovertemplate="s %{y:.2f}<br>%{text}<extra></extra>",
            )
        )
    weights = [[one["decision"]["weights"][place] for one in rows] for place in range(len(layers))]
    bar = {"title": {"text": "w"}, "thickness": 10, "len": 0.42, "y": 0.17, "tickfont": {"size": 11}}
    traces.append(
        go.Heatmap(
            z=weights,
            y=[str(layer) for layer in layers],
            zmin=0,
            zmax=1,
            colorscale=list(charts.SEQUENTIAL),
            colorbar=bar,
            hovertemplate="block %{y}, prompt %{x}<br>w %{z:.2f}<extra></extra>",
            yaxis="y2",
        )
    )
    across = {"title": "held-out prompt, by s", "anchor": "y2", "zeroline": False}
    layout = {"yaxis2": {"domain": [0, 0.32], "title": "block", "type": "category", "showgrid": False}}
    return charts.figure(traces, across, {"domain": [0.42, 1], "title": "s"}, height=380, **layout)


def reliability_figure(bins: Sequence[Mapping[str, Any]]) -> "Figure":
    """What share of the prompts were targets where the controller said so much; a perfect one lies on the line."""
    import plotly.graph_objects as go

    line = {"color": charts.INK, "dash": "dash", "width": 1}
    ideal = go.Scatter(x=[0, 1], y=[0, 1], mode="lines", line=line, hoverinfo="skip")
    counts = [one["n"] for one in bins]
    points = go.Scatter(
        x=[one["said"] for one in bins],
        y=[one["true"] for one in bins],
        mode="lines+markers",
        line={"color": charts.COMPARED, "width": 2},
        marker={"size": [5 + 9 * (n / max(counts)) ** 0.5 for n in counts]},
        text=[f"{n} prompts" for n in counts],
        hovertemplate="said %{x:.2f}, true %{y:.2f}<br>%{text}<extra></extra>",
    )
    across = {"title": "probability that the controller says", "range": [-0.02, 1.02]}
    return charts.figure([ideal, points], across, {"title": "share of targets", "range": [-0.05, 1.05]})


def dose_figure(systems: Sequence[Mapping[str, Any]], limit: float) -> "Figure":
    """Mean effect on targets against mean side effect on others, dose by dose; up and to the left is better."""
    import plotly.graph_objects as go

    traces = []
    for n, one in enumerate(systems):
        colour = SYSTEM_COLOURS.get(one["name"], OWN_COLOURS[n % len(OWN_COLOURS)])
        doses = one["doses"]
        low = [0.0, *(dose["effect"]["mean"] - dose["effect"]["low"] for dose in doses)]
        high = [0.0, *(dose["effect"]["high"] - dose["effect"]["mean"] for dose in doses)]
        traces.append(
            go.Scatter(
                x=[0.0, *(dose["side_effect"]["mean"] for dose in doses)],
                y=[0.0, *(dose["effect"]["mean"] for dose in doses)],
                error_y={"array": high, "arrayminus": low, "thickness": 1, "width": 2},
                name=escape(one["name"]),
                mode="lines+markers",
                line={"color": colour, "dash": charts.DASHES[n % len(charts.DASHES)], "width": 2},
                marker={"size": 6},
                text=["no steering", *(f"{say_number(dose['dose'])} × α" for dose in doses)],
                hovertemplate=f"{escape(one['name'])}, %{{text}}<br>effect %{{y:.3f}}, KL %{{x:.3f}}<extra></extra>",
            )
        )
    across = {"title": "side effect on other prompts (KL, nats per token)", "range": [-0.02 * limit, limit]}
    top = max((_height(one, limit) for one in systems), default=1.0)
    up = {"title": "effect on targets (nats per token)", "range": [-0.05 * top, 1.15 * top]}
    return charts.figure(traces, across, up, height=340)


def _height(system: Mapping[str, Any], limit: float) -> float:
    """The highest effect of a system within the picture; one without side effects would flatten all others."""
    shown = [dose for dose in system["doses"] if 0 < dose["side_effect"]["mean"] <= limit]
    return max((dose["effect"]["high"] for dose in shown), default=0.0)


def weights_figure(layers: Sequence[int], weights: Sequence[float]) -> "Figure":
    """The weight of each block on one prompt, block 0 at the bottom."""
    import plotly.graph_objects as go

    bars = go.Bar(
        x=list(weights),
        y=[str(layer) for layer in layers],
        orientation="h",
        marker={"color": charts.STEERED},
        text=[f"{w:.2f}" for w in weights],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="block %{y}: w %{x:.3f}<extra></extra>",
    )
    up = {"title": "block", "type": "category", "showgrid": False}
    return charts.figure([bars], {"title": "weight w", "range": [0, 1.15]}, up, height=70 + 26 * len(layers))
