"""The card of one step in the lab's recipe: name, order, mute and solo, strength, scope, and the rest in a popover."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from capture.errors import UserError
from ui import recipe_edit as edit
from ui import state
from ui.boundary import tell
from ui.changes import change_words
from ui.components.order import HANDLE
from ui.lab_condition import draw_condition
from ui.lab_places import draw_ends, draw_ranges, draw_schedule, draw_weights
from ui.recipe_edit import Recipe
from ui.step_words import (
    SCOPES,
    STEP,
    UNITS,
    condition_words,
    place_words,
    points_of,
    schedule_words,
    verb,
    weight_bars,
)
from ui.words import plain, shortened

if TYPE_CHECKING:
    from steering.recipe import Step

NO_LIMIT = 1e6
EXACT_PX = 76
N_STEPS = 100
"""Places of a slider between the ends of its range."""


def draw_step(place: int, recipe: Recipe, n_steps: int, asked: Spec) -> None:
    """One card; of a recipe that cannot be read the sentence that says why, and a way out."""
    from capture.intervention import operator_from_recipe

    with st.container(border=True, gap="xsmall", key=f"steerscope-lab-step-{place}"):
        more = _head(place, recipe, n_steps)
        try:
            read: Any = operator_from_recipe(dict(recipe if recipe.get("kind") == STEP else _as_read(recipe)))
        except UserError as error:
            tell(error, "reading this step")
            return
        if recipe.get("kind") == STEP or not edit.has_own_controls(recipe):
            _body(place, recipe if recipe.get("kind") == STEP else edit.as_step(recipe), read)
            with more, st.popover("More", type="tertiary", key=f"steerscope-lab-more-{place}"):
                _more(place, read, asked)
        elif isinstance(recipe.get("strength"), int | float):
            st.caption(plain(change_words(recipe)))
            _strength(place, float(recipe["strength"]), (-2.0, 2.0), 1.0)


def _as_read(recipe: Recipe) -> Mapping[str, Any]:
    return recipe if edit.has_own_controls(recipe) else edit.as_step(recipe)


def _head(place: int, recipe: Recipe, n_steps: int) -> Any:
    """Name and buttons; returns the row of buttons, for what is put behind them."""
    name = str(recipe.get("name") or (verb(recipe) if recipe.get("kind") != STEP else "step"))
    handle = f":gray[{HANDLE}] " if n_steps > 1 else ""
    st.markdown(f"{handle}**{place + 1}** {plain(shortened(name, 60))}")
    row = st.container(horizontal=True, vertical_alignment="center", gap="xsmall")
    with row:
        _button(place, "up", ":material/arrow_upward:", "Earlier", edit.move, -1, is_off=place == 0)
        _button(place, "down", ":material/arrow_downward:", "Later", edit.move, 1, is_off=place == n_steps - 1)
        for letter, field, words in (("M", "is_muted", "Mute"), ("S", "is_solo", "Solo: only this and others in solo")):
            is_on = recipe.get(field) is True
            st.button(
                letter,
                type="primary" if is_on else "tertiary",
                help=f"{words}{' (on)' if is_on else ''}",
                key=f"steerscope.lab.{place}.{field}",
                on_click=edit.set_fields,
                args=(place,),
                kwargs={field: not is_on},
            )
        _button(place, "remove", ":material/close:", "Remove this step", edit.remove)
    return row


def _button(place: int, name: str, icon: str, words: str, act: Any, *more: Any, is_off: bool = False) -> None:
    st.button(
        "",
        icon=icon,
        type="tertiary",
        help=words,
        disabled=is_off,
        key=f"steerscope.lab.{place}.{name}",
        on_click=act,
        args=(place, *more),
    )


def _body(place: int, recipe: Recipe, step: "Step") -> None:
    from steering.strength_range import strength_range

    points = points_of(recipe)
    layers = sorted({at.layer for at in points if at.layer is not None})
    bars = f" {weight_bars([step.weights.get(layer, 1.0) for layer in layers])}" if len(layers) > 1 else ""
    verbs = ", ".join(dict.fromkeys(verb(one) for one in recipe["changes"]))
    said = [f"{verbs} at {place_words(points)}{bars}", schedule_words(recipe), condition_words(recipe)]
    st.caption(plain(" · ".join(part for part in said if part)))
    _strength(place, step.strength, strength_range(step), step.usual_strength)
    _scope(place, step)
    if step.scope.kind == "ranges":
        draw_ranges(place, step)
    elif step.scope.kind == "prompt_ends":
        draw_ends(place, step)


def _strength(place: int, strength: float, limits: tuple[float, float], usual: float) -> None:
    """Slider, number box and reset, bound to one number."""
    from steering.strength_range import rounded_up

    low, high = limits
    span = high - low or 1.0
    fine = rounded_up(span / N_STEPS)
    typed = state.session().drafts.get(f"lab.{place}.exact")
    key = f"steerscope-strength-{place}"
    with st.container(horizontal=True, vertical_alignment="bottom", gap="xsmall", key=key):
        st.slider(
            "Strength",
            low,
            low + span,
            step=fine,
            format="%.3g",
            **state.bind(f"lab.{place}.strength", strength, edit.setter(place, "strength")),
        )
        st.number_input(
            "Strength, exactly",
            step=5 * fine,
            width=EXACT_PX,
            format="%.4g",
            label_visibility="collapsed",
            **state.bind(
                f"lab.{place}.exact",
                strength if typed is None else float(typed),
                lambda given: _take_strength(place, given),
            ),
        )
        st.button(
            "",
            icon=":material/undo:",
            type="tertiary",
            help=f"Back to {usual:g}",
            disabled=typed is None and strength == usual,
            key=f"steerscope.lab.{place}.reset",
            on_click=edit.set_fields,
            args=(place,),
            kwargs={"strength": usual},
        )
    if typed is not None:
        tell(too_strong(float(typed)), "reading the strength")


def _take_strength(place: int, given: float | None) -> None:
    """Take a strength within the limit, and keep another as a draft that the card speaks of."""
    if given is None or abs(given) <= NO_LIMIT:
        edit.setter(place, "strength")(given)
    else:
        state.session().drafts[f"lab.{place}.exact"] = str(given)


def too_strong(given: float) -> UserError:
    """Why a strength is refused."""
    return UserError(
        f"A strength lies between −{NO_LIMIT:,.0f} and {NO_LIMIT:,.0f}; {given:,.0f} was given.",
        "Type a smaller one; until then the recipe stays as it was.",
    )


def takes_scope(step: "Step") -> bool:
    """Whether all its changes can be told where to act."""
    return all(hasattr(change, "ranges") for change in step.changes)


def _scope(place: int, step: "Step") -> None:
    st.selectbox(
        "Tokens",
        list(SCOPES),
        format_func=lambda kind: SCOPES[kind],
        disabled=not takes_scope(step),
        help="At which tokens it acts. On a page that reads a text, the whole text counts as the prompt.",
        **state.bind(f"lab.{place}.scope", step.scope.kind, edit.within_setter(place, "scope", "kind")),
    )


def _more(place: int, step: "Step", asked: Spec) -> None:
    """What is changed more seldom: name, unit, weights, schedule, value, condition."""
    st.text_input(
        "Name",
        max_chars=80,
        **state.bind(f"lab.{place}.name", step.name, lambda name: edit.set_fields(place, name=name or "step")),
    )
    _unit(place, step)
    _value(place, step)
    draw_weights(place, step)
    if takes_scope(step):
        draw_schedule(place, step)
    draw_condition(place, step, asked)


def _unit(place: int, step: "Step") -> None:
    is_known = all(step.mean_norms.get(change.at, 0) > 0 for change in step.changes if hasattr(change, "length"))
    if not all(hasattr(change, "length") for change in step.changes) or not is_known:
        return
    st.segmented_control(
        "Unit of strength",
        list(UNITS),
        required=True,
        format_func=lambda unit: UNITS[unit],
        help="Multiples of the vector as it is stored, or of the mean norm of the activations at each hook point.",
        **state.bind(f"lab.{place}.unit", step.unit, lambda unit: unit and _set_unit(place, step, unit)),
    )


def _set_unit(place: int, step: "Step", unit: str) -> None:
    """Another unit, and the strength that is the same change in it, so that only the number is another."""
    from steering.strength_range import in_unit

    changed = in_unit(step, unit)
    limits = None if changed.strength_range is None else list(changed.strength_range)
    numbers = {"strength": changed.strength, "usual_strength": changed.usual_strength, "strength_range": limits}
    edit.set_fields(place, unit=unit, **numbers)


def _value(place: int, step: "Step") -> None:
    values = [change.value for change in step.changes if hasattr(change, "value")]
    if not values:
        return
    st.number_input(
        "Value",
        -NO_LIMIT,
        NO_LIMIT,
        step=0.5,
        format="%.4g",
        help="What is put in place of what is there, in the unit of the strength; for a latent, its own value.",
        **state.bind(f"lab.{place}.value", float(values[0]), lambda value: edit.set_of_changes(place, "value", value)),
    )
