"""Order by dragging: which card of the lab's recipe was dropped where."""

from collections.abc import Callable

import streamlit as st

from ui.components.payload import source
from ui.components.pin import as_index

HANDLE = ":material/drag_indicator:"
"""What a card is dragged by; order.js knows it by the name that Streamlit gives it."""

_mount = st.components.v2.component("steerscope_order", html="<span></span>", js=source("order", "js", shared=False))


def draw_order(n_cards: int, on_move: Callable[[int, int], None]) -> None:
    """Listen for a drop; `on_move(place, by)` is called for one, and then the page is drawn again."""
    dropped = _mount(data={}, key="steerscope-lab-order", on_order_change=lambda: None)["order"]
    if not isinstance(dropped, dict):
        return
    place, to = (as_index(dropped.get(name), n_cards) for name in ("from", "to"))
    if place is not None and to is not None and place != to:
        on_move(place, to - place)
        st.rerun()
