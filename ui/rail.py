"""The rail: model and its badge, text or text set, how it is run, the pages, and what the run cost."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from analysis.report import Report
from analysis.spec import DTYPES, Spec
from analysis.text_set import text_sets
from ui import resources, state
from ui.boundary import boundary
from ui.changes import draw_changes
from ui.components.keys import draw_keys
from ui.frozen import bounded
from ui.numbers import say_number
from ui.open_file import draw_open
from ui.words import plain, shortened

OTHER = "Other model…"
BADGES = {"ok": ("green", "ok"), "differs": ("orange", "differs"), "wrong": ("red", "wrong")}
BADGE_MEANING = {
    "ok": "The hooks give the same numbers as the plain transformers forward pass.",
    "differs": "The hooks give numbers that differ from the plain forward pass by more than rounding should.",
    "wrong": "The hooks do not give the numbers of the plain forward pass: do not believe this page.",
}


def draw_rail(asked: Spec, pages: dict[str, Any], is_of_one_text: bool = True) -> Any:
    """Draw the rail, without model and text where the page is not of one text.

    Returns the place for what is known only once there is an answer.
    """
    with st.sidebar:
        st.markdown("### Steerscope")
        if is_of_one_text:
            _model(asked)
        facts = st.container(gap="xsmall")
        if is_of_one_text:
            _text(asked)
            _running(asked)
            draw_changes(asked, pages)
        st.caption("Pages")
        with st.container(gap="xxsmall"):
            for page in pages.values():
                st.page_link(page)
        draw_open(pages)
        draw_keys()
    return facts


def _model(asked: Spec) -> None:
    names = [card.name for card in resources.catalogue()]
    is_other = state.session().wants_other_model or asked.model not in names
    st.selectbox(
        "Model",
        [*names, OTHER],
        help="Other model… takes the folder of a transformers model, or a name on the Hugging Face hub.",
        **state.bind("model", OTHER if is_other else asked.model, _choose_model),
    )
    if is_other:
        shown = "" if asked.model in names else asked.model
        st.text_input(
            "Folder or hub name",
            placeholder="/path/to/model or owner/name",
            **state.bind("other_model", shown, _name_model),
        )
    if is_other and not resources.is_allowed(asked.model):
        st.button("Open this model", on_click=_name_model, args=(asked.model,), width="stretch")


def _choose_model(name: str) -> None:
    state.session().wants_other_model = name == OTHER
    if name != OTHER:
        state.change(model=name)


def _name_model(name: str) -> None:
    if name.strip():
        state.session().wants_other_model = False
        resources.allow(name.strip())
        state.forget_job()
        state.change(model=name.strip())


def _text(asked: Spec) -> None:
    names = text_sets()
    if asked.text_set and asked.text_set not in names:
        names = (*names, asked.text_set)
    st.text_area(
        "Text",
        height=96,
        disabled=bool(asked.text_set),
        placeholder="Type a sentence",
        **state.bind("text", asked.text, lambda text: state.change(text=text or "")),
    )
    st.selectbox(
        "Text set",
        names,
        placeholder="none: the text above",
        help="Many texts at once: statistics by layer, streamed through the model.",
        **state.bind("text_set", asked.text_set or None, lambda name: state.change(text_set=name or "")),
    )


def _running(asked: Spec) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.selectbox(
            "Precision",
            DTYPES,
            width=136,
            help="Number format in which the model is run. Weights are raw: no norm is folded, nothing is centred.",
            **state.bind("dtype", asked.dtype, lambda dtype: state.change(dtype=dtype)),
        )
        st.toggle(
            "BOS",
            help="Put the model's beginning-of-sequence token first.",
            **state.bind("bos", asked.bos, lambda bos: state.change(bos=bos)),
        )


def draw_facts(place: Any, report: Report, source: str) -> None:
    """Fill the rail's place: badge, size, precision, fingerprint, where the answer came from, memory."""
    facts = report.facts
    with place:
        _badge(report)
        sizes = {card.name: card.n_params for card in resources.catalogue()}
        size = [say_number(sizes[facts["model"]])] if sizes.get(facts["model"]) else []
        words = [*size, facts["dtype"], facts["fingerprint"][:8], f"weights {facts['processing']}"]
        st.caption(plain(" · ".join(words)))
        memory = resources.memory()
        held = f"{memory['used'] / 2**30:.1f} of {memory['total'] / 2**30:.0f} GiB held"
        st.caption(plain(f"{source} · {held}"), help="Whether the numbers were read from the store or made afresh.")


@st.fragment
@bounded
def _badge(report: Report) -> None:
    faithfulness = report.facts.get("faithfulness") or {"status": "not checked"}
    colour, word = BADGES.get(faithfulness["status"], ("gray", shortened(str(faithfulness["status"]), 12)))
    with st.popover(f":{colour}[●] {plain(word)}", type="tertiary", help="Faithfulness: hooks against plain forward"):
        st.markdown(BADGE_MEANING.get(faithfulness["status"], "Nobody compared the hooks with the plain forward pass."))
        if st.button("Check this text", help="Compare the two runs on the text of this view."):
            with boundary("checking this text"):
                faithfulness = resources.check_faithfulness(report.spec)
                st.caption(f"On this text: {plain(faithfulness['status'])}.")
        if "n_tokens" in faithfulness:
            st.table(_badge_rows(faithfulness))


def _badge_rows(faithfulness: Mapping[str, Any]) -> dict[str, list[str]]:
    cosines = faithfulness.get("cosine_by_layer") or [float("nan")]
    rows = {
        "largest logit difference": f"{faithfulness['logit_max_diff']:.2e}",
        "KL of next-token odds, nats": f"{faithfulness['kl_nats']:.2e}",
        "lowest cosine of any layer": f"{min(cosines):.7f}",
        "largest break of pre + attn + mlp = post": f"{faithfulness['identity_max_diff']:.2e}",
        "tokens compared": f"{faithfulness['n_tokens']}",
    }
    return {"check": list(rows), "value": list(rows.values())}
