"""The one way from a Spec to a Report: the app, the command line and a notebook all call `run`.

1. Check lens and options. 2. Look the Report up by its key. 3. Load the model, make the tokens.
4. Capture (or take from the store) what the lens names. 5. Measure. 6. Keep the Report.

A lens over Reports opens its sides instead of 3 and 4, each by this same way or from a kept view. A lens over
checkpoints loads each of them itself.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from analysis.facts import joined, provenance
from analysis.lens import (
    AnyLens,
    Lens,
    Measured,
    Partial,
    Progress,
    ReportLens,
    SeriesLens,
    Subject,
    comparable_lens,
    find_lens,
    known_lenses,
    lenses,
    no_partial,
)
from analysis.link import read_link
from analysis.option import read_options
from analysis.report import Report, read_report
from analysis.report_rows import rows_of
from analysis.series import OpenedSeries, series_stamp, trained_models
from analysis.shared_view import kept_view
from analysis.spec import Spec, digest_json
from analysis.store_checkpoint import StoreCheckpoint
from analysis.text_set import read_text_set
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import Intervention, operator_from_recipe
from capture.models import FINGERPRINT, model_stamp
from capture.session import ModelSession
from capture.store import ActivationStore
from capture.store_timings import size_class

EVERY_LENS = "what_stands_out"
"""The page that shows the Reports of all lenses for one text."""

Load = Callable[[str, str], ModelSession]
"""A model by name and dtype."""


@dataclass(frozen=True)
class Answer:
    """A Report, and whether it came from the `store` or from a `fresh` run.

    `notice` says what went wrong beside the numbers, such as a store that could not keep them.
    """

    report: Report
    source: str
    notice: str = ""


def no_progress(share: float, words: str) -> None:
    """Progress that nobody watches."""


def run(
    spec: Spec,
    load: Load,
    store: ActivationStore | None,
    progress: Progress = no_progress,
    on_partial: Partial = no_partial,
) -> Answer:
    """The Report of a Spec, from the store where it is there; raises UserError where the Spec cannot be answered.

    A Spec that names a fingerprint whose Report is stored is answered without loading the model. `on_partial` is told
    what a lens that writes has written so far.
    """
    _check(spec)
    lens = find_lens(spec.lens)
    asked = spec.with_(options=read_options(lens.options, spec.options))
    if isinstance(lens, ReportLens):
        return _combined(lens, asked, load, store, progress)
    if isinstance(lens, SeriesLens):
        return _over_checkpoints(lens, asked, load, store, progress)
    stamp = model_stamp(spec.model, spec.dtype)
    fingerprint = spec.fingerprint or (store.remembered(FINGERPRINT, stamp) if store is not None and stamp else None)
    if fingerprint and (answer := _stored(_settled(lens, asked, fingerprint), store)):
        return answer
    progress(0.0, f"loading {spec.model}")
    session = load(spec.model, spec.dtype)
    resolved = _settled(lens, asked, session.fingerprint)
    if answer := _stored(resolved, store):
        return answer
    if missing := lens.needs(session.shape):
        raise UserError(f"{lens.title} cannot look at {session.name}: {missing}", "Choose another model or page.")
    checkpoint = _checkpoint(resolved, session, store)
    goes_on = checkpoint is not None and checkpoint.load() is not None
    start = _clock(store)
    report = _measure(lens, resolved, session, store, progress, on_partial, checkpoint)
    if not goes_on:
        # A run that goes on where another was stopped took only a part of the time.
        _note_time(store, "run", report, start)
    notice = _keep(report, store)
    if checkpoint is not None:
        checkpoint.remove()
    if store is not None and stamp and not notice:
        store.remember(FINGERPRINT, stamp, session.fingerprint)
    return Answer(report, "fresh", notice)


def _settled(lens: Lens, asked: Spec, fingerprint: str) -> Spec:
    return asked.with_(fingerprint=fingerprint, options=lens.settle(asked.options, fingerprint))


def _check(spec: Spec) -> None:
    """Refuse what no link could spell: NaN, and half a surrogate pair, as is made of bytes that are no UTF-8."""
    try:
        spec.digest()
    except ValueError as error:
        raise UserError(
            f"A view must be of text that UTF-8 can spell and of finite numbers: {str(error)[:100]}.",
            "Type the text again, or give it as a file in UTF-8.",
        ) from error


def _combined(lens: ReportLens, asked: Spec, load: Load, store: ActivationStore | None, progress: Progress) -> Answer:
    """The Report of a lens over Reports; its fingerprint is the digest of the numbers it was made from."""
    reports = []
    for number, name in enumerate(lens.sides):

        def part(share: float, words: str, number: int = number, name: str = name) -> None:
            progress((number + share) / (len(lens.sides) + 1), f"{name}: {words}")

        reports.append(_side(str(asked.options[name]), name, load, store, part))
    fingerprint = digest_json([[one.spec.with_(pins={}).to_json(), one.digest()] for one in reports])
    resolved = asked.with_(fingerprint=fingerprint)
    if answer := _stored(resolved, store):
        return answer
    start = _clock(store)
    measured = lens.combine(tuple(reports), asked.options)
    sides = [dict(one.facts) for one in reports]
    facts = {**joined(sides), "fingerprint": fingerprint, "sides": sides}
    findings = tuple(replace(finding, lens=lens.slug) for finding in measured.findings)
    report = Report(resolved, facts, measured.numbers, measured.arrays, findings)
    _note_time(store, "run", report, start)
    progress(1.0, "done")
    return Answer(report, "fresh", _keep(report, store))


def _over_checkpoints(
    lens: SeriesLens, asked: Spec, load: Load, store: ActivationStore | None, progress: Progress
) -> Answer:
    """The Report of a lens over checkpoints; its fingerprint is the digest of theirs."""
    trained = trained_models(lens, asked)
    stamp = series_stamp(asked)
    fingerprint = asked.fingerprint or (store.remembered(FINGERPRINT, stamp) if store is not None else None)
    if fingerprint and (answer := _stored(asked.with_(fingerprint=fingerprint), store)):
        return answer
    start = _clock(store)
    series = OpenedSeries(trained, asked, load)
    progress(0.0, f"loading {trained[-1].name}")
    last = series.open(trained[-1])
    if missing := lens.needs(last.shape):
        raise UserError(f"{lens.title} cannot look at {last.name}: {missing}", "Choose another model or page.")
    measured = lens.measure(series.as_series(_texts(asked)), asked.options, progress)
    resolved = asked.with_(fingerprint=series.fingerprint())
    at = lens.hook_points(last.shape, asked.options)
    n_tokens = sum(len(last.tokens(text, asked.bos)) for text in _texts(asked))
    report = _report(lens, resolved, provenance(last, asked.bos, at, n_tokens), measured)
    _note_time(store, "run", report, start)
    notice = _keep(report, store)
    if store is not None and not notice:
        store.remember(FINGERPRINT, stamp, resolved.fingerprint)
    return Answer(report, "fresh", notice)


def _side(text: str, name: str, load: Load, store: ActivationStore | None, progress: Progress) -> Report:
    """The Report that one side's link opens; of a view with several, the first."""
    if not text.strip():
        raise UserError(f"The {name} view is missing.", "Paste a link, or press Compare on the page to compare.")
    link = read_link(text)
    if link.id:
        return kept_view(link.id, store).reports[0]
    assert link.spec is not None  # read_link gives one or the other
    spec = link.spec
    if spec.lens in known_lenses() and spec.lens not in lenses():
        title = find_lens(spec.lens).title
        raise UserError(f"A view of {title} cannot be compared.", "Choose a link to a page of one model and its text.")
    if spec.lens == EVERY_LENS:
        spec = spec.with_(lens=comparable_lens(), options={})
    return run(spec, load, store, progress).report


