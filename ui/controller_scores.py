"""The scores of a controller on prompts held out, as they stand in its manifest: table, pictures, and what they say."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui import controller_pictures as pictures
from ui.controller_words import blocks_words
from ui.numbers import say_number
from ui.words import caption

if TYPE_CHECKING:
    from steering.shelf import Shelved

CONFIG = {"displayModeBar": False}
KNOWN = "labels known"
LONG_RATIO = 100
PICTURE_LIMIT = 2
"""How many times the largest budget the picture of doses reaches."""


def draw_scores(one: "Shelved") -> None:
    """Everything that was measured of it; a sentence where nothing was."""
    scores: Any = one.manifest.get("scores")
    if not isinstance(scores, Mapping):
        caption("Not measured: it was trained without prompts held out. python cli.py controller score measures it.")
        return
    facts = scores["facts"]
    area = scores["auroc_interval"]
    st.markdown("### On prompts it has not seen")
    left, middle, right = st.columns(3)
    words = "Share of (target, other) couples in which the target's s is higher; ½ is chance. With the middle 95 % of "
    left.metric("AUROC of s", f"{scores['auroc']:.3f}", help=f"{words}its bootstrap over prompts.")
    left.caption(f"{area['low']:.3f} to {area['high']:.3f}")
    middle.metric("Calibration error", f"{scores['ece']:.3f}", help="ECE: mean distance of said and true in ten bins.")
    right.metric("Brier score", f"{scores['brier']:.3f}", help="Mean squared error of the probability; ¼ is no idea.")
    st.plotly_chart(
        pictures.prompts_figure(scores["prompts"], one.manifest["layers"]), key="controller-prompts", config=CONFIG
    )
    caption(
        f"s of {facts['n_targets']} targets and {facts['n_others']} other prompts of {facts['held_out']}, lowest "
        "first; below them the weight w of each block on the same prompt."
    )
    _beside(scores, facts)


def _beside(scores: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    st.markdown("### Beside other ways to steer")
    systems, budgets = scores["systems"], facts["budgets"]
    effects = budget_rows(systems, budgets, scores.get("compared", ()))
    st.dataframe(effects, hide_index=True, key="controller-systems", height="content")
    caption(
        "Effect on targets in nats per token, with 95 % intervals over prompts, at the dose where the KL on the other "
        f"prompts is that of the column. Constant steering always acts, CAST where its condition holds, {KNOWN} on the "
        "targets alone: it has no side effect, so it stands at its largest dose (marked *). Without steering all are 0."
    )
    _fluency(systems, facts)
    left, right = st.columns(2, gap="medium")
    with left:
        drawn = pictures.dose_figure([one for one in systems if one["name"] != KNOWN], PICTURE_LIMIT * budgets[-1])
        st.plotly_chart(drawn, key="controller-doses", config=CONFIG)
        caption("Each line is one way to steer at growing doses. Up and to the left is better.")
    with right:
        st.plotly_chart(pictures.reliability_figure(scores["bins"]), key="controller-reliability", config=CONFIG)
        caption("Large points are many prompts. On the dashed line the controller means what it says.")


def _fluency(systems: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> None:
    """The table of what is written; a sentence where an older measurement has none."""
    from steering.proxies import proxy

    st.markdown("### How fluent it stays")
    if not all(one.get("written") for one in systems):
        caption("Not measured with these scores: python cli.py controller score measures them anew.")
        return
    rows = fluency_rows(systems, facts["budgets"])
    st.dataframe(rows, hide_index=True, key="controller-fluency", height="content")
    caption(
        f"Perplexity of {facts['n_written']} tokens written after each target over that of what is written without "
        "steering, both read by the model as it is, with 95 % intervals over prompts and fluency beside it, at the "
        f"doses of the table above. × 1 is no loss. {proxy('fluency').formula}."
    )


def budget_rows(
    systems: Sequence[Mapping[str, Any]], budgets: Sequence[float], compared: Sequence[Mapping[str, Any]] = ()
) -> dict[str, list[str]]:
    """Columns of the table: the systems, what each controller reads, how well it tells, the effect at each KL."""
    columns = {"": [str(one["name"]) for one in systems] + ["no steering"]}
    if compared:
        known = {one["name"]: one for one in compared}
        columns["reads"] = [blocks_words(known[name]["inputs"]) if name in known else "–" for name in columns[""]]
        columns["AUROC of s"] = [_area(known[name]) if name in known else "–" for name in columns[""]]
    for n, budget in enumerate(budgets):
        columns[f"KL {budget:g}"] = [_cell(one, n) for one in systems] + ["0"]
    return columns


def _area(one: Mapping[str, Any]) -> str:
    at = one["auroc_interval"]
    return f"{at['mean']:.3f} ({at['low']:.3f} to {at['high']:.3f})"


def _cell(one: Mapping[str, Any], n: int) -> str:
    at, mark = one["at_budget"][n], "" if one["reached"][n] else " *"
    return f"{at['mean']:+.3f} ({at['low']:+.3f} to {at['high']:+.3f}){mark}"


def fluency_rows(systems: Sequence[Mapping[str, Any]], budgets: Sequence[float]) -> dict[str, list[str]]:
    """Columns of the table of fluency: the systems, and at every side effect the perplexity ratio and the fluency."""
    columns = {"": [str(one["name"]) for one in systems]}
    for n, budget in enumerate(budgets):
        columns[f"KL {budget:g}"] = [_ratio(one, n) for one in systems]
    return columns


def _ratio(one: Mapping[str, Any], n: int) -> str:
    written, mark = one["written"][n], "" if one["reached"][n] else " *"
    at = written["perplexity_ratio"]
    said = [f"{at[name]:.2f}" if at[name] < LONG_RATIO else say_number(at[name]) for name in ("mean", "low", "high")]
    return f"× {said[0]} ({said[1]} to {said[2]}){mark} · {written['fluency']:.2f} of 2"
