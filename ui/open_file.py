"""Opening a view file: what somebody else shared is kept here under its id, and shown without its model."""

from typing import Any

import streamlit as st

from analysis.link import Link
from analysis.view_file import MAX_FILE_BYTES, SUFFIX
from capture.errors import UserError
from ui import resources, state
from ui.boundary import boundary

KINDS = (SUFFIX, ".html")


def draw_open(pages: dict[str, Any]) -> None:
    """A button in the rail that asks for a file, keeps its view and goes there."""
    with st.popover("Open a view file", icon=":material/folder_open:", width="stretch", key="steerscope.open"):
        st.caption("A file from Share, or a page from Export: its own numbers, and no model is needed.")
        given = st.file_uploader(
            "View file or exported page",
            type=[kind.removeprefix(".") for kind in KINDS],
            max_upload_size=MAX_FILE_BYTES // 1_000_000,
            key=f"steerscope.file.{state.session().n_opened}",
            label_visibility="collapsed",
        )
        if given is not None:
            with boundary("opening the file"):
                _open(given.getvalue(), pages)


def _open(data: bytes, pages: dict[str, Any]) -> None:
    from ui.view_html import view_of_bytes

    view = view_of_bytes(data)
    if view.spec.lens not in pages:
        message = f"This file is of a page {view.spec.lens[:40]!r}, which is not here."
        raise UserError(message, f"The pages are: {', '.join(pages)}.")
    identity = resources.keep_view(view)
    # Another key empties the uploader, which would go there again with every run.
    state.session().n_opened += 1
    st.switch_page(pages[view.spec.lens], query_params=Link(id=identity).query())
