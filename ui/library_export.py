"""The export menu of the shelf: a file of vectors in the format of a tool, a bundle, or a network's folder."""

from typing import TYPE_CHECKING

import streamlit as st

from analysis.spec import Spec
from capture.errors import UserError
from ui import resources
from ui.boundary import boundary
from ui.lab_export import draw_carried, draw_download, draw_losses, draw_sweeps, file_stem
from ui.numbers import say_bytes
from ui.words import plain

if TYPE_CHECKING:
    from steering.shelf import Shelved
    from steering.vector_file import VectorFile

BUNDLE = "bundle"
KEY = "steerscope.library.export"


@st.fragment
def draw_export_menu(one: "Shelved", asked: Spec) -> None:
    """A button that offers the formats; nothing is made before it is opened."""
    place = st.popover("Export", icon=":material/download:", on_change="rerun", key=KEY)
    if place.open:
        with place, st.container(gap="xsmall"), boundary("exporting it"):
            {"vectors": _offer, "recipes": _recipe}.get(one.kind, _folder)(one, asked)


def _offer(one: "Shelved", asked: Spec) -> None:
    from steering.vector_file import formats

    titles = {kind: module.TITLE.partition(" ")[2] for kind, module in formats().items()}
    kind = st.selectbox(
        "Format",
        [BUNDLE, *titles],
        format_func=lambda kind: "bundle: all of them" if kind == BUNDLE else f"{kind}: {titles[kind]}",
        key=f"{KEY}.format",
    )
    if kind == BUNDLE:
        _bundle(one, asked)
    else:
        _file(one, asked, str(kind))


def _recipe(one: "Shelved", asked: Spec) -> None:
    """The bundle of a recipe, made again from what is on the shelf."""
    from steering.bundle import make_bundle
    from steering.recipe_file import named_recipe

    found = named_recipe(one.digest)
    session = resources.load(found.model or asked.model, asked.dtype)
    made = make_bundle(session, found.interventions, one.name, found.sweeps)
    draw_losses(made.warnings)
    draw_carried(made)
    draw_sweeps(found.sweeps)
    draw_download(made)


def _folder(one: "Shelved", asked: Spec) -> None:
    """The files of a network, which the import takes on another machine."""
    from steering.shelf_export import folder_zip

    data = folder_zip(one)
    st.caption("Its folder as it is: safetensors, and a manifest in JSON. Import takes it on another machine.")
    st.download_button(
        f"Folder (ZIP, {say_bytes(len(data))})",
        data,
        f"{file_stem(one.name)}.zip",
        "application/zip",
        icon=":material/download:",
        type="primary",
        on_click="ignore",
        width="stretch",
        key=f"{KEY}.folder",
    )


def _bundle(one: "Shelved", asked: Spec) -> None:
    from steering.bundle import make_bundle
    from steering.shelf_step import step_from_shelf

    step = step_from_shelf(one.digest)
    st.caption(plain(f"At strength {step.strength:g} ({step.unit}): it is in the vectors, so that 1 is this strength."))
    made = make_bundle(resources.load(_model_of(one, asked), asked.dtype), [step], one.name)
    draw_losses(made.warnings)
    draw_carried(made)
    draw_download(made)


def _file(one: "Shelved", asked: Spec, kind: str) -> None:
    from steering.vector_file import format_named

    module, found = format_named(kind), _vector_file(one, asked)
    st.caption(plain(f"The vectors as they are stored, at strength 1. {module.CANNOT}"))
    refused = [words for at in found.vectors if (words := module.left_out(at))]
    if refused:
        draw_losses(tuple(dict.fromkeys(refused)))
        return
    for name, data in module.write(found).items():
        st.download_button(
            name,
            data,
            f"{file_stem(one.name)}.{name}",
            "application/octet-stream",
            icon=":material/download:",
            on_click="ignore",
            width="stretch",
            key=f"{KEY}.{name}",
        )


def _vector_file(one: "Shelved", asked: Spec) -> "VectorFile":
    """With the shape of their model, where that may be loaded: GGUF names its type, and has a vector for each block."""
    from steering.shelf_export import vector_file_of

    try:
        shape = resources.load(_model_of(one, asked), asked.dtype).shape
    except UserError:
        return vector_file_of(one)
    return vector_file_of(one, shape.family, shape.n_layers)


def _model_of(one: "Shelved", asked: Spec) -> str:
    """The model that they were made on; the view's where they do not say."""
    return str(one.facts.get("model") or asked.model)
