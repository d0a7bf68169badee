"""The picture of directions against each other: their cosines, diverging around 0."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ui.charts import BAR_PX, DIVERGING, figure
from ui.numbers import escape

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_NUMBERED = 4
"""Rows up to which the numbers are written into the heat."""
LEAST_PX = 160


def cosine_heat(cosine: ArrayLike, gram: ArrayLike, marks: Sequence[str], names: Sequence[str]) -> "Figure":
    """Cosines of directions with each other; axes have short marks, the hover whole names and the dot product."""
    import plotly.graph_objects as go

    rows, products = np.asarray(cosine), np.asarray(gram)
    is_numbered = len(marks) <= MAX_NUMBERED
    whole = [escape(name) for name in names]
    hover = [
        [
            f"{one}<br>{other}<br>cosine {rows[i, j]:.3f}<br>dot product {products[i, j]:.3g}"
            for j, other in enumerate(whole)
        ]
        for i, one in enumerate(whole)
    ]
    heat = go.Heatmap(
        z=rows,
        zmin=-1,
        zmax=1,
        colorscale=list(DIVERGING),
        showscale=False,
        text=[[f"{value:.2f}" for value in row] for row in rows] if is_numbered else None,
        texttemplate="%{text}" if is_numbered else None,
        textfont={"size": 11},
        hovertext=hover,
        hoverinfo="text",
        xgap=1,
        ygap=1,
    )
    ticks = {"tickvals": np.arange(len(marks)), "ticktext": [escape(one) for one in marks], "showgrid": False}
    across, down = {**ticks, "tickangle": -90}, {**ticks, "autorange": "reversed"}
    return figure([heat], across, down, height=64 + max(LEAST_PX, BAR_PX * len(marks)))
