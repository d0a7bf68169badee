"""What all browser sessions share: loaded models and the one ActivationStore. Nothing else is global."""

import gc
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from analysis.text_set import read_text_set
from capture.errors import UserError

if TYPE_CHECKING:
    from analysis.report import Report
    from analysis.sparse_text import Written
    from analysis.view_file import ViewFile
    from capture.models import ModelCard
    from capture.session import ModelSession
    from capture.store import ActivationStore

MAX_MODELS = 2
MAX_WRITTEN = 64
MAX_FITTED = 64
"""Texts of a set that a method's thresholds are taken from before it writes."""
_HTTP_ADDRESS = re.compile(r"https?://[\w.-]+(?::\d+)?(?:/[\w./~-]*)?")


def load(name: str, dtype: str) -> "ModelSession":
    """The loaded model of that name and dtype; loaded once for all sessions, again where its files changed.

    Refuses a model that a link names and nobody here chose: a link must not read folders or fetch from the hub.
    """
    if not is_allowed(name):
        message = f"A link asks for the model {name[:80]!r}, which nobody opened here yet."
        raise UserError(message, "If you trust it, press Open this model in the sidebar.")
    session = _session(name, dtype, _stamp(name))
    spare_collector()
    return session


def is_allowed(name: str) -> bool:
    """Whether a model, or the model whose checkpoint it is, is in the catalogue or was chosen by a person here."""
    from capture.model_source import parted

    known = {*_allowed(), *(card.name for card in catalogue())}
    return name in known or (name.rpartition("@")[0] in known and parted(name)[1] != "")


def allow(name: str) -> None:
    """Let every session of this server load a model, and changes read it beside another: a person chose it."""
    from capture.companion import allow_companion

    _allowed().add(name)
    allow_companion(name)


@st.cache_resource(show_spinner=False)
def _allowed() -> set[str]:
    return set()


def allowed_models() -> tuple[str, ...]:
    """Every model that may be loaded here, by name: the catalogue, then those that a person chose."""
    names = [card.name for card in catalogue()]
    return (*names, *sorted(_allowed() - set(names)))


def check_faithfulness(spec: Spec) -> dict[str, Any]:
    """The Spec's text (the first one of a text set) run with hooks and without, as the badge's numbers."""
    from capture.faithfulness import check

    session = load(spec.model, spec.dtype)
    text = read_text_set(spec.text_set).texts[0] if spec.text_set else spec.text
    return check(session, session.tokens(text, spec.bos)).to_json()


def written(spec: Spec, slug: str, budget: float, recipes: tuple[str, ...]) -> "Written":
    """What the Spec's model writes, dense and under a method's masks; `recipes` are those of masks that are known."""
    session = load(spec.model, spec.dtype)
    return _written(session.fingerprint, spec.with_(pins={}, options={}).digest(), slug, budget, recipes, spec, session)


@st.cache_data(show_spinner=False, max_entries=MAX_WRITTEN)
def _written(
    fingerprint: str, digest: str, slug: str, budget: float, recipes: tuple[str, ...], _spec: Spec, _session: Any
) -> "Written":
    from analysis.plain_json import read_json
    from analysis.sparse_text import masks_of, write_on
    from capture.intervention import operator_from_recipe

    texts = read_text_set(_spec.text_set).texts[:MAX_FITTED] if _spec.text_set else (_spec.text,)
    tokens = [_session.tokens(text, _spec.bos) for text in texts]
    base = tuple(operator_from_recipe(dict(one)) for one in _spec.interventions)
    known = tuple(operator_from_recipe(read_json(one)) for one in recipes)
    return write_on(_session, tokens[0], known or masks_of(_session, tokens, slug, budget, base), base)


@st.cache_resource(show_spinner=False, max_entries=MAX_MODELS)
def _session(name: str, dtype: str, stamp: int) -> "ModelSession":
    from capture.models import load_session

    with collector_paused():
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


def keep_shared(specs: Iterable[Spec]) -> None:
    """Never remove the Reports of these resolved Specs from the store: somebody is about to send their link."""
    from analysis.pipeline import report_key

    kept = store()
    for spec in specs:
        kept.mark_shared(report_key(spec))


def kept_view(identity: str) -> "ViewFile":
    """The view kept under a short id; no model is loaded. Raises UserError where this store has none."""
    from analysis.shared_view import kept_view as find

    return find(identity, store())


def keep_view(view: "ViewFile") -> str:
    """Keep a view for good; returns its short id."""
    from analysis.shared_view import keep_view as keep

    return keep(view, store())


def known_fingerprints(reports: "Iterable[Report]") -> dict[str, str]:
    """Today's fingerprint of each model of these Reports whose files were loaded here before."""
    runs = [run for report in reports for run in report.runs]
    found = {str(run.get("model", "")): str(run.get("dtype", "")) for run in runs}
    return {name: known for name, dtype in found.items() if (known := known_fingerprint(name, dtype))}


def known_fingerprint(name: str, dtype: str) -> str:
    """Today's fingerprint of a model whose files were loaded here before; "" of another."""
    from capture.models import FINGERPRINT, model_stamp

    stamp = model_stamp(name, dtype) if is_allowed(name) else None
    kept = store() if stamp else None
    return (kept.remembered(FINGERPRINT, stamp) if kept is not None and stamp else None) or ""


def base_address() -> str | None:
    """Where others reach this server, as $STEERSCOPE_BASE_URL says; None where it is not set.

    Raises UserError where that is no http or https address.
    """
    given = os.environ.get("STEERSCOPE_BASE_URL", "").strip()
    if not given:
        return None
    found = _HTTP_ADDRESS.fullmatch(given)
    if found is None:
        message = f"STEERSCOPE_BASE_URL must be an http or https address; it is {given[:80]!r}."
        raise UserError(message, "Start the server with an address such as https://steerscope.example.org, or without.")
    return given.rstrip("/")


@st.cache_resource(show_spinner=False)
def _warm() -> set[str]:
    return set()


def is_warm() -> bool:
    """Whether what measuring needs is imported."""
    return bool(_warm())


def warm_up() -> None:
    """Import what measuring needs; seconds the first time, nothing afterwards."""
    with collector_paused():
        import analysis.pipeline
        import capture.models
        from analysis.lens import lenses

        del analysis, capture
        lenses()
    _warm().add("lenses")
    spare_collector()


@contextmanager
def collector_paused() -> Iterator[None]:
    """No automatic collection inside: while libraries are imported it costs a quarter of the time and frees nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


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
