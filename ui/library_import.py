"""Importing onto the shelf: another tool's file, checked against the view's model, or the ZIP of a folder of ours."""

import tempfile
from pathlib import Path

import streamlit as st

from analysis.spec import Spec
from analysis.text_set import read_text_set
from ui import resources, state
from ui.boundary import boundary
from ui.words import plain

MAX_MB = 256
ENDINGS = ("gguf", "svec", "json", "npz", "safetensors", "zip")
BLOCKS = {
    "": "as the file says",
    "as-used": "those that llama.cpp steers with it",
    "as-measured": "one block earlier",
}
BLOCKS_HELP = (
    "llama.cpp's cvector-generator writes what it measured at the output of block N as direction N + 1. For its files "
    "say which is meant; every other tool's are as they say."
)
KEY = "steerscope.library.import"


def draw_import(asked: Spec) -> None:
    """A button that asks for a file, and for what the file cannot say itself."""
    with st.popover("Import a file", icon=":material/upload:", key=KEY):
        st.caption(
            "GGUF control vector, .svec, Neuronpedia JSON, .npz, .safetensors, or the ZIP of a bundle, a controller or "
            "a hypernetwork. Nothing is run."
        )
        given = st.file_uploader(
            "File of vectors",
            type=list(ENDINGS),
            max_upload_size=MAX_MB,
            key=f"{KEY}.file.{state.session().n_opened}",
            label_visibility="collapsed",
        )
        name = st.text_input("Name", placeholder="the file's own", max_chars=60, key=f"{KEY}.name")
        licence = st.text_input("Licence", placeholder="nobody said", max_chars=200, key=f"{KEY}.licence")
        is_gguf = given is not None and given.name.endswith(".gguf")
        blocks = ""
        if is_gguf:
            blocks = st.radio("Blocks", list(BLOCKS), format_func=BLOCKS.get, help=BLOCKS_HELP, key=f"{KEY}.blocks")
        st.caption(plain(f"Checked against {asked.model}, the model of this view; a ZIP says itself what it is for."))
        if st.button("Import", type="primary", width="stretch", disabled=given is None, key=f"{KEY}.go"):
            with boundary("importing the file"), st.spinner("Reading the file"):
                _import(asked, given.name, given.getvalue(), (name or "").strip(), str(blocks or ""), licence or "")
                st.rerun()


def _import(asked: Spec, file: str, data: bytes, name: str, blocks: str, licence: str) -> None:
    from steering.importing import import_any

    with tempfile.TemporaryDirectory(prefix="steerscope-") as folder:
        # The name is a stranger's: only its last part is a file's.
        path = Path(folder) / (Path(file.replace("\\", "/")).name or "file")
        path.write_bytes(data)
        session = None if path.suffix == ".zip" else resources.load(asked.model, asked.dtype)
        found = import_any(path, name, session, read_text_set("tour").texts, blocks, licence)
    # Another key empties the uploader, which would offer the same file again.
    state.session().n_opened += 1
    state.set_option("item", found.first.digest[:12])
    beside = ", ".join(one.name for one in (*found.more, *found.saes))
    words = f"{found.first.name} is on the shelf{f', and with it {beside}' if beside else ''}."
    st.toast(plain(words), icon=":material/check_circle:")
