"""The panes of the steering lab: clean and steered text side by side, as they come and once they are scored."""

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from analysis.report import Report
from ui import resources, state
from ui.answers import SPARED_S, is_under_way
from ui.components import Pane, text_panes
from ui.components.pin import is_fragment_run
from ui.figures.steering_lab import COLOURS, KL, UNIT
from ui.frozen import bounded
from ui.job import Followed, Job
from ui.numbers import say_number
from ui.outlier_words import text_box
from ui.words import caption

POLL_S = 0.25
"""How often new tokens are asked for while they come."""
N_PROMPT = 48
"""Tokens of the prompt's end that are shown before the new ones."""
KEY = "steering-panes"
LABEL = f"New tokens, tinted by {KL}"


def draw_panes(report: Report | None) -> None:
    """The panes of the last answer, or of what is being written; drawn again by themselves until that has ended."""
    st.fragment(_panes, run_every=POLL_S if is_under_way() else None)(report)


@bounded
def _panes(report: Report | None) -> None:
    watched = state.session().job
    if watched is not None and watched.job.is_done and is_fragment_run():
        st.rerun()
    if watched is not None and watched.job.age_s < SPARED_S:
        resources.spare_collector()
    so_far = watched.job.so_far if watched is not None and not watched.job.is_done else {}
    if any(so_far.get("panes", ())):
        _coming(so_far)
    elif report is not None and report.numbers["is_text_set"]:
        draw_texts_of_set(report)
    elif report is not None:
        _scored(report, is_stale=is_under_way())
    caption(_said(watched, report))


def _said(watched: "Job | Followed | None", report: Report | None) -> str:
    """The line below the panes."""
    if watched is not None and not watched.job.is_done:
        return f"{watched.job.words}, {watched.job.age_s:.0f} s"
    if state.session().is_idle:
        return "Stopped. Run writes what is asked for now; what is shown was written before."
    return report.numbers["sentence"] if report is not None else ""


def _coming(so_far: Mapping[str, Any]) -> None:
    panes = [
        Pane(title, colour, tokens)
        for title, colour, tokens in zip(so_far["titles"], COLOURS, so_far["panes"], strict=False)
    ]
    text_panes(panes, prompt_of(so_far), key=KEY, label=LABEL, unit=UNIT, span=None, is_live=True)


def prompt_of(said: Mapping[str, Any]) -> list[tuple[str, bool]]:
    """The end of the prompt: tokens, and whether each is no text."""
    return list(zip(said["tokens"], said["special"], strict=True))[-N_PROMPT:]


def _scored(report: Report, is_stale: bool) -> None:
    shown = panes_of(report)
    heats = [float(pane.heat.max()) for pane in shown if pane.heat is not None]
    pins = state.pins()

    def pin(place: tuple[int, int] | None) -> None:
        pane, step = place or (None, None)
        state.pin(pane=pane, step=step)

    text_panes(
        shown,
        prompt_of(report.numbers),
        key=KEY,
        label=LABEL,
        unit=UNIT,
        span=(0.0, max(heats, default=0.0)),
        is_stale=is_stale,
        pinned=None if is_stale else (pins.get("pane"), pins.get("step")),  # type: ignore[arg-type]
        on_pin=pin,
    )


def panes_of(report: Report) -> list[Pane]:
    """The panes of a Report: the clean one in neutral colour, the steered ones on their KL."""
    return [_pane(report, number) for number in range(len(report.numbers["panes"]))]


def _pane(report: Report, number: int) -> Pane:
    pane, arrays, is_clean = report.numbers["panes"][number], report.arrays, number == 0
    n = len(pane["tokens"])
    sides = [arrays[name][number, :n].tolist() for name in ("logprob_clean", "logprob")]
    clean = _ranked(pane["top_clean"], arrays["top_clean_logprob"][number])
    steered = [None] * n if is_clean else _ranked(pane["top"], arrays["top_logprob"][number])
    return Pane(
        title=pane["title"],
        colour=COLOURS[number],
        tokens=pane["tokens"],
        words="" if is_clean else f"KL {say_number(float(arrays['mean_kl'][number]))} nats a token",
        heat=None if is_clean else arrays["kl"][number, :n],
        special=pane["special"],
        departs=pane["departs"],
        logprobs=list(zip(*sides[: 1 if is_clean else 2], strict=True)),
        tops=list(zip(clean, steered, strict=True)),
    )


def _ranked(names: Sequence[Sequence[str]], values: Any) -> list[list[tuple[str, float]]]:
    return [list(zip(row, values[step].tolist(), strict=True)) for step, row in enumerate(names)]


def draw_texts_of_set(report: Report) -> None:
    """Each text of a set, and under it what its panes wrote."""
    for text in report.numbers["texts"]:
        for column, colour, pane in zip(st.columns(len(text["panes"])), COLOURS, text["panes"], strict=False):
            with column:
                text_box(pane["title"], colour, text["prompt"], pane["text"])
