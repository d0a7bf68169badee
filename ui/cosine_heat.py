"""The picture of directions against each other: their cosines, diverging around 0."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ui.charts import BAR_PX, DIVERGING, figure
from ui.numbers import escape

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_NUMBERED = 8
"""Rows up to which the numbers are written into the heat."""
LEAST_PX = 180


def cosine_heat(cosine: ArrayLike, gram: ArrayLike, names: Sequence[str]) -> "Figure":
    """Cosines of directions with each other; the dot product is on hover. Columns are told by their first word."""
    import plotly.graph_objects as go

    labels, rows = [escape(name) for name in names], np.asarray(cosine)
    is_numbered = len(labels) <= MAX_NUMBERED
    heat = go.Heatmap(
        z=rows,
        customdata=np.asarray(gram),
        zmin=-1,
        zmax=1,
        colorscale=list(DIVERGING),
        text=[[f"{value:.2f}" for value in row] for row in rows] if is_numbered else None,
        texttemplate="%{text}" if is_numbered else None,
        textfont={"size": 11},
        colorbar={"title": "cosine", "thickness": 8, "tickvals": [-1, 0, 1]},
        hovertemplate="cosine %{z:.3f}<br>dot product %{customdata:.3~g}<extra></extra>",
    )
    places = {"tickvals": np.arange(len(labels)), "showgrid": False, "zeroline": False}
    across = {**places, "ticktext": [label.split(" ")[0] for label in labels], "title": "step"}
    down = {**places, "ticktext": labels, "autorange": "reversed"}
    height = 72 + max(LEAST_PX, BAR_PX * len(labels))
    return figure([heat], across, down, height=height)
