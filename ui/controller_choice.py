"""The controllers on the shelf on the screen: the list, choosing one, importing and exporting."""

import io
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import streamlit as st

from analysis.spec import Spec
from capture.errors import UserError
from ui import state
from ui.boundary import boundary
from ui.controller_words import blocks_words
from ui.words import caption

if TYPE_CHECKING:
    from steering.shelf import Shelved

OPTION = "controller"
MAX_UPLOAD = 64_000_000


def draw_choice(asked: Spec) -> "Shelved | None":
    """A select box over the controllers, with import and export; None where there is none."""
    from steering.shelf import shelved

    known = {one.digest: one for one in shelved("controllers")}
    chosen = _chosen(known, str(asked.options.get(OPTION, "")))
    box, more = st.columns([4, 3], vertical_alignment="bottom")
    with box:
        st.selectbox(
            "Controller",
            list(known),
            format_func=lambda digest: _words(known[digest]),
            placeholder="none on the shelf: train one below",
            help="Bundled ones, and those trained or imported here.",
            **state.bind("controllers.controller", chosen.digest if chosen else None, _choose),
        )
    with more, st.container(horizontal=True, vertical_alignment="bottom"):
        _import_popover()
        if chosen is not None:
            _export(chosen)
            _remove(chosen)
    if chosen is not None:
        caption(about(chosen))
    return chosen


def about(one: "Shelved") -> str:
    """What a controller is, in two sentences."""
    from steering.controller_recipe import VARIANT_WORDS

    facts, recipe = one.facts, one.facts.get("recipe", {})
    prompts = facts.get("prompts", {})
    direction = str(recipe.get("direction", "?")).replace("_", " ")
    said = f" of {recipe['pairs']}" if recipe.get("direction") == "mean_difference" else ""
    learnt = f"{prompts.get('n', 0):,} prompts of {prompts.get('title')!r} on the model {facts.get('model')}"
    return (
        f"{VARIANT_WORDS.get(str(facts.get('variant')), 'of an unknown variant')}. It acts on prompts labelled "
        f"{facts.get('target')!r}, learnt from {learnt}. It reads {blocks_words(one.manifest.get('inputs'))} and adds "
        f"the {direction}{said} at blocks {', '.join(map(str, one.manifest.get('layers', ())))}."
    )


def _chosen(known: "dict[str, Shelved]", wanted: str) -> "Shelved | None":
    """What the link names, else the first; a link that names one that is not here gets a sentence."""
    from steering.shelf import find_shelved

    if wanted:
        try:
            return find_shelved("controllers", wanted)
        except UserError as error:
            st.warning(f"{error.message} {error.hint}", icon=":material/warning:")
    return next(iter(known.values()), None)


def _choose(digest: str | None) -> None:
    if digest:
        state.set_option(OPTION, digest)


def _words(one: "Shelved") -> str:
    scores = one.manifest.get("scores")
    area = f" · AUROC {scores['auroc']:.2f}" if isinstance(scores, dict) and "auroc" in scores else ""
    return f"{one.name} · acts on {one.facts.get('target')} · {one.facts.get('variant')}{area}"


def _export(one: "Shelved") -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(one.folder.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                file.write(path, path.name)
    st.download_button(
        "Export",
        packed.getvalue(),
        f"{one.name}.zip",
        "application/zip",
        icon=":material/download:",
        help="Weights as safetensors, and a manifest that says what they mean; nothing in it is code.",
    )


def _remove(one: "Shelved") -> None:
    if one.is_bundled:
        return
    with st.popover("Remove", icon=":material/delete:"):
        caption(f"Links that name {one.name} open no longer.")
        if st.button("Remove this controller"):
            from steering.shelf import take_off_shelf

            take_off_shelf(one)
            state.set_option(OPTION, "")
            st.rerun()


def _import_popover() -> None:
    with (
        st.popover("Import", icon=":material/upload:"),
        st.form("steerscope.controllers.import", border=False, clear_on_submit=True),
    ):
        given = st.file_uploader("A controller's zip", ["zip"], max_upload_size=MAX_UPLOAD // 1_000_000)
        if st.form_submit_button("Put it on the shelf", type="primary") and given is not None:
            with boundary("importing the controller"):
                _choose(import_zip(given.name, given.getvalue()).digest)
                st.rerun()


def import_zip(name: str, data: bytes) -> "Shelved":
    """Put the controller in a zip on the shelf; raises UserError for anything else, and reads nothing too large."""
    from steering.controller_folder import FILES, KIND, read_controller
    from steering.shelf import put_on_shelf

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file, TemporaryDirectory() as folder:
            found = {Path(one.filename).name: one for one in file.infolist() if Path(one.filename).name in FILES}
            if set(found) != set(FILES) or sum(one.file_size for one in found.values()) > MAX_UPLOAD:
                raise UserError(
                    f"A controller's zip holds {' and '.join(FILES)}, of {MAX_UPLOAD / 1e6:.0f} MB at most; "
                    f"{name[:60]!r} does not.",
                    "Export it again where it was made.",
                )
            for each, entry in found.items():
                (Path(folder) / each).write_bytes(file.read(entry))
            read_controller(Path(folder))
            return put_on_shelf(KIND, Path(folder), Path(name).stem)
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError) as error:
        raise UserError(f"{name[:60]!r} cannot be opened as a zip: {error}.", "Export it again.") from error
