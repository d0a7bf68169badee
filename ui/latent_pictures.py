"""The pictures of the Latents page as it shows them: its figures, the token strip and tables that a person presses."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from analysis.report import Report
from ui import state
from ui.changes import add_change
from ui.drawn import show_strip
from ui.figures import latents as figures
from ui.figures.latent_place import Place, along_text, latents_at
from ui.latent_card import recipe_of
from ui.latent_dashboard import labels_of
from ui.numbers import marked, say_number
from ui.words import caption, plain

if TYPE_CHECKING:
    from sae.latent_card import LatentRow

NONE_HERE = "No latent fires on this token."
NOT_COUNTED = "The SAE was trained without position 0, so that what it would make of this token means nothing."


def strip(report: Report, place: Place, on_pin: Callable[[int | None], None]) -> None:
    """The tokens, each on the heat of the pinned latent."""
    drawn = figures.strip(report, {"pos": place.pos, "latent": place.latent})
    show_strip(drawn, "latents-strip", place.pos, on_pin)


def token_latents(report: Report, place: Place, known: "Mapping[int, LatentRow]") -> None:
    """The latents that fire on the pinned token, largest first; a press opens one's card, or adds it to the changes."""
    assert place.pos is not None  # a text has tokens
    st.markdown(f"#### {plain(marked(report.numbers['tokens'][place.pos]))}")
    here = latents_at(report, place.pos)
    share = report.arrays["error_share"][place.pos]
    if np.isnan(share):
        caption(NOT_COUNTED)
        return
    st.caption(
        plain(f"position {place.pos}: {len(here)} latents fire; {say_number(100 * share)} % of the norm is left out")
    )
    if not here:
        caption(NONE_HERE)
        return

    def add(row: int) -> None:
        add_change(recipe_of(report, here[row][0], "add", float(f"{here[row][1]:.3g}")))

    latents, labels = [latent for latent, _ in here], labels_of(report)
    rows: dict[str, Any] = {
        "latent": latents,
        "value": [value for _, value in here],
        "on this text": [np.nan_to_num(along_text(report, latent)).tolist() for latent in latents],
        "label": [labels[latent].text if latent in labels else "" for latent in latents],
        "density": [known[latent].density if latent in known else None for latent in latents],
        "change": ["Add"] * len(here),
    }
    if not known:
        del rows["density"]
    button = st.column_config.ButtonColumn(
        help="Add it to the changes of this view, at the value it has here",
        **state.bind_row_buttons(f"add-of-token-{place.pos}", add),
    )
    st.dataframe(
        rows,
        hide_index=True,
        height=390,
        placeholder="–",
        column_config={
            "latent": st.column_config.NumberColumn(format="%d"),
            "value": st.column_config.NumberColumn(format="%.3g"),
            "on this text": st.column_config.BarChartColumn(
                help="Its value on each token, left to right.", y_min=0, width=110
            ),
            "density": st.column_config.NumberColumn(format="percent", help="Share of the dashboard's tokens."),
            "change": button,
        },
        **state.bind_table(f"token-latents-{place.pos}", lambda row: state.pin(latent=here[row][0])),
    )
    caption("Click a row for the latent's card.")
