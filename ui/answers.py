"""Answers to the Spec that is asked for: remembered, or made by a job that is watched and can be cancelled.

That of one text ends with its page; that of a text set is put into the queue where it is not kept already.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from ui import resources, state, visitor
from ui.boundary import boundary
from ui.components.pin import is_fragment_run
from ui.job import Cancelled, Followed, Job, start_job
from ui.job_kinds import MEASURE, answers_of, kept_answers, measure_recipe, queue
from ui.style import still_box
from ui.words import plain, shortened

if TYPE_CHECKING:
    from analysis.pipeline import Answer

    Answers = tuple[Answer, ...]

PATIENCE_S = 0.35
"""How long a page waits for an answer before it shows progress instead."""
SOON_S = 0.1
"""How long more the end is waited for behind a first part: a short text is drawn once, and not in two steps."""
POLL_S = 1.0
WATCH_S = 0.5
"""How much of the time between two polls a poll itself waits, so that an end that falls into it is shown at once."""
SPARED_S = 60.0
"""A young job may be importing libraries, and each poll would make the collector go through all of them."""
WAITING = (
    "A language model turns each token into a vector of numbers and changes it block by block. "
    "The model is being loaded and run on the text; what is unusual in those vectors appears here."
)


def answers_to(asked: Spec, page_waits: bool = False) -> "Answers | None":
    """What to show: the answer asked for, else what the page showed before, else nothing yet.

    A page that `page_waits` shows itself how the answer comes.
    """
    status = st.container(key="steerscope-status")
    answers = None
    with status, boundary("running the model"):
        answers = _asked_answers(asked)
    if answers is not None:
        state.show(state.with_answer(asked, answers[0].report))
        return answers
    previous = state.previous_answer(asked.lens)
    with status:
        _say_why_not(previous is not None, page_waits)
    return previous


def _asked_answers(asked: Spec) -> "Answers | None":
    answers = state.answer_to(asked)
    if answers is None and not state.session().is_idle:
        answers = _worked_out(asked)
        if answers is not None:
            state.forget_job()
            state.keep_answer(asked, answers)
            for answer in answers if len(answers) > 1 or answers[0].report.spec.lens != asked.lens else ():
                state.keep_answer(asked.with_(lens=answer.report.spec.lens, options={}), (answer,))
    return answers


def is_to_come(asked: Spec) -> bool:
    """Whether the answer is still on its way, its first part awaited for a moment; begins the work on it."""
    if state.session().is_idle or state.answer_to(asked) is not None:
        return False
    job = _job_for(asked).job
    job.wait_for_news(PATIENCE_S)
    return not job.wait(SOON_S)


def _worked_out(asked: Spec) -> "Answers | None":
    """What the job for this Spec came to, once it has ended; None before."""
    watched = _twin(_job_for(asked))
    if not watched.job.wait(PATIENCE_S):
        return None
    watched.job.is_seen = True
    if isinstance(watched.job.future.exception(), Cancelled):
        # Cancelled in the tray, or by another window of the same person.
        state.go_back()
        st.rerun()
    answers: Answers | None = watched.job.future.result()
    if isinstance(watched, Followed):
        answers = answers.value if answers is not None else None
        queue().dismiss(watched.id, visitor.owner())
        if answers is None:
            state.forget_job()
        return answers
    if answers is None:
        state.session().job = watched = _queued(asked)
        return _worked_out(asked) if watched.job.wait(PATIENCE_S) else None
    return answers


def _job_for(asked: Spec) -> "Job | Followed":
    session, key = state.session(), state.answer_key(asked)
    if session.job is None or session.job.key != key:
        name = shortened(asked.text_set or asked.text or asked.model, 40)
        if asked.text_set:
            session.job = start_job(key, name, lambda job: kept_answers(asked, job.progress))
        else:
            session.job = start_job(key, name, lambda job: answers_of(asked, resources.load, job.progress, job.show))
    return session.job


def _twin(watched: "Job | Followed") -> "Job | Followed":
    """The same job, or the one that the queue runs in its place."""
    current = queue().job(watched.id) if isinstance(watched, Followed) else None
    if isinstance(watched, Followed) and current not in (None, watched.job) and not watched.job.is_done:
        state.session().job = watched = replace(watched, job=current)
    return watched


def _queued(asked: Spec) -> Followed:
    """The measurement of a text set as a job of the queue: it may take minutes, and outlives this page."""
    title = asked.lens.replace("_", " ").capitalize()
    identity = queue().submit(MEASURE, measure_recipe(asked), visitor.owner(), f"{asked.text_set}, {title}")
    job = queue().job(identity)
    assert job is not None  # it was submitted just now
    return Followed(state.answer_key(asked), job, identity)


def _say_why_not(has_previous: bool, page_waits: bool) -> None:
    watched = state.session().job
    is_bare = not has_previous and not page_waits
    if watched is None:
        if is_bare:
            _empty()
    elif not watched.job.is_done:
        if page_waits:
            return
        _progress(watched)
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
        if is_bare:
            _empty()


def is_under_way() -> bool:
    """Whether an answer for this page is being worked out, or came while the page was drawn."""
    watched = state.session().job
    return watched is not None and not watched.job.is_seen


def stop() -> None:
    """Stop working on what is asked for: it stays asked for, and what is on screen stays."""
    session = state.session()
    if session.job is not None:
        session.job.cancel()
    session.job, session.is_idle = None, True


def go_on() -> None:
    """Work on what is asked for, where somebody stopped it."""
    session = state.session()
    session.job, session.is_idle = None, False


def _empty() -> None:
    st.markdown("Nothing to show yet: type a text in the sidebar, or start from the tour's first sentence.")
    st.button("Show the tour's example", type="primary", on_click=state.take_tour)


@st.fragment(run_every=POLL_S)
def _progress(watched: "Job | Followed") -> None:
    job = watched.job
    if job.age_s < SPARED_S:
        resources.spare_collector()
    bar, cancel = st.columns([6, 1], vertical_alignment="bottom")
    bar.progress(job.share, text=plain(f"{job.name}: {job.words}, {job.age_s:.0f} s"))
    if cancel.button("Cancel", width="stretch"):
        if isinstance(watched, Followed):
            queue().cancel(watched.id, visitor.owner())
            queue().dismiss(watched.id, visitor.owner())
        state.go_back()
        st.rerun()
    # A run of the whole page has more to draw, and does not wait.
    if job.wait(WATCH_S if is_fragment_run() else 0.0):
        st.rerun()


def exported(answers: Any) -> str:
    """One Report as JSON text, or several as a JSON list."""
    texts = [answer.report.to_json() for answer in answers]
    return texts[0] if len(texts) == 1 else f"[{','.join(texts)}]"
