"""The dashboard behind the Latents page: which one there is, and building one where there is none."""

from typing import TYPE_CHECKING

from analysis.report import Report
from ui import resources
from ui.frozen import is_cold

if TYPE_CHECKING:
    from sae.latent_card import DashboardFacts, LatentCard, LatentRow


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
    """The button that builds a dashboard, or how far it is."""