def _keep(report: Report, store: ActivationStore | None) -> str:
    """Keep a Report; a store that cannot must not cost the numbers, so what it says is returned."""
    if store is None:
        return ""
    try:
        key, fingerprint = report_key(report.spec), report.facts["fingerprint"]
        rows = rows_of(report, find_lens(report.spec.lens).quantities)
        store.keep_report(key, report.spec.lens, fingerprint, report.to_json(), rows)
    except UserError as error:
        return f"These numbers were not kept: {error}"
    return ""


def report_key(spec: Spec) -> str:
    """Name under which the Report of a resolved Spec is kept: it changes with the lens and with the text set too."""
    texts = read_text_set(spec.text_set).texts if spec.text_set else ()
    return digest_json([spec.digest(), find_lens(spec.lens).revision, list(texts)])


def _stored(spec: Spec, store: ActivationStore | None) -> Answer | None:
    start = _clock(store)
    text = store.report(report_key(spec)) if store is not None else None
    if not text:
        return None
    # The numbers are those of the stored Spec; the pins are those of the one who asks.
    report = replace(read_report(text), spec=spec)
    _note_time(store, "read", report, start)
    return Answer(report, "store")


def _clock(store: ActivationStore | None) -> float:
    return store.clock() if store is not None else 0.0


def _note_time(store: ActivationStore | None, action: str, report: Report, start: float) -> None:
    """Tell the store what reading or making a Report took; loading the model is no part of it."""
    if store is not None:
        models = "+".join(sorted({str(facts["fingerprint"])[:8] for facts in report.runs}))
        shape = f"{report.spec.lens} of {models}, {size_class(report.facts['n_tokens'])} tokens"
        store.note_time(action, shape, store.clock() - start)


def _checkpoint(spec: Spec, session: ModelSession, store: ActivationStore | None) -> StoreCheckpoint | None:
    """Where the run over a text set leaves its state; of another device or weights' processing it is another run."""
    if store is None or not spec.text_set:
        return None
    return StoreCheckpoint(store, digest_json([report_key(spec), session.device, session.processing]))


def _measure(
    lens: Lens,
    spec: Spec,
    session: ModelSession,
    store: ActivationStore | None,
    progress: Progress,
    on_partial: Partial,
    checkpoint: StoreCheckpoint | None,
) -> Report:
    at = lens.hook_points(session.shape, spec.options)
    interventions = tuple(operator_from_recipe(dict(recipe)) for recipe in spec.interventions)
    texts = tuple(session.tokens(text, spec.bos) for text in _texts(spec))
    progress(0.05, "capturing activations")
    captures = {} if spec.text_set or not at else _captures(session, texts[0], at, interventions, store)
    subject = Subject(session, texts, captures, spec.bos, bool(spec.text_set), interventions, checkpoint, on_partial)
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


def _report(lens: AnyLens, spec: Spec, facts: dict[str, Any], measured: Measured) -> Report:
    findings = tuple(replace(finding, lens=lens.slug) for finding in measured.findings)
    return Report(spec, facts, measured.numbers, measured.arrays, findings)
