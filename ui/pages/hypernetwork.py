"""Hypernetwork: how it was trained, how well its vectors steer beside other ways, and training one of your own."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.spec import Spec
from ui import hypernetwork_pictures as pictures
from ui import state
from ui.adders.sentence import VARIANTS, hypernetwork_words
from ui.boundary import boundary
from ui.figures.picture import Picture
from ui.hypernet_form import train_hypernet_form
from ui.hypernet_job import HYPERNETWORK
from ui.words import caption, plain

if TYPE_CHECKING:
    from steering.shelf import Shelved
    from ui.shell import Context

TITLE = "Hypernetwork"
QUESTION = (
    "How well does a vector made from a sentence steer, for concepts that were learnt and for ones that were not?"
)
IS_OF_ONE_TEXT = False
CONFIG = {"displayModeBar": False}
NO_EVALUATION = (
    "It was not compared with other ways to steer yet. python cli.py concepts evaluate --concepts CONCEPTS "
    "--hypernetwork {name} --out {folder}/evaluation.json does so, with the set that it was trained on ({title}) as "
    "CONCEPTS; the figures appear here."
)
HOW = (
    "How to read this: a hypernetwork is a small network that turns a sentence into a steering vector. Held-in "
    "concepts are those that it was trained on; held-out ones it never met, so that only they tell whether it "
    "understands a new sentence. After HyperSteer (Sun et al. 2025, arXiv 2506.03292), on a small decoder of its own."
)


def draw(context: "Context") -> None:
    """One hypernetwork of the shelf, with its scores and curves; below, the form that trains another."""
    with boundary("looking at the hypernetwork"):
        one = _choose(context.spec)
        if one is not None:
            _about(one)
            _evaluation(one)
            _training(one)
    train_hypernet_form()
    caption(HOW)


def _choose(asked: Spec) -> "Shelved | None":
    from steering.shelf import shelved

    offered = {one.digest: one for one in shelved("hypernetworks")}
    if not offered:
        caption("No hypernetwork is on the shelf. Train one below.")
        return None
    wanted = str(asked.options.get(HYPERNETWORK, ""))
    chosen = next((one.digest for one in offered.values() if wanted and one.is_called(wanted)), next(iter(offered)))
    st.selectbox(
        "Hypernetwork",
        list(offered),
        format_func=lambda digest: hypernetwork_words(offered[digest]),
        help="Bundled ones, and those that were trained here.",
        **state.bind(f"option.{asked.lens}.{HYPERNETWORK}", chosen, lambda new: state.set_option(HYPERNETWORK, new)),
    )
    return offered[chosen]


def _about(one: "Shelved") -> None:
    said = one.manifest
    recipe = said.get("recipe", {})
    reads = VARIANTS.get(str(recipe.get("variant")), "")
    words = (
        f"{one.name} {reads}. It was trained on {len(said.get('learnt', [])):,} concepts of the model "
        f"{one.facts.get('model')}, with {len(said.get('held_out', [])):,} held out. Its vectors act at "
        f"{said.get('hook_point')}. A factor of 1 is {recipe.get('length')} × the mean norm there, "
        f"{said.get('mean_norm', 0):.1f}."
    )
    st.markdown(plain(words))


def _evaluation(one: "Shelved") -> None:
    from steering.concept_report import plain_sentence

    report = pictures.read_evaluation(one.folder)
    if report is None:
        title = dict(one.facts.get("concepts") or {}).get("title", "?")
        caption(NO_EVALUATION.format(name=one.name, folder=one.folder, title=title))
        return
    own = next((line["contestant"] for line in report["table"] if line["n_learnt"] is not None), one.name)
    st.markdown(f"**{plain(plain_sentence(report, str(own)))}**")
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _show(pictures.scores(report))
    with right:
        over = pictures.over_concepts(report) or pictures.gains_over_concepts(pictures.read_gains(one.folder))
        _show(over, "One hypernetwork was compared: it has no curve.")
    with st.expander("Every figure"):
        table = zip(pictures.COLUMNS, zip(*pictures.rows(report), strict=True), strict=True)
        st.dataframe({name: list(cells) for name, cells in table}, hide_index=True, key="hypernetwork-table")
    if variants := pictures.read_evaluation(one.folder, pictures.VARIANTS):
        with st.expander("Variants and losses"):
            _show(pictures.variants(variants))


def _training(one: "Shelved") -> None:
    from sae.training_curve import read_curve

    points = read_curve(one.folder)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _show(pictures.training(points), "It came without the curve of its training.")
    with right:
        _show(pictures.loss(points))


def _show(picture: Picture | None, nothing: str = "") -> None:
    if picture is None:
        caption(nothing)
        return
    st.markdown(f"### {plain(picture.title)}")
    st.plotly_chart(picture.figure, key=picture.name, config=CONFIG)
    caption(picture.caption)
