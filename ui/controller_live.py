"""A controller on a prompt that a person types: s, the weights, and the text without and with it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from analysis.text_set import read_text_set
from ui import controller_pictures, resources, state
from ui.boundary import boundary
from ui.changes import use_in_lab
from ui.words import caption, plain

if TYPE_CHECKING:
    from steering.controller_view import Look
    from steering.shelf import Shelved

PROMPT, STRENGTH, SEED = "prompt", "alpha", "seed"
N_TOKENS = 48
MAX_CHARS = 2_000


def draw_live(asked: Spec, one: "Shelved", pages: Mapping[str, Any]) -> None:
    """The prompt, the strength, and what the controller does."""
    st.markdown("### On your own prompt")
    prompt = str(asked.options.get(PROMPT) or "")[:MAX_CHARS] or first_prompt(one)
    st.text_area(
        "Prompt",
        max_chars=MAX_CHARS,
        height=80,
        help="Read once, without any change; the patch acts on what is written after it.",
        **state.bind("controllers.prompt", prompt, lambda text: state.set_option(PROMPT, text or "")),
    )
    strength, seed = _settings(asked, one)
    with boundary("asking the controller"), st.spinner("Reading the prompt, and writing on without and with it"):
        _show(_look(one.digest, str(one.facts.get("model")), _dtype(one), prompt, strength, seed))
    _use(one, strength, pages)


def first_prompt(one: "Shelved") -> str:
    """The held-out target that it was surest of, or the tour's first text."""
    scores = one.manifest.get("scores")
    known = scores["prompts"] if isinstance(scores, dict) else ()
    targets = [row for row in known if row["is_target"]]
    best = max(targets, key=lambda row: row["decision"]["s"], default=None)
    return str(best["text"]) if best else read_text_set("tour").texts[0]


def _settings(asked: Spec, one: "Shelved") -> tuple[float, int]:
    usual = float(one.facts.get("alpha", 1.0))
    given, seed = asked.options.get(STRENGTH), asked.options.get(SEED, 0)
    strength = float(given) if isinstance(given, int | float) else usual
    left, right = st.columns([4, 1])
    unit = "× mean norm" if one.facts.get("unit") == "relative" else "absolute"
    left.slider(
        f"Strength α, {unit}",
        *(0.0, max(8 * usual, strength)),
        step=usual / 20,
        help=f"It was trained for and measured at {usual:g}.",
        **state.bind("controllers.alpha", strength, lambda value: state.set_option(STRENGTH, value)),
    )
    right.number_input(
        "Seed",
        0,
        2**31,
        step=1,
        help="Of the sampling; both texts have the same.",
        **state.bind("controllers.seed", int(seed), lambda value: state.set_option(SEED, value or 0)),
    )
    return strength, int(seed)


def _dtype(one: "Shelved") -> str:
    return str(one.facts.get("dtype", "float32"))


@st.cache_data(show_spinner=False, max_entries=128)
def _look(digest: str, model: str, dtype: str, prompt: str, strength: float, seed: int) -> "Look":
    resources.warm_up()
    from steering.controller_view import looked_at

    return looked_at(resources.load(model, dtype), digest, prompt, strength, N_TOKENS, seed)


def _show(seen: "Look") -> None:
    said = seen.decision
    left, right = st.columns([1, 2], gap="medium")
    with left:
        st.metric("s on this prompt", f"{said.s:+.2f}", help="About 0 leaves the prompt alone, about 1 acts in full.")
        caption(
            f"The network says {said.raw:+.2f}: as a probability of being a target {said.probability:.0%}. "
            "How far that can be believed is the calibration error below."
        )
        figure = controller_pictures.weights_figure(seen.layers, said.weights)
        st.plotly_chart(figure, key="controller-weights", config={"displayModeBar": False})
        caption("The patch at a block is s · w · α long.")
    with right:
        clean, steered = st.columns(2)
        with clean, st.container(border=True):
            st.markdown("**without**")
            st.markdown(plain(seen.clean) or "–")
        with steered, st.container(border=True):
            st.markdown(f":orange[**with, α {seen.strength:g}**]")
            st.markdown(plain(seen.steered) or "–")
        caption(f"Both written on with the same seed, {N_TOKENS} tokens at most.")


def _use(one: "Shelved", strength: float, pages: Mapping[str, Any]) -> None:
    help_words = "Puts it into the recipe: it then acts in every generation of the view."
    if st.button("Use in the lab", type="primary", icon=":material/science:", help=help_words):
        with boundary("adding the controller"):
            from steering.controller_folder import shelved_controller
            from steering.methods.controller import change_by

            _, controller = shelved_controller(one.digest)
            use_in_lab(change_by(one.digest, controller, strength).recipe(), pages, str(one.facts.get("model")))
