"""Fits a steering method on a bundled, pasted or uploaded set of texts; the vectors go to the shelf."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.option import Option
from analysis.spec import Spec
from ui import resources, visitor
from ui.boundary import boundary
from ui.fit_job import BUNDLED, FIT, LINES, fit_recipe
from ui.job_kinds import queue
from ui.widgets import free_option
from ui.words import plain

if TYPE_CHECKING:
    from steering.method import Method

TITLE, ORDER = "Fit a vector", 30
SOURCES = {"bundled": "bundled", "paste": "paste", "upload": "upload"}
KEY = "steerscope.add.fit"
POSITIONS, EVERY = "positions", "all"


def draw(asked: Spec) -> None:
    """Method, texts, places and options; the button puts the fit into the queue."""
    from steering.method import methods

    fitted = {slug: one for slug, one in methods().items() if one.fit is not None}
    slug = st.selectbox(
        "Method",
        list(fitted),
        index=list(fitted).index("mean_difference"),
        format_func=lambda slug: fitted[slug].title,
        key=f"{KEY}.method",
    )
    method = fitted[str(slug)]
    st.caption(plain(f"{method.fitted_by[:1].upper()}{method.fitted_by[1:]}. {method.paper}"))
    texts = _pair() if method.needs == "one pair" else _texts()
    site, layers = _places(method, asked)
    with st.expander("Options"):
        options = {option.name: free_option(_begun(option), f"{KEY}.{slug}") for option in method.options}
    name = st.text_input(
        "Name on the shelf", placeholder=f"my {slug}".replace("_", " "), max_chars=60, key=f"{KEY}.name"
    )
    if st.button("Fit", type="primary", width="stretch", key=f"{KEY}.go"):
        with boundary("starting the fit"):
            called = (name or "").strip() or f"my {slug}".replace("_", " ")
            recipe = fit_recipe(asked, called, method.slug, texts, layers, site, options)
            queue().submit(FIT.slug, recipe, visitor.owner(), f"Fit {called}")
            st.rerun()


def _begun(option: Option) -> Option:
    """The option with every token as the positions to begin with: two typed texts often begin with the same one."""
    is_of_rows = option.name == POSITIONS and EVERY in option.choices
    return replace(option, default=EVERY) if is_of_rows else option


def _texts() -> tuple[str, str]:
    source = st.segmented_control("Texts", list(SOURCES), default="bundled", required=True, key=f"{KEY}.source")
    if source == "paste":
        lines = st.text_area(
            "Pairs, one a line",
            placeholder="She smiled and hugged him. | She cried and left him.",
            help="The wanted text, a | and the other text.",
            key=f"{KEY}.lines",
        )
        return LINES, lines or ""
    if source == "upload":
        return _upload()
    from steering.contrast_pairs import bundled_sets

    named = st.selectbox("Set", list(bundled_sets()), format_func=lambda one: one.replace("_", " "), key=f"{KEY}.set")
    return BUNDLED, str(named)


def _upload() -> tuple[str, str]:
    given = st.file_uploader(
        "File of pairs or labelled texts",
        type=["json", "jsonl", "csv"],
        help="JSON, JSON lines or CSV with positive and negative, or with text and label; UTF-8.",
        key=f"{KEY}.file",
    )
    return (LINES, "") if given is None else (given.name, given.getvalue().decode("utf-8-sig", errors="replace"))


def _pair() -> tuple[str, str]:
    wanted = st.text_input("Wanted", placeholder="Love", key=f"{KEY}.wanted")
    other = st.text_input("Other", placeholder="Hate", key=f"{KEY}.other")
    return LINES, f"{wanted or ''} | {other or ''}"


def _places(method: "Method", asked: Spec) -> tuple[str, list[int]]:
    """Site and blocks."""
    shape = resources.load(asked.model, asked.dtype).shape
    site = method.sites[0]
    if len(method.sites) > 1:
        site = str(st.selectbox("Site", method.sites, key=f"{KEY}.{method.slug}.site"))
    every = list(range(shape.n_layers))
    usual: Any = every if method.chooses_layers else [shape.n_layers // 2]
    layers = st.multiselect(
        "Blocks",
        every,
        default=usual,
        help="Counted from 0. A method that chooses among layers is given all of them.",
        key=f"{KEY}.{method.slug}.{shape.n_layers}.layers",
    )
    return site, list(layers)
