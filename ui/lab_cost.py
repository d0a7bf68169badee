"""What a recipe costs: concept, fluency and side effect as it stands, each a proxy with its formula, and auto-tune."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from steering.proxies import NOTATION, proxy
from ui.answers import is_under_way
from ui.boundary import boundary
from ui.components.pin import is_fragment_run
from ui.dose_picture import dose_curve
from ui.frozen import is_cold
from ui.lab_odds import draw_odds
from ui.lab_tuning import choose, draw_tuning, is_tuning
from ui.numbers import say_number, say_quantity
from ui.proxy_words import formula_words
from ui.words import caption, plain

if TYPE_CHECKING:
    from steering.dose import Dose
    from steering.scores import Interval
    from steering.tuning import Tuning

ROWS = (
    ("concept", ("concept", "anti_steerable", "slope", "preference", "utility", "dynamics", "concept_map")),
    ("perplexity_ratio", ("perplexity_ratio", "repetition", "distinct", "fluency")),
    ("kl", ("kl", "kl_last", "relevance", "instruct", "overall", "knee")),
)
"""The score of each row, and those whose formulas stand behind it."""
TITLES = {"concept": "Concept", "perplexity_ratio": "Fluency", "kl": "Side effect"}
CONFIG = {"displayModeBar": False}
POLL_S = 1.0


def draw_cost(asked: Spec, report: Report | None) -> None:
    """The column; `report` is that of the panes, None before there is one.

    What the panes have measured is shown at no cost; the other scores come with a tuning or a measurement on demand.
    """
    st.markdown("### What it costs")
    if not asked.interventions:
        caption("Add a step to the recipe, and what it costs stands here: concept, fluency, side effect.")
    elif report is None or is_cold():
        for name, behind in ROWS:
            _row(name, behind, None, report, None)
    else:
        # Only a run of the page begins or ends the asking.
        is_watched = is_tuning()
        st.fragment(_column, run_every=POLL_S if is_watched else None)(asked, report, is_watched)


def _column(asked: Spec, report: Report, is_watched: bool) -> None:
    with boundary("looking at what the recipe costs"):
        if is_fragment_run() and is_watched != is_tuning():
            st.rerun()
        scores = st.container()
        tuned = choose(asked, report)
        with scores:
            for name, behind in ROWS:
                _row(name, behind, tuned.here, report, tuned.tuning)
        draw_tuning(asked, tuned)
        draw_odds(tuned.tuning, tuned.plan.unit)


def _row(name: str, behind: Sequence[str], here: "Dose | None", report: Report | None, tuning: "Tuning | None") -> None:
    """One score: title, proxy and formulas, the value as the recipe stands, and its curve."""
    with st.container(gap="xxsmall", key=f"steerscope-cost-{name}"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{plain(TITLES[name])}**", width="content")
            with st.popover("proxy", type="tertiary", help="How it is computed"):
                for one in behind:
                    st.markdown(formula_words(proxy(one), _known(one, here, tuning)))
                caption(NOTATION)
        for line in _lines(name, here) or _pane_lines(name, report):
            st.markdown(line)
        curve = None if tuning is None else dose_curve(tuning, name, None if here is None else here.strength)
        if curve is not None:
            st.plotly_chart(curve, key=f"steerscope-cost-curve-{name}", config=CONFIG)


def _known(name: str, here: "Dose | None", tuning: "Tuning | None") -> float | None:
    """The value of a score as the recipe stands, where it is known; of the slope and the knee, that of the tuning."""
    if name == "slope":
        return None if tuning is None else tuning.slope
    if name == "knee":
        return None if tuning is None or tuning.knee is None else tuning.knee.strength
    if here is None or name == "dynamics":
        return None
    if name == "concept_map":
        from steering.scores import concept_map

        return None if here.concept is None else concept_map(here.concept.mean)
    value = getattr(here, {"relevance": "relevance_change"}.get(name, name))
    return getattr(value, "mean", value)


def _lines(name: str, here: "Dose | None") -> list[str]:
    """The score as the recipe stands, on the half of pairs and prompts that is reported."""
    if here is None:
        return []
    if name == "concept":
        if here.concept is None or here.anti_steerable is None:
            return [_small("Without pairs there is no concept score.")]
        wrong = f"{100 * here.anti_steerable:.0f} % of the pairs moved the wrong way"
        return _value("", here.concept, proxy(name).unit, wrong)
    if name == "perplexity_ratio":
        loops = f"repetition {100 * here.repetition:.0f} % above clean, F {here.fluency:.2f} of 2"
        return _value("perplexity ×", here.perplexity_ratio, "", loops)
    overall = "" if here.overall is None else f", overall {here.overall:.2f} of 2"
    return _value("KL", here.kl, proxy(name).unit, f"relevance {here.relevance_change:+.2f} nats a token{overall}")


def _value(lead: str, value: "Interval", unit: str, more: str) -> list[str]:
    """The value, and below it its interval and what else is known."""
    said = f"{plain(lead)} **{plain(say_number(value.mean))}** {plain(unit)}".strip()
    return [said, _small(f"{say_number(value.low)} to {say_number(value.high)} (95 %); {more}")]


def _pane_lines(name: str, report: Report | None) -> list[str]:
    """What the panes know of it, on what they are of alone."""
    pane = None if report is None else _pane(report)
    if pane is None or report is None:
        return [_small("Not measured yet.")]
    where = f"On these {report.numbers['n_texts']} texts" if report.spec.text_set else "On this prompt"
    if name != "concept" and is_under_way():
        return [_small(f"{where}: being written.")]
    if name == "perplexity_ratio":
        repeated = [f"{100 * float(report.arrays['repeated'][at]):.0f} %" for at in (pane, 0)]
        return [_small(f"{where}: repetition {repeated[0]}, clean {repeated[1]}.")]
    if name == "kl":
        nats = say_quantity(float(report.arrays["mean_kl"][pane]), "nats a token")
        multiple = say_number(float(report.arrays["multiple"][pane]))
        return [_small(f"{where}: KL {nats} along the steered text at × {multiple}.")]
    return [_small("Not measured yet: press Measure, or Auto-tune.")]


def _pane(report: Report) -> int | None:
    """The pane of the recipe as it stands, else the first steered one."""
    multiples = report.arrays.get("multiple")
    if multiples is None or len(multiples) < 2 or "mean_kl" not in report.arrays:
        return None
    return int(np.abs(multiples[1:] - 1).argmin()) + 1


def _small(words: str) -> str:
    return f":small[:gray[{plain(words)}]]"
