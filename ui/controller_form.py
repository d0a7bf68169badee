"""The form that trains a controller: prompts, direction, variant; what it asks for becomes a job."""

from typing import Any

import streamlit as st

from steering.controller_recipe import OUTPUTS, UNITS, VARIANT_WORDS, VARIANTS
from ui import resources, visitor
from ui.boundary import boundary
from ui.controller_job import CONTROLLER, controller_recipe, kept_uploads
from ui.job_kinds import queue
from ui.words import plain

FILE = "a file"
TYPES = ["json", "jsonl", "csv", "tsv", "txt", "parquet"]
FILE_WORDS = (
    "With text and label, or in the layouts of AxBench, CAA, Anthropic's evaluations or IBM; of repeng, RepE and "
    "refusal_direction, whose files have one label each, all of them, the target first."
)
DTYPES = ("float32", "bfloat16")
PAIRS, PHRASES, VECTORS = "mean_difference", "phrases", "vectors"
DIRECTION_WORDS = {
    PAIRS: "mean difference of contrast pairs",
    PHRASES: "phrases, in the unembedding (the paper's)",
    VECTORS: "vectors on the shelf",
}


def train_controller_form() -> None:
    """Ask for prompts, a direction and a variant, and put the training into the queue."""
    with st.container(border=True):
        st.markdown("**Train a controller**")
        st.caption(
            "A small network learns from labelled prompts when to act; a direction says what acting does. It is then "
            "measured on prompts held out, beside constant steering and CAST: minutes for the bundled model."
        )
        chosen = {**_prompts(), **_network()}
        fields = _direction()
        with st.expander("More"):
            fields |= _more()
        if st.button("Train", type="primary", icon=":material/play_arrow:", key="steerscope.controllers.train"):
            with boundary("starting the training"):
                _submit(chosen, {name: chosen.pop(name) for name in ("variant", "target")} | fields)


def _submit(chosen: dict[str, Any], fields: dict[str, Any]) -> None:
    for name in ("prompts", "held_out"):
        if given := chosen.pop(f"{name}_files"):
            chosen[name] = kept_uploads([(one.name, one.getvalue()) for one in given])
    queue().submit(
        CONTROLLER.slug, controller_recipe(fields=fields, **chosen), visitor.owner(), f"Controller {chosen['name']}"
    )
    st.caption("It is in the queue: the sidebar shows how far it is.")


def _prompts() -> dict[str, Any]:
    from steering.prompt_file import bundled_prompts

    name, model, dtype = st.columns([3, 3, 2])
    sets = [FILE, *(one for one in bundled_prompts() if not one.endswith(("_held_out", "_choose")))]
    left, right = st.columns(2)
    prompts = left.selectbox("Prompts", sets, index=len(sets) - 1, key="steerscope.controllers.prompts")
    given, held_out, target = None, None, ""
    if prompts == FILE:
        given = left.file_uploader("Labelled prompts", TYPES, accept_multiple_files=True, help=FILE_WORDS)
        held_out = right.file_uploader(
            "Prompts held out", TYPES, accept_multiple_files=True, help="30 % of the others, by lot, without a file."
        )
        target = right.text_input(
            "Target label", placeholder="the first in the file", help="It acts on these prompts, and leaves the rest."
        )
    else:
        right.caption(f"Measured on {plain(prompts)}_held_out, from templates of its own.")
    return {
        "name": name.text_input("Name", placeholder="my-controller", max_chars=40, key="steerscope.controllers.name"),
        "model": model.selectbox("Model", resources.allowed_models(), key="steerscope.controllers.model"),
        "dtype": dtype.selectbox("Number format", DTYPES, key="steerscope.controllers.dtype"),
        "prompts": "" if prompts == FILE else prompts,
        "held_out": "",
        "prompts_files": given,
        "held_out_files": held_out,
        "target": target,
    }


def _network() -> dict[str, Any]:
    return {
        "variant": st.selectbox(
            "Variant",
            VARIANTS,
            format_func=lambda one: VARIANT_WORDS[one],
            help="The published loss gives the layer weights no gradient; the other two are there to compare with.",
            key="steerscope.controllers.variant",
        )
    }


def _direction() -> dict[str, Any]:
    from steering.contrast_pairs import bundled_sets
    from steering.shelf import shelved

    left, right = st.columns(2)
    direction = left.selectbox(
        "Direction",
        list(DIRECTION_WORDS),
        format_func=lambda one: DIRECTION_WORDS[one],
        key="steerscope.controllers.direction",
    )
    sets = list(bundled_sets())
    found: dict[str, Any] = {
        "direction": direction,
        "pairs": right.selectbox(
            "Contrast pairs",
            sets,
            index=sets.index("happy_sad") if "happy_sad" in sets else 0,
            help="Half of them are learnt from; the effect is measured on the others.",
            key="steerscope.controllers.pairs",
        ),
    }
    if direction == PHRASES:
        found["wanted"] = left.text_input("Towards, phrases separated by ;", key="steerscope.controllers.wanted")
        found["unwanted"] = right.text_input("Away from", key="steerscope.controllers.unwanted")
    if direction == VECTORS:
        by_name = {one.name: one for one in shelved("vectors")}
        named = left.selectbox("Vectors", list(by_name), key="steerscope.controllers.vectors")
        found["vectors"] = str(by_name[named].folder) if named else ""
    return found


def _more() -> dict[str, Any]:
    first, second, third = st.columns(3)
    return {
        "inputs": second.text_input("Blocks to read", help="Such as 2,3; the last third unless given."),
        "layers": third.text_input("Blocks to patch", help="All unless given."),
        "alpha": first.number_input("Strength α", 0.0, 1e4, 0.2, 0.05),
        "unit": second.selectbox("Unit of α", UNITS, index=1, help="relative: multiples of the mean residual norm."),
        "output": third.selectbox("What acts", OUTPUTS, help="s as it is, cut to [0, 1], or through a sigmoid."),
        "hidden": int(first.number_input("Hidden units", 1, 4096, 64)),
        "n_epochs": int(second.number_input("Epochs", 1, 1000, 4)),
        "learning_rate": third.number_input("Learning rate", 1e-6, 1.0, 3e-4, format="%.1e"),
    }
