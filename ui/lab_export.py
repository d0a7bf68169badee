"""Export of the lab's recipe: one archive for other tools, with what they cannot say beside the button."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from ui import resources
from ui.boundary import boundary
from ui.numbers import say_bytes
from ui.words import plain, shortened

if TYPE_CHECKING:
    from steering.bundle import Bundle

NOTHING = "The recipe has no changes yet: add one, and it can be exported."
MAX_NAME = 60


@st.fragment
def draw_export(asked: Spec) -> None:
    """A button that opens the bundle of the recipe: what it loses, and its download. Made once it is opened."""
    place = st.popover("Export bundle", icon=":material/inventory_2:", on_change="rerun", key="steerscope.bundle")
    if place.open:
        with place, st.container(gap="xsmall"), boundary("making the bundle"):
            _offer(asked)


def _offer(asked: Spec) -> None:
    if not asked.interventions:
        st.caption(NOTHING)
        return
    st.caption(
        "One folder that llama.cpp, repeng, steering-vectors, IBM's activation-steering, Neuronpedia and plain "
        "transformers can steer with, and the recipe as it is, with the networks and SAEs that it names."
    )
    name = st.text_input("Name", placeholder="the first step's", max_chars=MAX_NAME, key="steerscope.bundle.name")
    with st.spinner("Making the bundle"):
        sweeps = sweeps_for(asked)
        made = _made(asked, (name or "").strip(), sweeps)
    draw_losses(made.warnings)
    draw_carried(made)
    draw_sweeps(sweeps)
    draw_download(made)
    st.caption(
        "With its recipe.json: `python cli.py export recipe.json --bundle FOLDER` writes it again, "
        "`python cli.py import FILE.zip` puts it on another machine’s shelf, and "
        "`python cli.py bake recipe.json --out FOLDER` folds it into the weights of a model."
    )


def _made(asked: Spec, name: str, sweeps: Sequence[Mapping[str, Any]] = ()) -> "Bundle":
    from capture.intervention import operator_from_recipe
    from steering.bundle import make_bundle

    recipe = [operator_from_recipe(dict(one)) for one in asked.interventions]
    return make_bundle(resources.load(asked.model, asked.dtype), recipe, name, sweeps)


def sweeps_for(asked: Spec) -> tuple[Mapping[str, Any], ...]:
    """The sweeps of this very recipe that the store has."""
    from steering.recipe_sweeps import recipe_sweeps

    session = resources.load(asked.model, asked.dtype)
    return recipe_sweeps(resources.store(), asked.interventions, session.fingerprint, session.dtype)


def draw_sweeps(sweeps: Sequence[Mapping[str, Any]]) -> None:
    """Whose scores go into the manifest."""
    if not sweeps:
        st.caption(
            "No sweep of this recipe is kept, so the manifest has the scores of its vectors alone: Auto-tune it."
        )
    for one in sweeps:
        st.caption(plain(f"With the dose-response of {one.words()}."))


def draw_carried(made: "Bundle") -> None:
    """What of the shelf lies in the bundle, and how large it is."""
    for one in made.carried:
        st.caption(plain(f"Carries {one.words()}"))


def draw_losses(warnings: tuple[str, ...]) -> None:
    """What the files cannot say, in the bundle's own sentences."""
    if not warnings:
        st.caption("Every file can say all of it.")
        return
    lines = "\n".join(f"- {plain(one)}" for one in warnings)
    st.warning(f"What the files cannot say, and the bundle’s README says too:\n\n{lines}", icon=":material/warning:")


def draw_download(made: "Bundle") -> None:
    """The archive, and what is in it."""
    from steering.bundle import bundle_zip

    data = bundle_zip(made)
    st.download_button(
        f"Bundle (ZIP, {say_bytes(len(data))})",
        data,
        f"{file_stem(made.name)}.zip",
        "application/zip",
        icon=":material/download:",
        type="primary",
        on_click="ignore",
        width="stretch",
    )
    st.caption(plain(f"{len(made.files)} files of {say_bytes(made.n_bytes)}: {', '.join(made.files)}"))


def file_stem(name: str) -> str:
    """A file name of a name that a person gave."""
    kept = "".join(one if one.isalnum() or one in "-_" else "-" for one in name).strip("-")
    return shortened(kept, 40).rstrip("…") or "bundle"
