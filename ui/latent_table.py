"""The table of all latents: filtered by token, label and density, sorted, each a press away from its card."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.report import Report
from analysis.spec import digest_json
from ui import resources, state
from ui.changes import add_change
from ui.components.pin import is_fragment_run
from ui.latent_card import recipe_of
from ui.numbers import marked
from ui.words import caption

if TYPE_CHECKING:
    from sae.latent_card import DashboardFacts, LatentRow

SORTS = {
    "density": "density",
    "max": "largest value",
    "mean": "mean value",
    "kurtosis": "kurtosis",
    "label": "label",
    "latent": "number",
}
SHARES = (0.0, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0)
MAX_ROWS = 1000


def redraw_where_stale() -> None:
    """Draw the whole page where this run is of one part of it, and a press there changed what the others show."""
    session = state.session()
    if is_fragment_run() and (session.is_page_stale or session.has_changed):
        session.is_page_stale = False
        st.rerun()
    session.is_page_stale = False


def all_latents(report: Report, facts: "DashboardFacts") -> None:
    """Search, filters and the table."""
    from sae.dashboards import latent_rows

    st.markdown("### All latents")
    words, density, order, way = st.columns([3, 4, 2, 3], vertical_alignment="bottom")
    search = words.text_input(
        "Search",
        placeholder="token, label or number",
        help="Finds what a latent fires on or promotes, its label, and its number.",
        key="steerscope.latent-search",
    )
    low, high = density.select_slider(
        "Density", SHARES, (0.0, 1.0), format_func=lambda share: f"{100 * share:g} %", key="latents-density"
    )
    sort = order.selectbox("Sort by", list(SORTS), format_func=lambda one: SORTS[one], key="latents-sort")
    first = way.segmented_control("First", ["largest", "smallest"], default="largest", required=True, key="latents-way")
    descending = first == "largest"
    rows = latent_rows(
        resources.store(),
        facts.id,
        search=search or "",
        sort=sort,
        descending=descending,
        low_density=low,
        high_density=high,
        limit=MAX_ROWS + 1,
    )
    if not rows:
        caption("No latent is like that: search for another word, or widen the density.")
        return
    _table(report, rows[:MAX_ROWS], f"{search} {sort} {descending} {low} {high}")
    more = "The first " if len(rows) > MAX_ROWS else ""
    caption(
        f"{more}{min(len(rows), MAX_ROWS):,} of {facts.d_sae:,} latents, seen on {facts.n_done:,} tokens of "
        f"{facts.texts}. Click a row for its card; a column's head sorts these rows."
    )


def _table(report: Report, rows: "tuple[LatentRow, ...]", asked: str) -> None:
    def add(row: int) -> None:
        add_change(recipe_of(report, rows[row].latent, "add", float(f"{rows[row].max or 1.0:.3g}")))

    def pinned(row: int) -> None:
        state.pin(latent=rows[row].latent)
        state.session().is_page_stale = True

    shown: dict[str, Any] = {
        "latent": [one.latent for one in rows],
        "change": ["Add"] * len(rows),
        "label": [one.label for one in rows],
        "density": [one.density for one in rows],
        "largest": [one.max for one in rows],
        "mean": [one.mean for one in rows],
        "values": [list(one.histogram.counts) for one in rows],
        "fires on": [_tokens(one.fires_on) for one in rows],
        "promotes": [_tokens(one.promotes) for one in rows],
    }
    digits = st.column_config.NumberColumn(format="%.3g")
    st.dataframe(
        shown,
        hide_index=True,
        height=420,
        placeholder="–",
        column_config={
            "latent": st.column_config.NumberColumn(format="%d"),
            "density": st.column_config.NumberColumn(format="percent", help="Share of tokens that it fires on"),
            "largest": digits,
            "mean": digits,
            "values": st.column_config.BarChartColumn(help="How its values spread, on a log axis"),
            "change": st.column_config.ButtonColumn(
                help="Add it to the changes of this view, at its largest value", **state.bind_row_buttons("add", add)
            ),
        },
        **state.bind_table(f"all-latents-{digest_json(asked)[:8]}", pinned),
    )


def _tokens(texts: tuple[str, ...]) -> str:
    return "  ".join(marked(text, 12) for text in texts)
