"""The pin of a component: read from what the browser sent, and handed to whoever keeps it."""

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

Place = TypeVar("Place")


def as_index(value: object, length: int) -> int | None:
    """The index where it is one of 0 to length - 1, else None: neither a browser nor a link is to be trusted."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return int(value) if is_whole and 0 <= value < length else None  # type: ignore[call-overload, operator]


def as_cell(cell: object, shape: tuple[int, int]) -> tuple[int, int] | None:
    """The (row, column) where both are inside the shape, else None."""
    if not isinstance(cell, list | tuple) or len(cell) != 2:
        return None
    row, column = as_index(cell[0], shape[0]), as_index(cell[1], shape[1])
    return None if row is None or column is None else (row, column)


def settle(new: Place | None, on_pin: Callable[[Place | None], None] | None) -> Place | None:
    """Hands a new pin to its keeper and draws the enclosing fragment again, else the page; returns it without a keeper.

    Drawing again ends this run, so that what was drawn before the component sees the pin as well.
    """
    if on_pin is not None:
        on_pin(new)
        # A press that a run of the whole page answers cannot draw a fragment alone.
        st.rerun(scope="fragment" if is_fragment_run() else "app")
    return new


def is_fragment_run() -> bool:
    """Whether this run draws fragments only, and not the whole page."""
    context = get_script_run_ctx()
    return context is not None and bool(context.fragment_ids_this_run)
