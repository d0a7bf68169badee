"""Library: the vectors, controllers and hypernetworks that can be named here: from what, how good, and where to."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from analysis.spec import Spec
from ui import resources, state
from ui.boundary import boundary
from ui.library_card import draw_card
from ui.library_import import draw_import
from ui.library_rows import TITLES, table_of
from ui.words import caption, plain

if TYPE_CHECKING:
    from steering.shelf import Shelved
    from ui.shell import Context

TITLE = "Library"
QUESTION = "What can I steer with, what was it made from, and where else can it go?"
EMPTY = {
    "vectors": "No vectors yet: import a file, or fit some in the steering lab.",
    "controllers": "No controllers yet: one that is trained here appears in this list.",
    "hypernetworks": "No hypernetworks yet: one that is trained here appears in this list.",
    "recipes": "No recipes yet: import the ZIP of a bundle, and its recipe is here, with all that it names.",
}
TEXTS_PX = 180
"""So that the terms of use are in sight at 1280 px."""
HOW_TO_READ = (
    "A row is one thing that a recipe can name, by the digest of its files. AUROC says how well its projection tells "
    "held-out texts apart; strength is the one chosen within a KL of 0.1 nats; steers says whether its effect there "
    "lies above that of chance vectors. A recipe opens in the steering lab with all its steps. What is bundled stays; "
    "your own are copies on this machine."
)


def draw(context: "Context") -> None:
    """The shelf, what is chosen on it, and a button that imports one more."""
    asked = context.spec
    with boundary("looking at the shelf"):
        chosen = _chosen(asked)
        kind = chosen.kind if chosen is not None else _kind(asked)
        with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
            _choose_kind(kind)
            draw_import(asked)
        shelf = _shelf(kind, asked)
        if not shelf:
            caption(EMPTY[kind])
            return
        _table(kind, shelf)
        if chosen is None and asked.options.get("item"):
            st.warning(
                plain(f"Nothing on the shelf is called {str(asked.options['item'])[:40]!r}: import its file again."),
                icon=":material/warning:",
            )
        draw_card(chosen or shelf[0], asked, context.pages)
        st.divider()
        st.markdown(f"**How to read this.** {plain(HOW_TO_READ)}")


def _kind(asked: Spec) -> str:
    kind = str(asked.options.get("kind", ""))
    return kind if kind in TITLES else "vectors"


def _chosen(asked: Spec) -> "Shelved | None":
    """What the link names by its digest; None for what is not here, and where nothing is named."""
    from steering.shelf import SHORT, shelved

    wanted = str(asked.options.get("item", ""))
    if len(wanted) < SHORT:
        return None
    return next((one for kind in TITLES for one in shelved(kind) if one.digest.startswith(wanted)), None)


def _choose_kind(kind: str) -> None:
    from steering.shelf import shelved

    counts = {kind: len(shelved(kind)) for kind in TITLES}

    def choose(new: str | None) -> None:
        if new:
            state.set_option("item", "")
            state.set_option("kind", new)

    st.segmented_control(
        "Kind",
        list(TITLES),
        required=True,
        label_visibility="collapsed",
        format_func=lambda one: f"{TITLES[one]} ({counts[one]})",
        **state.bind("library.kind", kind, choose),
    )


def _shelf(kind: str, asked: Spec) -> "list[Shelved]":
    """Those for the view's model first, each group in the order of the shelf."""
    from steering.shelf import shelved

    fingerprint = asked.fingerprint or resources.known_fingerprint(asked.model, asked.dtype)
    return sorted(shelved(kind), key=lambda one: (not one.fits(fingerprint), one.facts.get("model") != asked.model))


def _table(kind: str, shelf: "Sequence[Shelved]") -> None:
    digits = st.column_config.NumberColumn(format="%.3f")
    st.dataframe(
        table_of(shelf),
        hide_index=True,
        placeholder="–",
        height="content" if len(shelf) <= 10 else 390,
        column_config={
            "texts": st.column_config.TextColumn(width=TEXTS_PX),
            "AUROC": digits,
            "strength": st.column_config.NumberColumn(format="%.3g"),
        },
        **state.bind_table(f"library-{kind}", lambda row: state.set_option("item", shelf[row].digest[:12])),
    )
    caption("Click a row for its card.")
