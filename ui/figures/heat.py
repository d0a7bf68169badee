"""The heat of an export: one number for each layer and token, the pinned cell marked."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ui import charts
from ui.numbers import escape, quantity_label, say_number, token_label

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

MAX_HOVER_TEXTS = 20_000
ROW_PX, AROUND_PX, CELLS_PX = 24, 96, (96, 480)


def layers_by_tokens(
    values: ArrayLike,
    tokens: Sequence[str],
    *,
    quantity: str,
    unit: str = "",
    log: bool = False,
    diverging: bool = False,
    pinned: tuple[int, int] | None = None,
) -> "Figure":
    """Values [layer pos] as colours, layer 0 at the bottom; on a log scale what is not above 0 has no colour.

    Diverging colours are white at 0.
    """
    import plotly.graph_objects as go

    numbers = np.asarray(values, dtype=np.float64)
    labels = [token_label(token, n_chars=12) for token in tokens]
    with np.errstate(divide="ignore", invalid="ignore"):
        shade = np.log10(numbers) if log else numbers
    shade = np.where(np.isfinite(shade), shade, np.nan)
    cells = go.Heatmap(
        z=shade.astype(np.float32),
        colorscale=list(charts.DIVERGING if diverging else charts.SEQUENTIAL),
        zmid=0 if diverging else None,
        colorbar={"thickness": 12, "outlinewidth": 0, **_ticks(shade, log, unit)},
        **_hover(numbers, labels, unit),
    )
    shown = np.arange(0, len(labels), -(-len(labels) // charts.MAX_TOKEN_LABELS) or 1)
    across = {"tickvals": shown, "ticktext": [labels[place] for place in shown], "tickangle": -45}
    least, most = CELLS_PX
    drawn = charts.figure(
        [cells],
        {**across, "title": "token, by position", "showgrid": False, "zeroline": False},
        {"title": "layer", "dtick": max(1, len(numbers) // 12), "showgrid": False, "zeroline": False},
        height=AROUND_PX + min(most, max(least, ROW_PX * len(numbers))),
        meta={"quantity": charts.axis_title(quantity, unit)},
    )
    return drawn if pinned is None else drawn.add_shape(**_ring(*pinned))


def _ring(layer: int, pos: int) -> dict[str, Any]:
    edges = {"x0": pos - 0.5, "x1": pos + 0.5, "y0": layer - 0.5, "y1": layer + 0.5}
    return {"type": "rect", "line": {"color": charts.STEERED, "width": 3}, **edges}


def _hover(numbers: np.ndarray, labels: Sequence[str], unit: str) -> dict[str, Any]:
    """A sentence for each cell; of a very large heat the numbers alone, so that an export stays small."""
    if numbers.size > MAX_HOVER_TEXTS:
        return {"hovertemplate": "position %{x}, layer %{y}<extra></extra>"}
    texts = [
        [
            f"{label}, position {pos}, layer {layer}: {quantity_label(value, unit)}"
            for pos, (label, value) in enumerate(zip(labels, row, strict=True))
        ]
        for layer, row in enumerate(numbers.tolist())
    ]
    return {"hovertext": texts, "hoverinfo": "text"}


def _ticks(shade: np.ndarray, log: bool, unit: str) -> dict[str, Any]:
    known = shade[np.isfinite(shade)]
    title = {"title": {"text": escape(unit)}}
    if not log or not len(known):
        return title
    places = np.linspace(known.min(), known.max(), 5) if known.max() > known.min() else known[:1]
    return {**title, "tickvals": places, "ticktext": [say_number(float(10**place)) for place in places]}
