"""The one way from a Spec to a Report: the app, the command line and a notebook all call `run`.

1. Check lens and options. 2. Look the Report up by its key. 3. Load the model, make the tokens.
4. Capture (or take from the store) what the lens names. 5. Measure. 6. Keep the Report.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from analysis.lens import Lens, Measured, Progress, Subject, find_lens
from analysis.option import read_options
from analysis.report import Report, read_report
from analysis.spec import Spec, digest_json
from analysis.text_set import read_text_set
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention, operator_from_recipe
from capture.session import ModelSession
from capture.store import ActivationStore

Load = Callable[[str, str], ModelSession]
"""A model by name and dtype."""


@dataclass(frozen=True)
class Answer:
    """A Report and whether it came from the `store` or from a `fresh` run."""

    report: Report
    source: str


def no_progress(share: float, words: str) -> None:
    """Progress that nobody watches."""


def run(spec: Spec, load: Load, store: ActivationStore | None, progress: Progress = no_progress) -> Answer:
    """The Report of a Spec, from the store where it is there; raises UserError where the Spec cannot be answered.

    A Spec that names a fingerprint whose Report is stored is answered without loading the model.
    """
    lens = find_lens(spec.lens)
    asked = spec.with_(options=read_options(lens.options, spec.options))
    if spec.fingerprint and (answer := _stored(asked, store)):
        return answer
    progress(0.0, f"loading {spec.model}")
    session = load(spec.model, spec.dtype)
    resolved = asked.with_(fingerprint=session.fingerprint)
    if answer := _stored(resolved, store):
        return answer
    if missing := lens.needs(session.shape):
        raise UserError(f"{lens.title} cannot look at {session.name}: {missing}", "Choose another model or page.")
    report = _measure(lens, resolved, session, store, progress)
    if store is not None:
        store.keep_report(report_key(resolved), lens.slug, session.fingerprint, report.to_json())
    return Answer(report, "fresh")


def report_key(spec: Spec) -> str:
    """Name under which the Report of a resolved Spec is kept: it changes with the lens and with the text set too."""
    texts = read_text_set(spec.text_set).texts if spec.text_set else ()
    return digest_json([spec.digest(), find_lens(spec.lens).revision, list(texts)])


def _stored(spec: Spec, store: ActivationStore | None) -> Answer | None:
    text = store.report(report_key(spec)) if store is not None else None
    # The numbers are those of the stored Spec; the pins are those of the one who asks.
    return Answer(replace(read_report(text), spec=spec), "store") if text else None


def _measure(
    lens: Lens, spec: Spec, session: ModelSession, store: ActivationStore | None, progress: Progress
) -> Report:
    at = lens.hook_points(session.shape, spec.options)
    interventions = tuple(operator_from_recipe(dict(recipe)) for recipe in spec.interventions)
    texts = tuple(session.tokens(text, spec.bos) for text in _texts(spec))
    progress(0.05, "capturing activations")
    captures = {} if spec.text_set else _captures(session, texts[0], at, interventions, store)
    subject = Subject(session, texts, captures, spec.bos, bool(spec.text_set), interventions)
    measured = lens.measure(subject, spec.options, progress)
    facts = provenance(session, spec.bos, at, n_tokens=sum(map(len, texts)))
    return _report(lens, spec, facts, measured)


def _texts(spec: Spec) -> tuple[str, ...]:
    return read_text_set(spec.text_set).texts if spec.text_set else (spec.text,)


def _captures(
    session: ModelSession,
    tokens: tuple[int, ...],
    at: tuple[HookPoint, ...],
    interventions: tuple[Intervention, ...],
    store: ActivationStore | None,
) -> dict[HookPoint, Any]:
    if store is None:
        return session.capture(tokens, at, interventions)
    return store.captures(session, tokens, at, interventions)[0]


def _report(lens: Lens, spec: Spec, facts: dict[str, Any], measured: Measured) -> Report:
    findings = tuple(replace(finding, lens=lens.slug) for finding in measured.findings)
    return Report(spec, facts, measured.numbers, measured.arrays, findings)


def provenance(session: ModelSession, bos: bool, at: tuple[HookPoint, ...], n_tokens: int) -> dict[str, Any]:
    """What every view states: model revision, dtype, hook points, BOS, weight processing, faithfulness, tokens."""
    return {
        "model": session.name,
        "revision": session.revision,
        "fingerprint": session.fingerprint,
        "dtype": session.dtype,
        "device": session.device,
        "processing": session.processing,
        "bos": bos,
        "hook_points": [str(point) for point in at],
        "n_tokens": n_tokens,
        "faithfulness": session.faithfulness.to_json() if session.faithfulness else None,
    }
