"""Makes a vector from a sentence by a hypernetwork: what it promotes, what it is near, and into the recipe with it."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from ui import resources
from ui.boundary import boundary
from ui.changes import add_change
from ui.numbers import marked, say_number
from ui.words import caption, plain, shortened

if TYPE_CHECKING:
    from capture.session import ModelSession
    from steering.hypernetwork_folder import TrainedHypernetwork
    from steering.sentence_vector import SentenceVector
    from steering.shelf import Shelved

TITLE, ORDER = "Sentence", 15
KEY = "steerscope.add.sentence"
N_SHOWN, N_LATENTS, N_OF_LATENT = 6, 3, 2
VARIANTS = {
    "no_context": "reads the sentence",
    "in_context": "reads the prompt and the sentence",
    "cross_attention": "reads the sentence and the prompt's activations",
}


def draw(asked: Spec) -> None:
    """Which hypernetwork and what sentence; then the vector, what is known of it, and what to do with it."""
    one = _choose(asked)
    if one is None:
        return
    sentence = st.text_input(
        "Sentence",
        placeholder="make it about the sea",
        help="What the text is to be steered towards, in a few words.",
        key=f"{KEY}.text",
    )
    if not sentence or not sentence.strip():
        caption("Press Enter to see the vector, what it promotes, and what it is near.")
        return
    with boundary("making a vector from the sentence"):
        from steering.sentence_vector import load_hypernetwork, sentence_vector

        with st.spinner("Loading the model"):
            session = resources.load(asked.model, asked.dtype)
        _, trained = load_hypernetwork(one.digest)
        prompt = session.tokens(asked.text, asked.bos) if asked.text else ()
        found = sentence_vector(trained, session, sentence, prompt)
        _show(found, session, trained)
        _use(found, one, trained)
        _keep(found, one, trained)


def _choose(asked: Spec) -> "Shelved | None":
    from steering.sentence_vector import fitting_hypernetworks

    known = asked.fingerprint or resources.known_fingerprint(asked.model, asked.dtype)
    offered = {one.digest: one for one in fitting_hypernetworks(asked.model, known)}
    if not offered:
        caption(
            "No hypernetwork on the shelf was trained on this model. The model stories has one; the Hypernetwork page "
            "trains one on yours."
        )
        return None
    digest = st.selectbox(
        "Hypernetwork",
        list(offered),
        format_func=lambda digest: hypernetwork_words(offered[digest]),
        help="A small network that was trained to turn a sentence into a steering vector of this model.",
        key=f"{KEY}.which",
    )
    return offered.get(str(digest))


def hypernetwork_words(one: "Shelved") -> str:
    """A hypernetwork in one line: name, and what it reads."""
    variant = str(one.manifest.get("recipe", {}).get("variant"))
    return shortened(f"{one.name} · {VARIANTS.get(variant, variant)}", 90)


def _show(found: "SentenceVector", session: "ModelSession", trained: "TrainedHypernetwork") -> None:
    from steering.sentence_vector import nearest_vectors, promoted_tokens
    from steering.sentence_words import strangest_word

    if strange := strangest_word(session, trained.facts, found.sentence):
        st.warning(plain(strange.warning), icon=":material/warning:")
    elif found.is_far:
        st.warning(
            plain(
                f"This sentence is far from every concept that was learnt (distance {found.distance:.2f}; "
                f"{found.far:.2f} is the limit). The nearest is {found.nearest!r}: expect little of its vector."
            ),
            icon=":material/warning:",
        )
    up, down = promoted_tokens(found.vector, session, N_SHOWN)
    rows = {
        "promotes": _tokens(up, session),
        "suppresses": _tokens(down, session),
        "near latents": _latents(found, session),
        "near vectors": ", ".join(
            f"{one.name.replace('_', ' ')} {one.cosine:+.2f}"
            for one in nearest_vectors(found.vector, found.at, session.fingerprint, 3)
        )
        or "none on the shelf",
        "near concept": f"{found.nearest}, distance {found.distance:.2f}",
        "length": f"{say_number(found.norm)}, {found.norm / found.mean_norm:.2f} × mean norm",
    }
    reads = ""
    if trained.reads_prompt:
        from steering.sentence_vector import likeness_without_prompt

        cosine = likeness_without_prompt(found, trained, session)
        rows |= {"prompt": f"cosine {cosine:+.2f} with the vector behind no prompt"}
        reads = " Here for the text of this view; in the recipe it is made anew for each prompt."
    st.table({"": list(rows), " ": list(rows.values())}, border="horizontal", hide_index=True, hide_header=True)
    caption(
        f"At {found.at}. Tokens: the direct path to the logits, those of latents in brackets. Numbers: cosines.{reads}"
    )


def _tokens(weights: list[tuple[int, float]], session: "ModelSession") -> str:
    texts = session.token_texts([token for token, _ in weights])
    return " ".join(f"`{marked(text).replace('`', 'ˋ')}`" for text in texts)


def _latents(found: "SentenceVector", session: "ModelSession") -> str:
    from capture.errors import UserError
    from sae.shelf import load_shelved, shelved
    from steering.sentence_vector import nearest_latents, promoted_tokens

    for one in shelved():
        if one.fits(session.fingerprint) and (one.facts.hook_point_out or one.facts.hook_point) == str(found.at):
            try:
                sae = load_shelved(one.digest)
            except UserError:
                continue
            near = nearest_latents(found.vector, sae, N_LATENTS)
            rows = [promoted_tokens(sae.W_dec[latent].detach(), session, N_OF_LATENT)[0] for latent, _ in near]
            return ", ".join(
                f"{latent} {cosine:+.2f} ({_tokens(row, session)})"
                for (latent, cosine), row in zip(near, rows, strict=True)
            )
    return "no SAE of this hook point"


def _use(found: "SentenceVector", one: "Shelved", trained: "TrainedHypernetwork") -> None:
    factor = st.number_input(
        "Factor",
        value=1.0,
        step=0.25,
        format="%.3g",
        help="1 is what it was trained at; 2 steers twice as far, and damages the text sooner.",
        key=f"{KEY}.factor",
    )
    if st.button("Add to the recipe", type="primary", width="stretch", key=f"{KEY}.go"):
        add_change(change_of(found, one.digest, trained, float(factor or 0.0)))
        st.rerun()


def change_of(found: "SentenceVector", digest: str, trained: "TrainedHypernetwork", factor: float) -> dict[str, Any]:
    """The recipe's entry: a step with the vector itself, or the sentence where each prompt has a vector of its own."""
    from steering.methods.hypernetwork import METHOD, SteerBySentence
    from steering.recipe import step_of
    from steering.sentence_vector import fitted_of

    if trained.reads_prompt:
        return SteerBySentence(found.at, digest, found.sentence, factor).recipe()
    fitted = fitted_of(found, trained, digest)
    strength = factor * trained.recipe.length
    # The step names what made it, so that a bundle carries that along.
    return step_of(fitted, METHOD, found.sentence, strength=strength, unit="relative", source=digest).recipe()


