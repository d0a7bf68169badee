"""The line below the panes: what is written on, how it is drawn, run and stop."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.option import Option
from analysis.spec import Spec
from ui import state
from ui.answers import go_on, is_under_way, stop
from ui.widgets import option_widget

if TYPE_CHECKING:
    from analysis.lens import AnyLens

NEAR = {"panes": "Panes ×", "seed": "Seed", "temperature": "T", "tokens": "Tokens"}
"""Options beside the prompt, in few letters; the others are one press away."""
FIELD_PX = 86


def draw_prompt(asked: Spec, lens: "AnyLens") -> None:
    """The prompt, its options, run and stop."""
    options = {option.name: option for option in lens.options}
    if not asked.text_set:
        st.text_area(
            "Prompt",
            height=76,
            placeholder="Once upon a time",
            **state.bind("lab_prompt", asked.text, lambda text: state.change(text=text or "")),
        )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for name, label in NEAR.items():
            _near(options[name], label, asked)
    with st.container(horizontal=True, gap="small"):
        with st.popover("More", icon=":material/tune:"):
            for name, option in options.items():
                if name not in NEAR:
                    option_widget(option, asked)
        _run_and_stop(int(_value(options["seed"], asked)))


def _near(option: Option, label: str, asked: Spec) -> None:
    """A narrow field of one option."""
    value, kind = _value(option, asked), type(option.default)
    bound = state.bind(f"near.{option.name}", value, lambda new: _set(option, new))
    if kind is str:
        st.text_input(label, help=option.help, width=FIELD_PX, **bound)
    else:
        low, high, step = (kind(one or 0) for one in (option.minimum, option.maximum, option.step))
        st.number_input(label, low, high, step=step, help=option.help, width=FIELD_PX, **bound)


def _value(option: Option, asked: Spec) -> Any:
    return asked.options.get(option.name, option.default)


def _set(option: Option, value: Any) -> None:
    if value is not None:
        state.set_option(option.name, value)


def _run_and_stop(seed: int) -> None:
    is_running, is_stopped = is_under_way(), state.session().is_idle
    if is_running or is_stopped:
        words = "Write what is asked for now."
        st.button("Run", icon=":material/play_arrow:", type="primary", disabled=is_running, help=words, on_click=go_on)
    else:
        words = "Write again with the next seed. What is changed is written at once, without a press."
        st.button("Next seed", icon=":material/play_arrow:", help=words, on_click=_next_seed, args=(seed,))
    words = "Stop writing; what was there before stays. Esc does so too."
    key = "steerscope.lab-stop"
    st.button("Stop", icon=":material/stop:", disabled=not is_running, help=words, key=key, on_click=stop)


def _next_seed(seed: int) -> None:
    state.set_option("seed", (seed + 1) % 1_000_000)
