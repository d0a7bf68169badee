"""Sharing a view: what is kept with it, how it is found again, and what has changed since.

A kept view opens from its own bytes: no model is loaded, and nothing that a newer program computes is mixed in.
"""

import datetime
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from analysis.report import Report
from analysis.spec import Spec
from analysis.view_file import ViewFile, read_view_file
from capture.errors import UserError
from capture.store import ActivationStore

LIBRARIES = ("torch", "transformers", "transformer-lens")
LISTED_CHARACTERS = 200


def view_of(spec: Spec, reports: Sequence[Report]) -> ViewFile:
    """The view on screen as a file: its Spec with pins, and its Reports."""
    made = {
        "at": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "lens_revisions": {report.spec.lens: _lens_revision(report.spec.lens) for report in reports},
        "versions": versions_now(),
    }
    return ViewFile(spec, tuple(reports), made)


def keep_view(view: ViewFile, store: ActivationStore) -> str:
    """Keep a view for good and return its id; one that is kept already stays as it is."""
    if store.view(view.id) is None:
        text = view.spec.text_set or view.spec.text
        header = {"lens": view.spec.lens, "text": text[:LISTED_CHARACTERS], "made": str(view.made.get("at", ""))}
        store.keep_view(view.id, view.to_bytes(), header)
    return view.id


def kept_view(identity: str, store: ActivationStore | None) -> ViewFile:
    """The view kept under an id; raises UserError where this store has none."""
    data = store.view(identity) if store is not None else None
    if data is None:
        raise UserError(
            f"No view {identity[:40]} is kept here.",
            "A short link opens where it was made: ask for the self-contained link or for the view file.",
        )
    return read_view_file(data)


def changes_since(view: ViewFile, fingerprints_now: dict[str, str]) -> tuple[str, ...]:
    """Sentences on what differs between then and now; empty where nothing is known to.

    `fingerprints_now` has the models that are known here by name, and may lack those that nobody loaded.
    """
    then = view.made
    sentences = [
        f"The {slug} lens has changed: revision {revision} then, {now} now."
        for slug, revision in sorted(dict(then.get("lens_revisions", {})).items())
        if (now := _lens_revision(slug)) != revision
    ]
    for model, fingerprint in sorted(_fingerprints(view.reports).items()):
        known = fingerprints_now.get(model)
        if known is not None and known != fingerprint:
            sentences.append(f"The model {model} was {fingerprint[:8]} then and is {known[:8]} now.")
    for name, now_version in versions_now().items():
        if (then_version := dict(then.get("versions", {})).get(name)) not in (None, now_version):
            sentences.append(f"{name} was {then_version} then and is {now_version} now.")
    return tuple(sentences)


def _fingerprints(reports: Sequence[Report]) -> dict[str, str]:
    """Each model's fingerprint by name, of those that were run in one form only."""
    found = {(str(run.get("model", "")), str(run.get("fingerprint", ""))) for one in reports for run in one.runs}
    names = [model for model, _ in found]
    return {model: fingerprint for model, fingerprint in found if names.count(model) == 1}


def versions_now() -> dict[str, str]:
    """Versions of Python and of the libraries that run a model."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "missing"
    return found


def _lens_revision(slug: str) -> int | None:
    from analysis.lens import find_lens

    try:
        return find_lens(slug).revision
    except UserError:
        return None
