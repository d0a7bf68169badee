"""The two link boxes of the Compare page: what is put there, what is missing, whether its model may be loaded."""

import streamlit as st

from analysis.link import read_link
from analysis.spec import Spec, to_code
from analysis.text_set import read_text_set
from capture.errors import UserError
from ui import resources, state
from ui.compare_words import side_heading
from ui.words import caption, plain

SIDES = ("left", "right")
TOUR_LENS = "outliers"


def link_boxes(asked: Spec) -> bool:
    """The two link boxes; whether there are two views to compare."""
    columns = st.columns(2, gap="medium")
    for side, column in zip(SIDES, columns, strict=True):
        with column:
            _link_box(side, asked)
    texts = {side: str(asked.options.get(side, "")) for side in SIDES}
    missing = [side for side, text in texts.items() if not text.strip()]
    if missing:
        _empty(missing)
        return False
    st.button(
        "Swap sides",
        icon=":material/swap_horiz:",
        type="tertiary",
        on_click=_put,
        args=(texts["right"], texts["left"]),
    )
    # The numbers of a kept view are there already, so no model is asked for.
    return state.session().kept is not None or all(_is_allowed(side, text) for side, text in texts.items())


def _link_box(side: str, asked: Spec) -> None:
    text = str(asked.options.get(side, ""))
    side_heading(side, text)
    st.text_input(
        f"Link of the {side} view",
        placeholder="Paste a link, its code or a short id",
        label_visibility="collapsed",
        **state.bind(f"compare.{side}", text, lambda given: state.set_option(side, _shortest(given or ""))),
    )


def _shortest(text: str) -> str:
    """The id or the code in a pasted address; what cannot be read stays as it is and gets its sentence later."""
    try:
        link = read_link(text)
    except UserError:
        return text.strip()
    return link.id or to_code(link.spec or Spec(""))


def _empty(missing: list[str]) -> None:
    if len(missing) == 1:
        caption(f"The {missing[0]} view is missing: paste its link, or open it and press Compare there.")
        return
    st.markdown("Two views side by side: paste their links above, or press Compare on the page that shows one.")
    with st.container(horizontal=True):
        st.button("Show the tour's example", type="primary", on_click=_take_tour)
        st.button("Show what BOS changes", on_click=_take_bos)


def _take_tour() -> None:
    """Put the tour's first two texts side by side."""
    _put(*(to_code(state.tour_spec(TOUR_LENS).with_(text=text)) for text in read_text_set("tour").texts[:2]))


def _take_bos() -> None:
    """Put the tour's first text with BOS beside the same text without."""
    spec = state.tour_spec(TOUR_LENS)
    _put(to_code(spec), to_code(spec.with_(bos=False)))


def _put(left: str, right: str) -> None:
    state.set_option("left", left)
    state.set_option("right", right)


def _is_allowed(side: str, text: str) -> bool:
    """Whether the side's model may be loaded; asks where only a link named it."""
    try:
        spec = read_link(text).spec
    except UserError:
        return True
    if spec is None or resources.is_allowed(spec.model):
        return True
    st.markdown(plain(f"The {side} view asks for the model {spec.model[:80]!r}, which nobody opened here yet."))
    st.button("Open this model", key=f"compare-open-{side}", help="If you trust it", on_click=_open, args=(spec.model,))
    return False


def _open(model: str) -> None:
    resources.allow(model)
    state.forget_job()
