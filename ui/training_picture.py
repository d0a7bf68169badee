"""The curve of an SAE's training as four small lines, while it grows: FVU, L0, dead latents, loss."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from sae.training_curve import SAE_FIGURES, Point, read_curve
from ui import charts
from ui.numbers import say_number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

HEIGHT_PX = 116
PLACES = {"fvu": (0, 1), "l0": (1, 1), "dead_share": (0, 0), "loss": (1, 0)}
"""Column and row of each, counted from the left and from below."""
GAP = 0.06


def draw_training_curve(folder: Path, key: str) -> None:
    """The curve of the training in a folder; nothing before its second point."""
    points = read_curve(folder, SAE_FIGURES)
    if len(points) > 1:
        st.plotly_chart(curve_figure(points), key=key, config={"displayModeBar": False})


def curve_figure(points: Sequence[Point]) -> "Figure":
    """Four small lines over the steps, each with its name and its last value."""
    import plotly.graph_objects as go

    steps = [point["step"] + 1 for point in points]
    traces, layout, notes = [], {}, []
    for n, (name, (column, row)) in enumerate(PLACES.items(), start=1):
        number = "" if n == 1 else str(n)
        hover = f"step %{{x:,}}: {_name(name)} %{{customdata}}<extra></extra>"
        traces.append(
            go.Scatter(
                x=steps,
                y=[point[name] for point in points],
                customdata=[say_value(name, point[name]) for point in points],
                mode="lines",
                line={"color": charts.COMPARED, "width": 1.5},
                hovertemplate=hover,
                xaxis=f"x{number}",
                yaxis=f"y{number}",
            )
        )
        left, bottom = 0.5 * column, 0.5 * row
        across, up = [left + GAP * column / 2, left + 0.5 - GAP * (1 - column) / 2], [bottom, bottom + 0.28]
        bare = {"showticklabels": False, "showgrid": False, "zeroline": False, "fixedrange": True}
        layout[f"xaxis{number}"] = {**bare, "domain": across, "anchor": f"y{number}"}
        layout[f"yaxis{number}"] = {**bare, "domain": up, "anchor": f"x{number}"}
        notes.append(_note(f"{_name(name)} {say_value(name, points[-1][name])}", across[0], up[1]))
    x, y = layout.pop("xaxis"), layout.pop("yaxis")
    margin = {"l": 0, "r": 0, "t": 0, "b": 4}
    return charts.figure(traces, x, y, height=HEIGHT_PX, margin=margin, annotations=notes, **layout)


def say_value(name: str, value: float) -> str:
    """One figure as it is shown."""
    return f"{value:.1%}" if name == "dead_share" else say_number(value)


def _name(name: str) -> str:
    return {"fvu": "FVU", "l0": "L0", "dead_share": "dead", "loss": "loss"}[name]


def _note(words: str, x: float, y: float) -> dict[str, object]:
    place = {"x": x, "y": y, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "bottom"}
    return {"text": words, "showarrow": False, "font": {"size": 12}, **place}
