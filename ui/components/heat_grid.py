"""The heat grid: one number for each row and column, such as layers by tokens, one cell pinned."""

from collections.abc import Sequence

import numpy as np
import streamlit as st
from numpy.typing import ArrayLike

from ui.components.payload import as_index, colours, encode_floats, source, span_of, texts

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
    height: int | None = None,
    diverging: bool = False,
    row_axis: str = "layer",
    column_axis: str = "position",
    span: tuple[float, float] | None = None,
) -> tuple[int, int] | None:
    """Shows values [n_rows n_columns], row 0 at the bottom, and returns the (row, column) pinned after this run.

    NaN is shown as "no value". `pinned` is the cell that the caller keeps; a press on a cell (or an arrow key) returns
    another one, a press on the pinned cell returns None, and the caller keeps what was returned. `height` is the whole
    component's in pixels (None: as many as the rows need). `row_axis` and `column_axis` name the axes. `span` fixes the
    ends of the colour range. `key` must not contain two underscores in a row.
    Raises ValueError if the names do not match the values.
    """
    numbers = np.asarray(values, dtype=np.float32)
    shape = (len(row_names), len(column_names))
    if numbers.shape != shape or 0 in shape:
        raise ValueError(f"heat_grid needs values of shape {shape} for its names, got {numbers.shape}")
    total = grid_height(shape[0]) if height is None else height
    data = {
        "values": encode_floats(numbers),
        "row_names": texts(row_names),
        "column_names": texts(column_names),
        "row_axis": row_axis,
        "column_axis": column_axis,
        "label": label,
        "unit": unit,
        "pinned": _as_cell(pinned, shape),
        "log": log,
        "diverging": diverging,
        "palette": colours(diverging),
        "span": span_of(span),
        "height": total,
    }
    event = _mount(data=data, key=key, height=total, on_pin_change=lambda: None)["pin"]
    return _as_cell(event.get("cell"), shape) if isinstance(event, dict) else pinned


def _as_cell(cell: object, shape: tuple[int, int]) -> tuple[int, int] | None:
    if not isinstance(cell, list | tuple) or len(cell) != 2:
        return None
    row, column = as_index(cell[0], shape[0]), as_index(cell[1], shape[1])
    return None if row is None or column is None else (row, column)