def _keep(found: "SentenceVector", one: "Shelved", trained: "TrainedHypernetwork") -> None:
    """Name it and put it on the shelf, where it is a vector like any other."""
    name, go = st.columns([3, 2], vertical_alignment="bottom")
    called = name.text_input("Name", placeholder=shortened(found.sentence, 40), max_chars=60, key=f"{KEY}.name")
    if trained.reads_prompt:
        caption("Keep takes the vector of this text alone; the recipe makes one for each prompt.")
    if go.button("Keep", icon=":material/bookmark_add:", width="stretch", key=f"{KEY}.keep"):
        with boundary("keeping the vector"):
            kept = keep_vector(found, one.name, trained, called or shortened(found.sentence, 40))
            st.toast(plain(f"On the shelf as {kept.name}."), icon=":material/check_circle:")


def keep_vector(found: "SentenceVector", source: str, trained: "TrainedHypernetwork", name: str) -> "Shelved":
    """Put the vector on the shelf under a name, or a number behind it where another has it."""
    from steering.sentence_vector import fitted_of
    from steering.shelf import put_on_shelf
    from steering.vector_folder import write_vectors

    with tempfile.TemporaryDirectory() as folder:
        write_vectors(fitted_of(found, trained, source), Path(folder))
        return put_on_shelf("vectors", Path(folder), name)
