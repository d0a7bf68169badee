"""Auto-tune in the steering lab: what is tuned and on what, how far it is, what it chose, and using that."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from analysis.text_set import read_text_set
from ui import resources, state, visitor
from ui.changes import change_words
from ui.fit_job import BUNDLED, LINES, contrast_of
from ui.job_kinds import queue
from ui.numbers import say_number
from ui.queue import Standing
from ui.tune_job import TUNE, tuning_recipe
from ui.words import caption, plain, shortened

if TYPE_CHECKING:
    from steering.contrast_pairs import Contrast
    from steering.dose import Dose
    from steering.tune_plan import Point, TunePlan
    from steering.tuning import Tuning

PROMPTS = "tour"
"""The text set whose texts are the neutral prompts."""
NO_PAIRS, OWN_PAIRS = "no pairs", "pairs of my own"
ALL_STEPS = -1
PARTS = ("_choosing", "")
"""How the facts of a tuning name what chose, and what is reported."""
LAYERS_HELP = "Each layer that the step has a vector for, alone; a step with one vector is moved to every layer."


@dataclass(frozen=True)
class Tuned:
    """A plan, what is kept of its tuning, and its dose at the strength that the recipe has now."""

    plan: "TunePlan"
    point: "Point"
    """Where the recipe stands now."""
    tuning: "Tuning | None"
    here: "Dose | None"
    job: Standing | None
    """The visitor's job that measures it now."""


def choose(asked: Spec, report: Report) -> Tuned:
    """The choices of what is tuned on what, and what is known of it."""
    from steering.tune_plan import TunePlan

    step = _choose_step(asked)
    contrast = _choose_pairs(asked, step)
    plan = TunePlan(
        tuple(dict(one) for one in asked.interventions),
        read_text_set(PROMPTS).texts,
        contrast,
        None if step == ALL_STEPS else step,
        bos=asked.bos,
    )
    plan = replace(plan, layers=_choose_layers(asked, plan))
    sweep = plan.sweep(report.spec.fingerprint, asked.dtype)
    tuning, point = _kept(sweep, plan), plan.standing()
    known = tuning.doses if tuning is not None else ()
    here = next((one for one in known if (one.strength, one.layer) == (point.strength, point.layer)), None)
    return Tuned(plan, point, tuning, here, _job(sweep, report.spec.fingerprint))


def _choose_step(asked: Spec) -> int:
    """The place of the step to tune; ALL_STEPS for the whole recipe."""
    if len(asked.interventions) == 1:
        return 0
    words = {place: f"{place + 1} {_step_words(one)}" for place, one in enumerate(asked.interventions)}
    words[ALL_STEPS] = "all steps together"
    return int(
        st.selectbox(
            "Tune",
            list(words),
            format_func=lambda place: words[place],
            key=f"steerscope-tune-step-{len(asked.interventions)}",
            help="One step while the others are held, or one multiple of all strengths.",
        )
    )


def _step_words(recipe: Mapping[str, Any]) -> str:
    name = recipe.get("name")
    return shortened(str(name), 24) if name else change_words(recipe)


def _choose_pairs(asked: Spec, step: int) -> "Contrast | None":
    from steering.contrast_pairs import bundled_sets

    names = [NO_PAIRS, *bundled_sets(), OWN_PAIRS]
    tuned = asked.interventions[max(step, 0)]
    usual = next((name for name in names if name in str(tuned.get("name", "")).replace(" ", "_")), NO_PAIRS)
    name = st.selectbox(
        "Pairs",
        names,
        index=names.index(usual),
        format_func=lambda name: name.replace("_", " "),
        key="steerscope-tune-pairs",
        help="Matched pairs for the concept score. Without any, only fluency and side effect are measured.",
    )
    if name == OWN_PAIRS:
        return _own_pairs()
    return None if name == NO_PAIRS else contrast_of((BUNDLED, str(name)))


def _own_pairs() -> "Contrast | None":
    """Pairs that a person typed or gave as a file; None before there are any."""
    given = st.file_uploader(
        "File of pairs",
        type=["json", "jsonl", "csv"],
        help="JSON, JSON lines or CSV with positive and negative, and perhaps a prompt before both; UTF-8.",
        key="steerscope-tune-file",
    )
    lines = st.text_area(
        "Or pairs, one a line",
        placeholder="She smiled and hugged him. | She cried and left him.",
        help="The wanted text, a | and the other text.",
        key="steerscope-tune-lines",
    )
    if given is not None:
        return contrast_of((given.name, given.getvalue().decode("utf-8-sig", errors="replace")))
    return contrast_of((LINES, lines)) if lines and lines.strip() else None


