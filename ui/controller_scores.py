"""The scores of a controller on prompts held out, as they stand in its manifest: table, pictures, and what they say."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from ui import controller_pictures as pictures
from ui.words import caption

if TYPE_CHECKING:
    from steering.shelf import Shelved

CONFIG = {"displayModeBar": False}
KNOWN = "labels known"
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
    st.dataframe(budget_rows(systems, budgets), hide_index=True, key="controller-systems", height="content")
    caption(
        "Effect on targets in nats per token, with 95 % intervals over prompts, at the dose where the KL on the other "
        f"prompts is that of the column. Constant steering always acts, CAST where its condition holds, {KNOWN} on the "
        "targets alone: it has no side effect, so it stands at its largest dose (marked *). Without steering all are 0."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        drawn = pictures.dose_figure([one for one in systems if one["name"] != KNOWN], PICTURE_LIMIT * budgets[-1])
        st.plotly_chart(drawn, key="controller-doses", config=CONFIG)
        caption("Each line is one way to steer at growing doses. Up and to the left is better.")
    with right:
        st.plotly_chart(pictures.reliability_figure(scores["bins"]), key="controller-reliability", config=CONFIG)
        caption("Large points are many prompts. On the dashed line the controller means what it says.")


def budget_rows(systems: Sequence[Mapping[str, Any]], budgets: Sequence[float]) -> dict[str, list[str]]:
    """Columns of the table: the systems, and the effect of each at every side effect."""
    columns = {"": [str(one["name"]) for one in systems] + ["no steering"]}
    for n, budget in enumerate(budgets):
        columns[f"KL {budget:g}"] = [_cell(one, n) for one in systems] + ["0"]
    return columns


def _cell(one: Mapping[str, Any], n: int) -> str:
    at, mark = one["at_budget"][n], "" if one["reached"][n] else " *"
    return f"{at['mean']:+.3f} ({at['low']:+.3f} to {at['high']:+.3f}){mark}"
