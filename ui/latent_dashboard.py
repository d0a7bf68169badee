"""The dashboard behind the Latents page: which one there is, and building one where there is none."""

import json
from typing import TYPE_CHECKING

import streamlit as st

from analysis.report import Report
from analysis.spec import to_code
from ui import resources, visitor
from ui.components.pin import is_fragment_run
from ui.frozen import is_cold
from ui.job_kinds import DASHBOARD, dashboard_recipe, queue, start_dashboard
from ui.numbers import say_number
from ui.words import plain

if TYPE_CHECKING:
    from sae.latent_card import DashboardFacts, Label, LatentCard, LatentRow
    from ui.queue import Standing

TEXT_SET = "stories"
POLL_S = 1.0


def dashboard_of(report: Report) -> "DashboardFacts | None":
    """The dashboard of the Report's SAE and model that has seen most; None where there is none yet.

    A cold kept view goes without, so that it opens at once.
    """
    store = resources.store()
    if store is None or is_cold():
        return None
    from sae.dashboards import dashboards_of

    found = dashboards_of(store, report.numbers["sae"]["digest"], str(report.facts.get("fingerprint", "")))
    return max(found, key=lambda one: one.n_done, default=None)


def labels_of(report: Report) -> "dict[int, Label]":
    """The newest label of each latent of the Report's SAE, with or without a dashboard."""
    store = resources.store()
    if store is None or is_cold():
        return {}
    from sae.dashboards import labels

    return labels(store, report.numbers["sae"]["digest"])


def card_of(facts: "DashboardFacts | None", latent: int | None) -> "LatentCard | None":
    """The card of one latent; None where it is not built yet."""
    if facts is None or latent is None:
        return None
    from sae.dashboards import card

    return card(resources.store(), facts.id, latent)


def rows_of(facts: "DashboardFacts | None", latents: list[int]) -> "dict[int, LatentRow]":
    """The rows of some latents by number; empty where there is no dashboard."""
    if facts is None or not latents:
        return {}
    from sae.dashboards import row_of

    return row_of(resources.store(), facts.id, latents)


def offer_dashboard(report: Report) -> None:
    """The button that builds a dashboard where there is none, and how far one is that is being built."""
    facts = dashboard_of(report)
    if resources.store() is None or is_cold() or (facts is not None and facts.is_complete):
        return
    job = _job(report)
    if job is not None:
        st.fragment(_progress, run_every=POLL_S)(report, job, facts.n_done if facts else 0)
        return
    text_set = report.spec.text_set or TEXT_SET
    seen = "No cards yet" if facts is None else f"The cards have seen {say_number(100 * facts.share)} % of their text"
    words = f"{seen}: one pass over the text set {text_set} makes those of all latents."
    with st.container(horizontal=True, vertical_alignment="center", border=True, key="steerscope-dashboard"):
        st.markdown(plain(words), width="content")
        st.button("Build the cards", type="primary", on_click=_start, args=(report, text_set))


def _start(report: Report, text_set: str) -> None:
    spec, sae = report.spec, report.numbers["sae"]
    view = to_code(spec.with_(options={"sae": sae["digest"]}, interventions=(), pins={}))
    recipe = dashboard_recipe(spec.model, spec.dtype, sae["digest"], text_set=text_set, bos=spec.bos, view=view)
    start_dashboard(recipe, visitor.owner(), f"{sae['name']}, cards from {text_set}")


def _job(report: Report) -> "Standing | None":
    """The visitor's job that builds cards of this SAE now."""
    digest = report.numbers["sae"]["digest"]
    mine = (one for one in queue().jobs(visitor.owner()) if one.is_active and one.row.kind == DASHBOARD)
    return next((one for one in mine if json.loads(one.row.recipe)["sae"] == digest), None)


def _progress(report: Report, job: "Standing", seen: int) -> None:
    """How far the build is; a page whose cards are new is drawn again once, and when all are there."""
    now = next((one for one in queue().jobs(visitor.owner()) if one.row.id == job.row.id), None)
    if now is None or not now.is_active:
        st.rerun()
        return
    st.progress(now.row.share, text=plain(f"Building the cards of all latents: {now.row.words}"))
    if is_fragment_run():
        resources.spare_collector()
        facts = dashboard_of(report)
        if facts is not None and facts.n_done > seen:
            st.rerun()
