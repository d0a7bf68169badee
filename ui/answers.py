"""Answers to the Spec that is asked for: remembered, or made by a job that is watched and can be cancelled."""

from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from capture.errors import UserError
from ui import resources, state
from ui.boundary import boundary
from ui.components.pin import is_fragment_run
from ui.job import Job, Progress, start_job
from ui.style import still_box
from ui.words import plain, shortened

if TYPE_CHECKING:
    from analysis.pipeline import Answer

    Answers = tuple[Answer, ...]

PATIENCE_S = 0.35
"""How long a page waits for an answer before it shows progress instead."""
POLL_S = 1.0
WATCH_S = 0.5
"""How much of the time between two polls a poll itself waits, so that an end that falls into it is shown at once."""
SPARED_S = 60.0
"""A young job may be importing libraries, and each poll would make the collector go through all of them."""
WAITING = (
    "A language model turns each token into a vector of numbers and changes it block by block. "
    "The model is being loaded and run on the text; what is unusual in those vectors appears here."
)


def answers_to(asked: Spec) -> "Answers | None":
    """What to show: the answer asked for, else what the page showed before, else nothing yet."""
    status = st.container(key="steerscope-status")
    answers = None
    with status, boundary("running the model"):
        answers = _asked_answers(asked)
    if answers is not None:
        state.show(state.with_fingerprint(asked, answers[0].report.spec.fingerprint))
        return answers
    previous = state.previous_answer(asked.lens)
    with status:
        _say_why_not(has_previous=previous is not None)
    return previous


def _asked_answers(asked: Spec) -> "Answers | None":
    answers = state.answer_to(asked)
    if answers is None and not state.session().is_idle:
        job = _job_for(asked)
        if job.wait(PATIENCE_S):
            answers = job.future.result()
            state.forget_job()
            state.keep_answer(asked, answers)
            for answer in answers if len(answers) > 1 or answers[0].report.spec.lens != asked.lens else ():
                state.keep_answer(asked.with_(lens=answer.report.spec.lens, options={}), (answer,))
    return answers


def _job_for(asked: Spec) -> Job:
    session, key = state.session(), state.answer_key(asked)
    if session.job is None or session.job.key != key:
        name = shortened(asked.text_set or asked.text or asked.model, 40)
        session.job = start_job(key, name, lambda progress: _work(asked, progress))
    return session.job


def _work(asked: Spec, progress: Progress) -> "Answers":
    """Runs in a worker: the page's lens, or every lens for a page that is none."""
    progress(0.0, "starting the engine")
    resources.warm_up()
    from analysis.lens import lenses
    from analysis.pipeline import run

    slugs = [asked.lens] if asked.lens in lenses() else list(lenses())
    if len(slugs) == 1:
        return (run(asked.with_(lens=slugs[0]), resources.load, resources.store(), progress),)
    return _every_lens(asked, slugs, progress)


def _every_lens(asked: Spec, slugs: list[str], progress: Progress) -> "Answers":
    from analysis.pipeline import run

    answers, refusals = [], []
    for number, slug in enumerate(slugs):

        def part(share: float, words: str, number: int = number) -> None:
            progress((number + share) / len(slugs), words)

        try:
            answers.append(run(asked.with_(lens=slug, options={}), resources.load, resources.store(), part))
        except UserError as error:
            refusals.append(error)
    if not answers:
        raise refusals[0]
    return tuple(answers)


def _say_why_not(has_previous: bool) -> None:
    job = state.session().job
    if job is None:
        if not has_previous:
            _empty()
    elif not job.is_done:
        _progress(job)
        if not has_previous:
            st.markdown(WAITING)
            st.html(f"{still_box(240)}{still_box(160)}")
    else:
        with st.container(horizontal=True, vertical_alignment="center"):
            if has_previous:
                st.caption("Below is the view from before.", width="content")
            if st.button("Try again", type="tertiary", icon=":material/refresh:"):
                state.forget_job()
                st.rerun()
        if not has_previous:
            _empty()


def _empty() -> None:
    st.markdown("Nothing to show yet: type a text in the sidebar, or start from the tour's first sentence.")
    st.button("Show the tour's example", type="primary", on_click=state.take_tour)


@st.fragment(run_every=POLL_S)
def _progress(job: Job) -> None:
    if job.age_s < SPARED_S:
        resources.spare_collector()
    bar, cancel = st.columns([6, 1], vertical_alignment="bottom")
    bar.progress(job.share, text=plain(f"{job.name}: {job.words}, {job.age_s:.0f} s"))
    if cancel.button("Cancel", width="stretch"):
        state.go_back()
        st.rerun()
    # A run of the whole page has more to draw, and does not wait.
    if job.wait(WATCH_S if is_fragment_run() else 0.0):
        st.rerun()


def exported(answers: Any) -> str:
    """One Report as JSON text, or several as a JSON list."""
    texts = [answer.report.to_json() for answer in answers]
    return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"
