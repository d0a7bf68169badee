"""Forms that start long work: train a small model on a folder of text."""

import re
from pathlib import Path
from typing import Any

import streamlit as st

from analysis.text_set import read_text_set
from capture.errors import UserError
from capture.home import home_folder
from ui import visitor
from ui.boundary import boundary
from ui.job_kinds import TRAIN, queue

SIZES = {
    "tiny: 2 blocks of 64": {"d_model": 64, "n_layers": 2, "n_heads": 2, "d_mlp": 192, "d_vocab": 1024},
    "small: 4 blocks of 128": {"d_model": 128, "n_layers": 4, "n_heads": 2, "d_mlp": 352, "d_vocab": 2048},
    "as the bundled model: 5 blocks of 192": {},
}
SHORT_WINDOWS = {"context": 256, "windows": "64:0.7,256:1", "batch_tokens": 2048}
"""What fills a batch from a few pages of text; the bundled model's recipe asks for more."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def models_folder() -> Path:
    """Where trained models go: `models` in $STEERSCOPE_HOME, or in data/cache."""
    return home_folder() / "models"


def train_form() -> None:
    """Ask for a name, a folder of text, a size and a length, and put the training into the queue."""
    with st.form("steerscope.train", border=True):
        st.markdown("**Train a model**")
        st.caption(
            "A story model of your own, on this machine's processor and at low priority. It goes on after a restart, "
            f"and the finished model is in {models_folder()}."
        )
        name, size = st.columns(2)
        chosen = {
            "name": name.text_input("Name", placeholder="my-stories", max_chars=40),
            "size": size.selectbox("Size", list(SIZES)),
            "text": st.text_input(
                "Folder of text", placeholder="/path/to/folder", help="Its .txt files, UTF-8, are learnt from."
            ),
            "m_tokens": st.number_input(
                "Length, M tokens", 0.01, 100.0, 1.0, 0.1, help="How much text is read in all, repeats included."
            ),
        }
        if st.form_submit_button("Start", type="primary", icon=":material/play_arrow:"):
            with boundary("starting the training"):
                queue().submit(TRAIN, training_recipe(**chosen), visitor.owner(), f"Train {chosen['name']}")
                st.caption("It is in the queue: the sidebar shows how far it is.")


def training_recipe(name: str, size: str, text: str, m_tokens: float) -> dict[str, Any]:
    """The recipe of a training job; raises UserError for a name or a folder that will not do."""
    folder = check_text_folder(text)
    out = models_folder() / check_name(name)
    if (out / "checkpoint.pt").exists():
        raise UserError(f"A model called {name!r} is here already.", "Choose another name, or press Go on at its job.")
    windows = SHORT_WINDOWS if SIZES[size] else {}
    return {
        "text": str(folder),
        "out": str(out),
        "recipe": {**SIZES[size], **windows, "total_tokens": round(m_tokens * 1e6)},
        "first_text": read_text_set("tour").texts[0],
    }


def check_name(name: str) -> str:
    """The name; raises UserError for one that could not be a folder's anywhere."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"A name has 1 to 40 small letters, digits and hyphens; {name[:60]!r} was given.", "Choose another name."
        )
    return name


def check_text_folder(text: str) -> Path:
    """The folder of text; raises UserError where it has none."""
    folder = Path(text).expanduser()
    if not text.strip() or not any(folder.glob("*.txt")):
        raise UserError(f"The folder of text must have .txt files; {text[:80]!r} has none.", "Name another folder.")
    return folder.resolve()
