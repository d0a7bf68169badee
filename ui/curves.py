"""Curves through points, such as a loss against a share: plotly figures from plain arrays, colours from `charts`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ui import charts
from ui.numbers import escape

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

BAND_OPACITY = 0.16


@dataclass(frozen=True)
class Curve:
    """A line through points; `low` and `high` are the band round it, `hover` says each point in words."""

    name: str
    x: ArrayLike
    y: ArrayLike
    colour: str = charts.CLEAN
    dash: str = "solid"
    width: float = 2
    mode: str = "lines"
    low: ArrayLike | None = None
    high: ArrayLike | None = None
    hover: Sequence[str] = ()


@dataclass(frozen=True)
class Mark:
    """A value with a name, drawn as a line across: of x from bottom to top, of y from left to right."""

    axis: str
    at: float
    label: str
    side: str = ""
    """Where the name stands, in plotly's words; at the top, of y at the right, unless given."""


def curves(
    shown: Sequence[Curve],
    *,
    x: str,
    y: str,
    log_x: bool = False,
    log_y: bool = False,
    marks: Sequence[Mark] = (),
    ring: tuple[float, float] | None = None,
    height: int = charts.HEIGHT_PX,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> "Figure":
    """Curves over common axes named `x` and `y`, with marks across and one place ringed."""
    traces = [trace for curve in shown for trace in (*_band(curve), _line(curve))]
    across, up = _axis(x, log_x, x_range), _axis(y, log_y, y_range)
    drawn = charts.figure(traces, across, up, height=height)
    for mark in marks:
        add = drawn.add_vline if mark.axis == "x" else drawn.add_hline
        side = mark.side or ("top right" if mark.axis == "y" else "top")
        words = {"text": escape(mark.label), "font": {"size": 11, "color": charts.INK}}
        add(mark.at, line={"color": charts.INK, "width": 1, "dash": "dot"}, annotation=words, annotation_position=side)
    if ring is not None:
        drawn.add_scatter(x=[ring[0]], y=[ring[1]], mode="markers", marker=_RING, showlegend=False, hoverinfo="skip")
    return drawn


_RING = {"color": charts.COMPARED, "size": 14, "symbol": "circle-open", "line": {"width": 3}}


def _line(curve: Curve) -> Any:
    import plotly.graph_objects as go

    words = {"text": [escape(one) for one in curve.hover], "hoverinfo": "text"} if curve.hover else {}
    return go.Scatter(
        x=np.asarray(curve.x, np.float64),
        y=np.asarray(curve.y, np.float64),
        name=escape(curve.name),
        mode=curve.mode,
        line={"color": curve.colour, "dash": curve.dash, "width": curve.width},
        marker={"color": curve.colour, "size": 7},
        **words,
    )


def _band(curve: Curve) -> list[Any]:
    import plotly.graph_objects as go

    if curve.low is None or curve.high is None:
        return []
    x = np.asarray(curve.x, np.float64)
    red, green, blue = (int(curve.colour[at : at + 2], 16) for at in (1, 3, 5))
    return [
        go.Scatter(
            x=np.concatenate([x, x[::-1]]),
            y=np.concatenate([np.asarray(curve.low, np.float64), np.asarray(curve.high, np.float64)[::-1]]),
            mode="lines",
            fill="toself",
            fillcolor=f"rgba({red}, {green}, {blue}, {BAND_OPACITY})",
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
    ]


def _axis(title: str, log: bool, span: tuple[float, float] | None) -> dict[str, Any]:
    axis: dict[str, Any] = {**charts.LOG_AXIS} if log else {}
    if span is not None:
        axis["range"] = [float(np.log10(end)) for end in span] if log else list(span)
    return {**axis, "title": escape(title)}
