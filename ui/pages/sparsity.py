"""Sparsity: how many of the MLP's neurons a text needs, within a budget of perplexity, and beside other methods."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.option import Option
from analysis.report import Report
from analysis.spec import Spec, to_code
from ui import resources, state
from ui import sparsity_pictures as pictures
from ui.drawn import show
from ui.figures import sparsity as figures
from ui.figures import sparsity_parts as parts
from ui.figures.sparsity_neurons import frequencies, specialised
from ui.frozen import bounded
from ui.numbers import say_quantity
from ui.sparsity_writing import writing
from ui.style import AFTER_SIDE
from ui.widgets import option_widget
from ui.words import caption, plain

if TYPE_CHECKING:
    from ui.shell import Context

PAIR = ("stories", "stories-relu")


def render(report: Report, context: "Context") -> None:
    """The Sparsity page of one text or of a text set."""
    asked = state.session().asked
    _budget(report, next(iter(context.lens.options), None) if context.lens else None, asked)
    _places(report)
    if report.numbers["is_searched"]:
        _methods(report)
    if report.spec.text_set:
        st.markdown("### Neurons that few texts need")
        show(specialised(report))
    writing(report)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("### Thresholds")
        pictures.table(parts.thresholds(report))
        pictures.downloads(report)
    with right:
        st.markdown("### Tokens")
        pictures.table(parts.token_types(report), height=290)
    _pair(report, context)
    with st.expander("What each method thresholds"):
        pictures.table(parts.methods(report))


def _budget(report: Report, option: Option | None, asked: Spec) -> None:
    """The budget, the answer to it, and while another is measured what the curve says of it."""
    numbers = report.numbers
    left, right = st.columns([2, 3], gap="medium", vertical_alignment="bottom")
    with left:
        if option is not None:
            option_widget(option, asked)
            _marked_budgets(option, asked)
    kept, perplexity, loss = right.columns(3)
    kept.metric("Neurons kept", say_quantity(100 * numbers["activation_ratio"], "%"))
    perplexity.metric("Perplexity", f"{100 * (numbers['perplexity_ratio'] - 1):+.2f} %")
    loss.metric("Loss, nats a token", f"{numbers['delta_loss']:+.4f}")
    wanted = asked.options.get("p", numbers["p"])
    if wanted != numbers["p"] and state.session().shown_kept is None:
        guess = figures.kept_at(report, float(wanted))
        said = "" if guess != guess else f"about {say_quantity(100 * guess, '%')} of neurons kept, read off the curve; "
        caption(f"At {wanted:g} %: {said}being measured. The pictures are of {numbers['p']:g} %.")
    st.markdown(f"**{plain(numbers['sentence'])}**")
    for line in parts.cost(report)[:1]:
        caption(line)


def _marked_budgets(option: Option, asked: Spec) -> None:
    """The budgets that the paper uses, one press each."""
    value = asked.options.get(option.name, option.default)
    names = {f"{one:g} %": one for one in figures.BUDGETS}
    shown = next((name for name, one in names.items() if one == value), None)

    def choose(name: str | None) -> None:
        if name is not None:
            state.set_option(option.name, names[name])

    bound = state.bind("sparsity.marks", shown, choose)
    st.pills("The paper's budgets", list(names), label_visibility="collapsed", **bound)


@st.fragment
@bounded
def _places(report: Report) -> None:
    """Everything that a pin changes: a click redraws this and nothing else."""
    place = figures.shown(report, state.pins())
    column = "text" if report.spec.text_set else "pos"

    def pin_cell(cell: tuple[int, int] | None) -> None:
        layer, at = cell or (None, None)
        state.pin(**{"layer": layer, column: at})

    if not report.spec.text_set:
        pictures.strip(report, place.pos, lambda chosen: state.pin(pos=chosen))
    main, side = st.columns([5, 3], gap="medium")
    with main:
        pictures.heat(report, place, pin_cell)
        after_side = st.container(key=AFTER_SIDE)
    with side:
        pictures.cell_words(report, place)
        show(figures.layers(report, place))
    with after_side:
        st.markdown("### How often a neuron is kept")
        st.markdown(plain(" ".join(parts.neurons(report))))
        show(frequencies(report, place.layer))


@st.fragment
@bounded
def _methods(report: Report) -> None:
    """The frontier, as it is decoded or with an oracle, and the curve of the answer's own method."""
    is_oracle = state.pins().get("oracle") is True
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("### Beside other methods")
        st.segmented_control(
            "Which zeros need not be read",
            (False, True),
            required=True,
            format_func=lambda one: "known beforehand" if one else "known once computed",
            help="A sparse decode can leave unread what is known to be zero before it is multiplied. Known beforehand "
            "is the bound that a perfect predictor of the weak set would reach.",
            **state.bind("sparsity.oracle", is_oracle, lambda one: state.pin(oracle=one or None)),
        )
        show(figures.frontier(report, is_oracle))
    with right:
        st.markdown("### What the neurons are worth")
        show(figures.curve(report))


def _pair(report: Report, context: "Context") -> None:
    """The same view of the other bundled model, beside this one: SiLU and ReLU."""
    known = {card.name for card in resources.catalogue()}
    if report.spec.model not in PAIR or not known.issuperset(PAIR):
        return
    views: dict[str, Any] = {
        side: to_code(report.spec.with_(model=model, fingerprint="", pins={}))
        for side, model in zip(("left", "right"), PAIR, strict=True)
    }
    st.markdown("### SiLU beside ReLU")
    caption("The two bundled models differ in their gate alone: stories has SiLU, stories-relu has ReLU.")
    query = state.code_of(Spec(state.COMPARE, options=views))
    st.page_link(context.pages[state.COMPARE], label="Compare both on this text", query_params=query)
