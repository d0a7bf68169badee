"""The changes that a view's forward passes are made under: listed in the rail, each with its value and a way out."""

from collections.abc import Callable, Mapping
from typing import Any

import streamlit as st

from analysis.spec import Spec, to_code
from ui import state
from ui.controller_words import CONTROLLER, controller_words
from ui.numbers import say_number
from ui.step_words import STEP, short_step_words, step_words
from ui.words import plain, shortened

EDIT_LATENT = "edit_latent"
MODES = {"add": "add", "clamp": "clamp", "ablate": "set to 0"}
COMPARED_LENS = "outliers"
"""The page whose numbers, by layer and token, show what a change does further on."""
LAB = "steering_lab"
Recipe = Mapping[str, Any]


def draw_changes(asked: Spec, pages: Mapping[str, Any]) -> None:
    """The list of changes; nothing where there is none."""
    if not asked.interventions:
        return
    with st.container(gap="xxsmall", key="steerscope-changes"):
        st.caption(
            "Changes",
            help="Every forward pass of this view is made under them, on every page. They are part of the link.",
        )
        for place, recipe in enumerate(asked.interventions):
            _one(place, recipe)
        if state.COMPARE in pages and (asked.text or asked.text_set):
            st.page_link(pages[state.COMPARE], label="Compare with clean", query_params=_clean_and_changed(asked))


def change_words(recipe: Recipe) -> str:
    """A change in a few words."""
    from analysis.side_difference import recipe_words

    if recipe.get("kind") == STEP:
        return short_step_words(recipe)
    if recipe.get("kind") == CONTROLLER:
        return controller_words(recipe)
    if recipe.get("kind") != EDIT_LATENT:
        return shortened(recipe_words(recipe), 60)
    name, value = f"latent {recipe.get('latent')}", _said(recipe.get("value"))
    return {"add": f"{name} + {value}", "clamp": f"{name} clamped to {value}"}.get(
        str(recipe.get("mode")), f"{name} set to 0"
    )


def _said(value: Any) -> str:
    return say_number(value) if isinstance(value, int | float) and not isinstance(value, bool) else "?"


def add_change(recipe: Recipe) -> None:
    """Put a change last in the list, or in the place of one of the same latent and SAE."""
    changes = list(state.session().asked.interventions)
    same = [place for place, one in enumerate(changes) if _is_of_same_latent(one, recipe)]
    if same:
        changes[same[0]] = recipe
    else:
        changes.append(recipe)
    state.change(interventions=tuple(changes))


def use_in_lab(recipe: Recipe, pages: Mapping[str, Any], model: str = "") -> None:
    """Go to the steering lab with this change behind those of the open page, or of the last one that was of a text.

    Of another `model` than that one's it begins anew: changes of one model say nothing to another.
    """
    session = state.session()
    subject = session.subject
    if session.is_of_one_text:
        subject = {name: getattr(session.asked, name) for name in state.SUBJECT}
    if model and model != subject["model"]:
        subject = {**subject, "model": model, "fingerprint": "", "interventions": ()}
    view = Spec(lens=LAB, options=session.options.get(LAB, {}), **subject)
    query = state.code_of(view.with_(interventions=(*view.interventions, recipe)))
    st.switch_page(pages[LAB], query_params=query)


def _is_of_same_latent(one: Recipe, other: Recipe) -> bool:
    return all(one.get(name) == other.get(name) for name in ("kind", "sae", "latent")) and "latent" in other


def _one(place: int, recipe: Recipe) -> None:
    with st.container(horizontal=True, vertical_alignment="center", gap="xxsmall"):
        if recipe.get("kind") == EDIT_LATENT:
            with st.popover(plain(change_words(recipe)), width="stretch"):
                _edit_latent(place, recipe)
        else:
            said = step_words(recipe) if recipe.get("kind") == STEP else None
            st.markdown(plain(shortened(change_words(recipe), 60)), help=said and plain(said), width="stretch")
        st.button(
            "",
            icon=":material/close:",
            type="tertiary",
            help="Remove this change",
            key=f"steerscope.change.{place}.remove",
            on_click=_remove,
            args=(place,),
        )


def _edit_latent(place: int, recipe: Recipe) -> None:
    st.segmented_control(
        "How",
        list(MODES),
        required=True,
        format_func=lambda mode: MODES[mode],
        help="Added to what it is, clamped to the value at every token, or set to 0. The SAE's error stays.",
        **state.bind(f"change.{place}.mode", recipe.get("mode"), _setter(place, "mode")),
    )
    st.number_input(
        "Value",
        step=1.0,
        format="%.3g",
        disabled=recipe.get("mode") == "ablate",
        **state.bind(f"change.{place}.value", float(recipe.get("value") or 0.0), _setter(place, "value")),
    )


def _setter(place: int, name: str) -> Callable[[Any], None]:
    def apply(value: Any) -> None:
        changes = list(state.session().asked.interventions)
        if value is not None and place < len(changes):
            changes[place] = {**changes[place], name: value}
            state.change(interventions=tuple(changes))

    return apply


def _remove(place: int) -> None:
    kept = [one for index, one in enumerate(state.session().asked.interventions) if index != place]
    state.change(interventions=tuple(kept))


def _clean_and_changed(asked: Spec) -> dict[str, str]:
    """Query parameters of the Compare page with the clean view on the left and the changed one on the right."""
    changed = asked.with_(lens=COMPARED_LENS, options={}, pins={})
    sides = {"left": to_code(changed.with_(interventions=())), "right": to_code(changed)}
    return state.code_of(Spec(state.COMPARE, options=sides))
