"""The heat grid: one number for each row and column, such as layers by tokens, one cell pinned."""

from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st
from numpy.typing import ArrayLike

from ui.components.payload import colours, encode_floats, source, span_of, texts
from ui.components.pin import as_cell, settle

AROUND_CELLS_PX = 110
ROW_PX = 24
CELLS_PX = (96, 384)

_mount = st.components.v2.component(
    "steerscope_heat_grid",
    html=source("heat_grid", "html", shared=False),
    css=source("heat_grid", "css"),
    js=source("heat_grid", "js"),
)


def grid_height(n_rows: int) -> int:
    """Pixels that a grid of so many rows takes with its header, labels and footer."""
    least, most = CELLS_PX
    return AROUND_CELLS_PX + min(most, max(least, n_rows * ROW_PX))


def heat_grid(
    values: ArrayLike,
    row_names: Sequence[str],
    column_names: Sequence[str],
    *,
    key: str,
    label: str,
    unit: str,
    log: bool,
    pinned: tuple[int, int] | None,
    on_pin: Callable[[tuple[int, int] | None], None] | None = None,
    height: int | None = None,
    diverging: bool = False,
    row_axis: str = "layer",
    column_axis: str = "position",
    span: tuple[float, float] | None = None,
) -> tuple[int, int] | None:
    """Shows values [n_rows n_columns], row 0 at the bottom, and returns the (row, column) pinned after this run.

    NaN is shown as "no value". `pinned` is kept by the caller: a press on a cell (or an arrow key) pins another, a
    press on the pinned one unpins. `on_pin` is given the new pin to keep, and then the enclosing fragment is drawn
    again; without it the caller keeps what is returned and calls st.rerun(scope="fragment") itself. `height` is the
    whole component's in pixels (None: as many as the rows need). `row_axis` and `column_axis` name the axes. `span`
    fixes the ends of the colour range. `key` must not contain two underscores in a row.
    Raises ValueError if the names do not match the values.
    """
    numbers = np.asarray(values, dtype=np.float32)
    shape = (len(row_names), len(column_names))
    if numbers.shape != shape or 0 in shape:
        raise ValueError(f"heat_grid needs values of shape {shape} for its names, got {numbers.shape}")
    total = grid_height(shape[0]) if height is None else height
    shown = as_cell(pinned, shape)
    data = {
        "values": encode_floats(numbers),
        "row_names": texts(row_names),
        "column_names": texts(column_names),
        "row_axis": row_axis,
        "column_axis": column_axis,
        "label": label,
        "unit": unit,
        "pinned": shown,
        "log": log,
        "diverging": diverging,
        "palette": colours(diverging),
        "span": span_of(span),
        "height": total,
    }
    event = _mount(data=data, key=key, height=total, on_pin_change=lambda: None)["pin"]
    return settle(as_cell(event.get("cell"), shape), on_pin) if isinstance(event, dict) else shown
