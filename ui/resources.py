"""What all browser sessions share: loaded models and the one ActivationStore. Nothing else is global."""

import gc
import os
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import streamlit as st

if TYPE_CHECKING:
    from capture.models import ModelCard
    from capture.session import ModelSession
    from capture.store import ActivationStore

MAX_MODELS = 2


def load(name: str, dtype: str) -> "ModelSession":
    """The loaded model of that name and dtype; loaded once for all sessions, again where its files changed."""
    session = _session(name, dtype, _stamp(name))
    spare_collector()
    return session


@st.cache_resource(show_spinner=False, max_entries=MAX_MODELS)
def _session(name: str, dtype: str, stamp: int) -> "ModelSession":
    from capture.models import load_session

    return load_session(name, dtype)


def _stamp(name: str) -> int:
    """Time of the newest file of a model folder; 0 for what is no folder."""
    folder = Path(name)
    if not folder.is_dir():
        return 0
    return max((entry.stat().st_mtime_ns for entry in folder.iterdir()), default=0)


@st.cache_resource(show_spinner=False)
def store() -> "ActivationStore":
    """The one store of this process."""
    from capture.store import ActivationStore

    return ActivationStore.open(None)


@st.cache_resource(show_spinner=False)
def _imported() -> Event:
    return Event()


def is_warm() -> bool:
    """Whether the heavy libraries are imported, so that lenses can be asked for their titles and options."""
    return _imported().is_set()


def warm_up() -> None:
    """Import what measuring needs; seconds the first time, nothing afterwards."""
    import analysis.pipeline
    import capture.models
    from analysis.lens import lenses

    del analysis, capture
    lenses()
    spare_collector()
    _imported().set()


def spare_collector() -> None:
    """Take what exists out of the garbage collector's sight.

    Streamlit collects after every run, and with the heavy libraries in sight that takes longer than the run.
    """
    gc.freeze()


def catalogue() -> tuple["ModelCard", ...]:
    """The models that the sidebar offers by name."""
    from capture.models import catalogue as cards

    return cards()


def memory() -> dict[str, Any]:
    """Bytes that this process holds and bytes that the machine has."""
    page = os.sysconf("SC_PAGE_SIZE")
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * page if Path("/proc/self/statm").exists() else 0
    return {"used": resident, "total": page * os.sysconf("SC_PHYS_PAGES")}
