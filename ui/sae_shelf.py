"""The shelf of SAEs on the screen: what is on it, opening one more, and choosing one for a page."""

from collections.abc import Sequence

import streamlit as st

from analysis.spec import Spec
from analysis.text_set import read_text_set
from capture.errors import UserError
from sae.shelf import SHORT, Shelved, load_shelved, open_sae, shelved, take_off_shelf
from sae.shelf_words import shelf_table, short_words
from ui import resources, state
from ui.boundary import boundary
from ui.words import caption, plain

OPTION = "sae"
"""The option of a lens that names its SAE: a digest, a name, or "" for the one trained on the model."""


def draw_shelf() -> None:
    """Every SAE that can be named here, with a button that opens one more."""
    shelf = shelved()
    st.dataframe(shelf_table(shelf), hide_index=True, placeholder="–")
    with st.container(horizontal=True):
        opened = _open_popover("shelf")
        _forget_popover([one for one in shelf if one.origin == "opened"])
    if opened is not None:
        st.rerun()
    caption(
        "A view names an SAE by its digest, so a changed one is noticed. Folders of SAELens, sparsify, "
        "dictionary_learning and Gemma Scope can be opened, and OpenAI's .pt files."
    )


def choose_sae(asked: Spec, fingerprint: str) -> Shelved | None:
    """A select box over the SAEs for the model of a fingerprint, and a button that opens another folder.

    Writes the digest into the option `sae`; returns the SAE that is asked for, None where none is on the shelf.
    """
    wanted = str(asked.options.get(OPTION, ""))
    offered = offered_saes(fingerprint, asked.model)
    chosen = _chosen(wanted, fingerprint)
    box, more = st.columns([5, 2], vertical_alignment="bottom")
    by_digest = {one.digest: one for one in offered}
    if chosen is not None:
        by_digest.setdefault(chosen.digest, chosen)
    with box:
        st.selectbox(
            "SAE",
            list(by_digest),
            format_func=lambda digest: _choice_words(by_digest[digest], fingerprint, asked.model),
            placeholder=_nothing_words(wanted, fingerprint),
            help="Trained on this model, or without a word on its model.",
            **state.bind(f"option.{asked.lens}.{OPTION}", chosen.digest if chosen else None, _choose),
        )
    with more:
        opened = _open_popover("choose")
    if opened is not None:
        _prove(opened, asked)
        _choose(opened.digest)
        st.rerun()
    return chosen


def offered_saes(fingerprint: str, model: str) -> Sequence[Shelved]:
    """The SAEs that a page of that model offers: those that fit its weights, those of a model of that name (which may
    run in another precision now), and those that do not say what they fit. All where the model is not known yet.
    """
    shelf = shelved()
    if not fingerprint:
        return shelf
    ranks = [_rank(one, fingerprint, model) for one in shelf]
    return [one for rank in range(3) for one, its in zip(shelf, ranks, strict=True) if its == rank]


def _rank(one: Shelved, fingerprint: str, model: str) -> int:
    if one.fits(fingerprint):
        return 0
    if one.model == model:
        return 1
    return 3 if one.facts.provenance.get("fingerprint") else 2


def _chosen(wanted: str, fingerprint: str) -> Shelved | None:
    """What the option names, or what a lens takes where it names none."""
    called = (one for one in shelved() if (one.is_called(wanted) if wanted else one.fits(fingerprint)))
    return next(called, None)


def _nothing_words(wanted: str, fingerprint: str) -> str:
    if wanted:
        return f"not on the shelf: {wanted[:SHORT]}"
    return "none was trained on this model" if fingerprint else "the one trained on this model"


def _choice_words(one: Shelved, fingerprint: str, model: str) -> str:
    said = ("", "other weights or precision", "does not say for which model", "for another model")
    rank = _rank(one, fingerprint, model) if fingerprint else 0
    return f"{short_words(one)} · {said[rank]}" if rank else short_words(one)


def _prove(opened: Shelved, asked: Spec) -> None:
    """Say how well it reconstructs the tour's texts: one that is read the wrong way round looks like any other."""
    from sae.proving import proof_words, prove

    try:
        session = resources.load(asked.model, asked.dtype)
        found = prove(load_shelved(opened.digest), session, read_text_set("tour").texts)
    except UserError as error:
        st.toast(plain(f"{error.message} {error.hint}"), icon=":material/warning:")
    else:
        icon = ":material/check_circle:" if found.is_believable else ":material/warning:"
        st.toast(plain(proof_words(found)), icon=icon)


def _choose(digest: str | None) -> None:
    if digest:
        state.set_option(OPTION, digest)


def _open_popover(place: str) -> Shelved | None:
    """A button that asks for a folder and puts its SAE on the shelf; returns it in the run that did so."""
    with (
        st.popover("Open an SAE", icon=":material/folder_open:", key=f"steerscope.sae.{place}"),
        st.form(f"steerscope.sae.{place}.form", border=False),
    ):
        st.caption("A folder stays where it is; what it holds is read, and nothing in it is run.")
        named = st.text_input(
            "Folder, .pt file, or release/id",
            placeholder="/path/to/sae",
            help="release/id is of SAELens's registry, such as gpt2-small-res-jb/blocks.8.hook_resid_pre: fetched from "
            "the Hugging Face hub.",
        )
        if st.form_submit_button("Open", type="primary") and named.strip():
            with boundary("opening the SAE"), st.spinner("Reading its weights"):
                return open_sae(named.strip())
    return None


def _forget_popover(opened: Sequence[Shelved]) -> None:
    if not opened:
        return
    with st.popover("Take off", icon=":material/delete:", key="steerscope.sae.forget"):
        by_digest = {one.digest: one for one in opened}
        digest = st.radio("Which", list(by_digest), format_func=lambda digest: short_words(by_digest[digest]))
        st.caption(plain(f"{by_digest[digest].folder} keeps its files. Links to this SAE open no longer."))
        if st.button("Take this SAE off the shelf"):
            take_off_shelf(by_digest[digest])
            st.rerun()
