"""Where and when a step acts, as widgets: explicit ranges, weights of its layers, schedule over generated tokens."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from capture.errors import UserError
from ui import recipe_edit as edit
from ui import state
from ui.boundary import tell

if TYPE_CHECKING:
    from steering.recipe import Step

SCHEDULES = {"constant": "constant", "window": "window", "ramp": "ramp"}
MAX_WEIGHT = 2.0
LAST_TOKEN = 100_000
MOST_ENDS = 1000


def draw_ranges(place: int, step: "Step") -> None:
    """A box for ranges such as 1-4, 9-; what cannot be read gets a sentence and changes nothing."""
    from steering.token_scope import ranges_of_text, ranges_text

    key = f"lab.{place}.ranges"
    typed = state.session().drafts.get(key)
    st.text_input(
        "Positions",
        placeholder="1-4, 9-",
        help="Positions from 0, the last of each range included; a range without end goes on over generated tokens.",
        **state.bind(key, ranges_text(step.scope.ranges) if typed is None else typed, lambda text: _type(place, text)),
    )
    if typed is not None:
        try:
            ranges_of_text(typed)
        except UserError as error:
            tell(error, "reading the positions")


def draw_ends(place: int, step: "Step") -> None:
    """A box for how many of the prompt's first tokens, and of its last."""
    st.number_input(
        "First and last",
        1,
        MOST_ENDS,
        help="So many of the prompt's first tokens, and as many of its last.",
        **state.bind(f"lab.{place}.ends", step.scope.n_ends, edit.within_setter(place, "scope", "n_ends")),
    )


def _type(place: int, text: str) -> None:
    """Take ranges that can be read, and keep the others as a draft that the card speaks of."""
    from steering.token_scope import ranges_of_text

    key = f"lab.{place}.ranges"
    try:
        ranges = ranges_of_text(text or "")
    except UserError:
        state.session().drafts[key] = text or ""
        return
    state.session().drafts.pop(key, None)
    edit.set_within(place, "scope", ranges=[list(one) for one in ranges])


def draw_weights(place: int, step: "Step") -> None:
    """One slider for each layer of a step that acts at several."""
    layers = sorted({at.layer for at in step.hook_points() if at.layer is not None})
    if len(layers) < 2:
        return
    st.caption("Weights of the layers", help="Multiples of the strength at each block. 0 leaves the block out.")
    with st.container(gap=None, height=220 if len(layers) > 4 else "content"):
        for layer in layers:
            weight = step.weights.get(layer, 1.0)
            st.slider(
                f"Block {layer}",
                min(0.0, weight),
                max(MAX_WEIGHT, weight),
                step=0.05,
                **state.bind(f"lab.{place}.weight.{layer}", weight, _weigh(place, layer)),
            )


def _weigh(place: int, layer: int) -> Any:
    return lambda weight: edit.set_within(place, "weights", **{str(layer): weight})


def draw_schedule(place: int, step: "Step") -> None:
    """How the strength moves over the generated tokens."""
    one = step.schedule
    st.segmented_control(
        "Schedule",
        list(SCHEDULES),
        required=True,
        help="Over generated tokens, counted from 0; the prompt counts as token 0.",
        **state.bind(f"lab.{place}.schedule", one.kind, edit.within_setter(place, "schedule", "kind")),
    )
    if one.kind == "window":
        _window(place, one.start, one.end)
    elif one.kind == "ramp":
        left, middle, right = st.columns(3)
        with left:
            _factor(place, "From", "low", one.low)
        with middle:
            _factor(place, "To", "high", one.high)
        with right:
            st.number_input(
                "Tokens",
                1,
                256,
                help="How many generated tokens the ramp takes.",
                **state.bind(f"lab.{place}.n_tokens", one.n_tokens, edit.within_setter(place, "schedule", "n_tokens")),
            )


def _window(place: int, start: int, end: int | None) -> None:
    left, right = st.columns(2)
    with left:
        st.number_input(
            "First token",
            0,
            LAST_TOKEN if end is None else end - 1,
            **state.bind(f"lab.{place}.start", start, edit.within_setter(place, "schedule", "start")),
        )
    with right:
        st.number_input(
            "Until before",
            start + 1,
            LAST_TOKEN,
            placeholder="no end",
            **state.bind(f"lab.{place}.end", end, lambda value: edit.set_within(place, "schedule", end=value)),
        )


def _factor(place: int, label: str, field: str, value: float) -> None:
    st.number_input(
        label,
        -1000.0,
        1000.0,
        step=0.25,
        format="%.3g",
        help="Multiple of the strength.",
        **state.bind(f"lab.{place}.{field}", value, edit.within_setter(place, "schedule", field)),
    )
