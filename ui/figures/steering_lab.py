"""The figures of the steering lab: drawn from a Report, on the page and in an export alike."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.report import Report
from ui import charts
from ui.curves import Curve, curves
from ui.figures.part import Sentences, Strip, Table
from ui.figures.picture import Picture
from ui.numbers import marked, say_number

COLOURS = (charts.CLEAN, charts.STEERED, charts.SECOND_STEERED, charts.THIRD_STEERED)
"""Of the panes, the clean one first."""
DASHES = ("solid", "solid", "dash", "dot")
KL, UNIT = "KL from clean", "nats"
HEADS = ("pane", "KL", "log-lik.", "repeated", "departs at")
CAPTION = (
    "KL: how far the recipe moves predictions along the pane's own text, in nats a token. Log-likelihood: of the text "
    "under the clean model, in nats a token. Repeated: share of 4-grams that were there before. All three are proxies "
    "for what a reader would say."
)


def pictures(report: Report, pins: Mapping[str, Any]) -> tuple[Picture, ...]:
    """How far predictions move along each text."""
    return (kl_by_token(report),)


def kl_by_token(report: Report) -> Picture:
    """KL from clean at each new token, one line a pane."""
    kl, titles = report.arrays["kl"], _titles(report)
    shown = [
        Curve(titles[pane], np.arange(1, kl.shape[1] + 1), kl[pane], COLOURS[pane], dash=DASHES[pane], hover=hover)
        for pane in range(1, len(kl))
        for hover in [[_said(report, pane, step) for step in range(kl.shape[1])]]
    ]
    drawn = curves(shown, x="new token", y=f"{KL} ({UNIT})")
    over = f", mean over {report.numbers['n_texts']} texts" if report.numbers["is_text_set"] else ""
    caption = (
        f"How far the recipe moves the prediction that each new token was drawn from, along each pane's text{over}."
    )
    return Picture("steering-kl", "What the recipe moves, token by token", caption, drawn)


def _said(report: Report, pane: int, step: int) -> str:
    tokens = report.numbers["panes"][pane].get("tokens", ())
    token = f"{marked(tokens[step])}, " if step < len(tokens) else ""
    return f"{token}new token {step + 1}: {say_number(float(report.arrays['kl'][pane, step]))} {UNIT}"


def strip(report: Report, pins: Mapping[str, Any]) -> Strip | None:
    """The first steered pane's tokens on their KL."""
    if report.numbers["is_text_set"]:
        return None
    tokens = tuple(report.numbers["panes"][1]["tokens"])
    pinned = pins.get("step") if pins.get("pane") == 1 else None
    is_step = isinstance(pinned, int) and not isinstance(pinned, bool) and 0 <= pinned < len(tokens)
    label = f"{_titles(report)[1]}: {KL}"
    return Strip(tokens, report.arrays["kl"][1, : len(tokens)], label, UNIT, pinned if is_step else None)


def tables(report: Report) -> tuple[Table, ...]:
    """What each pane costs."""
    return (totals(report),)


def totals(report: Report) -> Table:
    """Mean KL, log-likelihood and repetition of each pane."""
    arrays = report.arrays
    rows = tuple(
        (
            title,
            say_number(float(arrays["mean_kl"][pane])),
            say_number(float(arrays["mean_loglik"][pane])),
            f"{say_number(100 * float(arrays['repeated'][pane]))} %",
            _departs(report.numbers["panes"][pane], pane),
        )
        for pane, title in enumerate(_titles(report))
    )
    return Table("What each pane costs", HEADS, rows, CAPTION)


def _departs(pane: Mapping[str, Any], number: int) -> str:
    if number == 0 or "departs" not in pane:
        return ""
    return "nowhere" if pane["departs"] is None else f"token {pane['departs'] + 1}"


def sentences(report: Report) -> tuple[Sentences, ...]:
    """What was written, pane by pane; of a set, text by text."""
    numbers = report.numbers
    if not numbers["is_text_set"]:
        prompt = "".join(map(str, numbers["tokens"]))
        said = [Sentences(pane["title"], (f"{prompt}{pane['text']}",)) for pane in numbers["panes"]]
    else:
        said = [
            Sentences(
                pane["title"], tuple(f"{text['prompt']}{text['panes'][number]['text']}" for text in numbers["texts"])
            )
            for number, pane in enumerate(numbers["panes"])
        ]
    return (*said, Sentences("In short", (numbers["sentence"],)))


def _titles(report: Report) -> list[str]:
    return [str(pane["title"]) for pane in report.numbers["panes"]]
