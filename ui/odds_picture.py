"""Preference and utility odds over the strength: what was measured, and the law through it, against the clean model."""

from typing import TYPE_CHECKING

import numpy as np

from ui import charts
from ui.curves import Curve, curves
from ui.numbers import say_number

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from steering.odds_curve import OddsCurve

COLOURS = {"preference": charts.STEERED, "utility": charts.COMPARED}
HEIGHT_PX = 200
N_DRAWN = 121
"""Strengths at which the law is drawn."""


def odds_figure(curve: "OddsCurve") -> "Figure":
    """Both odds less what they are at the start: points as measured, a dashed line for the law."""
    strengths = [one.strength for one in curve.points]
    lines = []
    for name, colour in COLOURS.items():
        start = getattr(curve.start, name)
        if curve.law is not None:
            drawn = np.linspace(min(strengths), max(strengths), N_DRAWN)
            law = getattr(curve.law, name)(drawn.tolist()) - start
            known = np.isfinite(law)
            lines.append(Curve(f"{name}, by the law", drawn[known], law[known], colour, dash="dash", width=1.5))
        moved = [getattr(one, name) - start for one in curve.points]
        words = [
            f"{name} odds at strength {say_number(one.strength)}: {say_number(getattr(one, name))} nats"
            for one in curve.points
        ]
        lines.append(Curve(name, strengths, moved, colour, mode="markers", hover=words))
    since = "clean" if curve.start.strength == 0 else f"those at {say_number(curve.start.strength)}"
    figure = curves(lines, x="strength", y=f"odds less {since} (nats)", height=HEIGHT_PX)
    # The law has the colour of its points: one name for both keeps the legend in one line.
    figure.update_traces(showlegend=False, selector={"mode": "lines"})
    return figure.update_layout(margin={"l": 4, "r": 8, "t": 28, "b": 4})
