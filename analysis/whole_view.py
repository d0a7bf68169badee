"""Everything that one page shows: the answer of its lens, or of every lens; and the view that a link leads to."""

from analysis.lens import Partial, Progress, known_lenses, no_partial, unasked_lenses
from analysis.link import Link
from analysis.pipeline import EVERY_LENS, Answer, Load, no_progress, run
from analysis.shared_view import kept_view, view_of
from analysis.spec import Spec
from analysis.view_file import ViewFile
from capture.errors import UserError
from capture.store import ActivationStore


def answers_of(
    asked: Spec,
    load: Load,
    store: ActivationStore | None,
    progress: Progress = no_progress,
    on_partial: Partial = no_partial,
) -> tuple[Answer, ...]:
    """The answer of the Spec's lens, or of every lens that can look at the model, for a page that is none."""
    if asked.lens in known_lenses():
        return (run(asked, load, store, progress, on_partial),)
    answers, refusals, slugs = [], [], list(unasked_lenses())
    for number, slug in enumerate(slugs):

        def part(share: float, words: str, number: int = number) -> None:
            progress((number + share) / len(slugs), words)

        try:
            answers.append(run(asked.with_(lens=slug, options={}), load, store, part))
        except UserError as error:
            refusals.append(error)
    if not answers:
        raise refusals[0]
    return tuple(answers)


def view_of_link(link: Link, load: Load, store: ActivationStore | None, progress: Progress = no_progress) -> ViewFile:
    """The kept view that a link names, with the link's pins, or else the view that its Spec asks for."""
    if link.id:
        kept = kept_view(link.id, store)
        return ViewFile(kept.spec.with_(pins=link.spec.pins), kept.reports, kept.made) if link.spec else kept
    assert link.spec is not None
    if link.spec.lens not in {EVERY_LENS, *known_lenses()}:
        raise UserError(
            f"This link is for a page {link.spec.lens[:40]!r}, which has no numbers.",
            f"Give a link of one of: {', '.join([EVERY_LENS, *known_lenses()])}.",
        )
    answers = answers_of(link.spec, load, store, progress)
    fingerprint = answers[0].report.spec.fingerprint
    return view_of(link.spec.with_(fingerprint=fingerprint), [answer.report for answer in answers])
