"""Widgets from options: name, help, range and unit are those that the lens declares."""

from typing import Any

import streamlit as st

from analysis.option import Option
from analysis.spec import Spec
from ui import state

FEW_CHOICES = 4
SHORT_CHOICE = 12


def option_widget(option: Option, asked: Spec) -> None:
    """The widget of one option of the page's lens, at the value that is asked for."""
    value = asked.options.get(option.name, option.default)
    bound = state.bind(f"option.{asked.lens}.{option.name}", value, lambda new: _set(option, new))
    label = f"{option.label}, {option.unit}" if option.unit else option.label
    if option.choices:
        _choice(option, label, bound)
    elif isinstance(option.default, bool):
        st.toggle(label, help=option.help, **bound)
    elif option.minimum is None or option.maximum is None:
        st.number_input(label, help=option.help, step=option.step, **bound)
    else:
        _range(option, label, value, bound, asked)


def _choice(option: Option, label: str, bound: dict[str, Any]) -> None:
    is_short = len(option.choices) <= FEW_CHOICES and all(len(one) <= SHORT_CHOICE for one in option.choices)
    if is_short:
        st.segmented_control(label, option.choices, required=True, format_func=spoken, help=option.help, **bound)
    else:
        st.selectbox(label, option.choices, format_func=spoken, help=option.help, **bound)


def _range(option: Option, label: str, value: Any, bound: dict[str, Any], asked: Spec) -> None:
    """A slider with its number box and a reset."""
    kind: Any = type(option.default)
    assert option.minimum is not None  # only options with a range come here
    assert option.maximum is not None
    low, high, step = kind(option.minimum), kind(option.maximum), kind(option.step or 1)
    slider, box, reset = st.columns([6, 3, 1], vertical_alignment="bottom")
    slider.slider(label, low, high, step=step, help=option.help, **bound)
    key = f"option.{asked.lens}.{option.name}.box"
    exact = state.bind(key, value, lambda new: _set(option, new))
    box.number_input(label, low, high, step=step, label_visibility="collapsed", **exact)
    reset.button(
        "",
        icon=":material/undo:",
        help=f"Back to {option.default}",
        key=f"{key}.reset",
        on_click=lambda: _set(option, option.default),
        disabled=value == option.default,
    )


def _set(option: Option, value: Any) -> None:
    if value is not None:
        state.set_option(option.name, value)


def spoken(choice: str) -> str:
    """A choice as words: massive_activation is massive activation."""
    return choice.replace("_", " ")


def free_option(option: Option, key: str) -> Any:
    """The widget of an option that belongs to no lens; returns what is chosen."""
    label = f"{option.label}, {option.unit}" if option.unit else option.label
    place = f"{key}.{option.name}"
    if option.choices:
        first = option.choices.index(str(option.default))
        return st.selectbox(label, option.choices, first, format_func=spoken, help=option.help, key=place)
    if isinstance(option.default, bool):
        return st.toggle(label, option.default, help=option.help, key=place)
    if isinstance(option.default, str):
        return st.text_input(label, option.default, help=option.help, key=place)
    kind: Any = type(option.default)
    limits = [None if one is None else kind(one) for one in (option.minimum, option.maximum)]
    form = {} if kind is int else {"format": "%.5g"}
    return st.number_input(label, *limits, option.default, help=option.help, key=place, **form)
