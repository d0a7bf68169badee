"""Store & jobs: what is kept, what it costs, and what runs."""

from typing import TYPE_CHECKING

import streamlit as st

from ui import resources
from ui.numbers import say_number

if TYPE_CHECKING:
    from ui.shell import Context

TITLE = "Store & jobs"
QUESTION = "What is kept on this machine, and what is running?"
IS_OF_ONE_TEXT = False


def draw(context: "Context") -> None:
    """What the store keeps, by kind."""
    rows = resources.store().contents()
    st.dataframe({"kind": [one.kind for one in rows], "objects": [say_number(one.n) for one in rows]})
