"""A recipe on the shelf: opened in the steering lab as it is, and the dose-response that came with it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from ui import charts, state
from ui.boundary import boundary
from ui.curves import Curve, Mark, curves
from ui.library_rows import sweep_of
from ui.words import caption

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from steering.shelf import Shelved

LAB = "steering_lab"
KEY = "steerscope.library.recipe"
CONFIG = {"displayModeBar": False}


def draw_open(one: "Shelved", asked: Spec, pages: Mapping[str, Any]) -> None:
    """A button that gives the view this recipe in place of its changes."""
    help_words = "The changes of this view become those of the recipe, on the model that it names."
    if st.button("Open in the lab", type="primary", icon=":material/science:", help=help_words, key=f"{KEY}.open"):
        with boundary("opening the recipe"):
            from steering.recipe_file import named_recipe

            found = named_recipe(one.digest)
            recipe = tuple(change.recipe() for change in found.interventions)
            state.change(**({"model": found.model} if found.model not in ("", asked.model) else {}))
            state.change(interventions=recipe)
            if LAB in pages:
                go = state.session().asked.with_(lens=LAB, options={}, pins={})
                st.switch_page(pages[LAB], query_params=state.code_of(go))
            st.rerun()


def draw_sweep(one: "Shelved") -> None:
    """The dose-response of the recipe, where its bundle had one that can be read."""
    found = sweep_of(one)
    try:
        shown = sweep_figures(found) if found else ()
    except (KeyError, TypeError, ValueError, AttributeError):
        return
    for place, figure in enumerate(shown):
        st.plotly_chart(figure, key=f"{KEY}-sweep-{place}", config=CONFIG)
    if shown:
        caption(
            "A sweep of this very recipe on the machine that exported it: the pairs and prompts shown did not choose "
            "the knee. The recipe stands where its line is. All are proxies."
        )


def sweep_figures(found: Mapping[str, Any]) -> "tuple[Figure, ...]":
    """Concept score, where pairs were given, and KL against strength, at the layer of the knee or of the recipe."""
    unit, standing = str(found["unit"]), found["standing"]
    layer = (found["knee"] or standing)["layer"]
    doses = [one for one in found["doses"] if one["layer"] == layer] or list(found["doses"])
    x = [float(one["strength"]) for one in doses]
    marks = [Mark("x", float(standing["strength"]), "recipe", "top right")]
    shown = []
    if all(one["concept"] for one in doses):
        spread = {name: [float(one["concept"][name]) for one in doses] for name in ("mean", "low", "high")}
        own = Curve("this recipe", x, spread["mean"], charts.STEERED, low=spread["low"], high=spread["high"])
        shown.append(curves([own], x=f"strength ({unit})", y="concept (nats a token)", marks=marks, height=220))
    spread = {name: [float(one["kl"][name]) for one in doses] for name in ("mean", "low", "high")}
    cost = Curve("KL", x, spread["mean"], charts.CLEAN, low=spread["low"], high=spread["high"])
    budget = Mark("y", float(found["kl_budget"]), "budget")
    shown.append(curves([cost], x=f"strength ({unit})", y="KL (nats a token)", marks=[budget, *marks], height=200))
    return tuple(shown)