def _choose_layers(asked: Spec, plan: "TunePlan") -> tuple[int, ...]:
    """The layers to try; none where they stay as they are."""
    if plan.step is None or not plan.takes_layers:
        return ()
    if not st.toggle("Try every layer", key="steerscope-tune-layers", help=LAYERS_HELP):
        return ()
    return plan.known_layers(resources.load(asked.model, asked.dtype).shape.n_layers)


def _kept(sweep: str, plan: "TunePlan") -> "Tuning | None":
    from capture.store_tuning import point_names

    store = resources.store()
    names = point_names(store, sweep) if store is not None else ()
    return _tuned(sweep, names, plan.budget) if len(names) > 1 else None


@st.cache_data(show_spinner=False, max_entries=32)
def _tuned(sweep: str, names: tuple[str, ...], budget: float) -> "Tuning | None":
    """What the store has of a sweep, worked out once for each set of points."""
    from steering.tuning import kept_tuning

    return kept_tuning(resources.store(), sweep, budget)


def _job(sweep: str, fingerprint: str) -> Standing | None:
    """The visitor's job of this sweep."""
    from steering.tune_plan import TunePlan

    for one in queue().jobs(visitor.owner()):
        if one.is_active and one.row.kind == TUNE.slug:
            given = json.loads(one.row.recipe)
            if TunePlan.from_json(given["plan"]).sweep(fingerprint, given["view"]["dtype"]) == sweep:
                return one
    return None


def is_tuning() -> bool:
    """Whether a tuning of the visitor's waits or runs."""
    return any(one.is_active and one.row.kind == TUNE.slug for one in queue().jobs(visitor.owner()))


def draw_tuning(asked: Spec, tuned: Tuned) -> None:
    """Buttons that measure and tune, how far it is, and what came of it."""
    if tuned.job is not None:
        _progress(tuned.job)
    else:
        with st.container(horizontal=True, gap="small"):
            if st.button("Auto-tune", type="primary", help="A sweep over strength, chosen on one half of the pairs."):
                _start(asked, tuned.plan, "Auto-tune")
            if st.button("Measure", help="The scores of the recipe as it stands.", disabled=tuned.here is not None):
                _start(asked, replace(tuned.plan, strengths=(tuned.point.strength,), layers=_layers(tuned)), "Measure")
    if tuned.tuning is not None:
        _chosen(tuned, tuned.tuning)


def _layers(tuned: Tuned) -> tuple[int, ...]:
    return () if tuned.point.layer is None else (tuned.point.layer,)


def _start(asked: Spec, plan: "TunePlan", doing: str) -> None:
    first = asked.interventions[max(plan.step or 0, 0)]
    queue().submit(TUNE.slug, tuning_recipe(asked, plan), visitor.owner(), f"{doing}: {_step_words(first)}")
    st.rerun()


def _progress(job: Standing) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(job.row.share, text=plain(job.row.words), width="stretch")
        if st.button("Cancel", type="tertiary", key="steerscope-tune-cancel"):
            queue().cancel(job.row.id, visitor.owner())
            st.rerun()


def _chosen(tuned: Tuned, tuning: "Tuning") -> None:
    """The knee in words, and the button that sets it."""
    facts, best = tuning.facts, tuning.knee
    if best is None:
        caption(f"No strength measured so far will do within a KL of {tuning.budget:g} on the half that chooses.")
        return
    where = "" if best.layer is None else f" at layer {best.layer}"
    overall = "" if best.overall is None else f"; overall {best.overall:.2f} of 2"
    chosen_on, reported = (f"{facts[f'n_pairs{one}']} pairs and {facts[f'n_prompts{one}']} prompts" for one in PARTS)
    caption(
        f"Knee: {say_number(best.strength)} {tuned.plan.unit}{where}{overall}. Chosen within a KL of {tuning.budget:g} "
        f"on {chosen_on}; curves and numbers are of the other {reported}."
    )
    if not facts["n_pairs"]:
        caption("Without pairs there is no concept score: this is the strongest within the budget.")
    if st.button("Use this strength", disabled=tuning.point == tuned.point, key="steerscope-tune-use"):
        assert tuning.point is not None  # there is a knee
        state.change(interventions=tuned.plan.used(tuning.point, tuning.norms, tuning.slider))
        st.rerun()
