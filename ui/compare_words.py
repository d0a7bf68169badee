"""The words of the Compare page: what each side is, what was asked differently, what changed most."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from analysis.link_words import link_words, spec_words
from analysis.report import Report
from capture.errors import UserError
from ui import resources, state
from ui.figures import compare_parts as parts
from ui.figures.compare_place import COLOURS, Shown
from ui.figures.part import Table
from ui.numbers import marked, quantity_label, say_number, say_quantity
from ui.style import SENTENCES
from ui.words import caption, plain

KEPT = "kept view"
MAX_SENTENCES = 4


def side_heading(side: str, text: str) -> None:
    """The side's name in its colour, and what its link asks."""
    words = html.escape(_words(text))
    mark = f'<span style="color:{COLOURS[side]}">●</span>'
    st.html(f'<div style="overflow-wrap:anywhere">{mark} <strong>{side.capitalize()}</strong> {words}</div>')


def _words(text: str) -> str:
    """What a link asks; of a kept view too, where it is kept here."""
    words = link_words(text)
    if not words.startswith(KEPT):
        return words
    try:
        return f"{spec_words(resources.kept_view(text).spec)} · {KEPT}"
    except UserError:
        return words


def notes(report: Report) -> None:
    """What a person must know to read the comparison."""
    st.markdown(plain(" ".join(report.numbers["notes"])))


def findings(report: Report) -> None:
    """The sentences of the comparison, each a press away from its place."""
    with st.container(key=SENTENCES, gap="xsmall"):
        for number, finding in enumerate(report.findings[:MAX_SENTENCES]):
            place = {name: finding.place[name] for name in ("quantity", "layer", "pos") if name in finding.place}
            st.button(
                plain(finding.sentence),
                key=f"compare-finding-{number}",
                type="tertiary",
                icon=":material/my_location:",
                help="Show this place",
                on_click=state.pin,
                kwargs=place,
                disabled=not place,
            )


def cell(report: Report, shown: Shown) -> None:
    """The pinned place: the value of each side, and the change in words."""
    numbers, about = report.numbers, report.numbers["quantities"][shown.quantity]
    if shown.row is None:
        st.markdown(f"#### Block {shown.layer}")
    else:
        st.markdown(f"#### {plain(marked(numbers['tokens'][shown.row]))}")
        st.caption(plain(f"{where(numbers, shown.row)}, after block {shown.layer}"))
    values = [_side_value(side, shown.value(report, side), about["unit"]) for side in COLOURS]
    st.html(f'<div style="display:flex;gap:24px;flex-wrap:wrap">{"".join(values)}</div>')
    st.markdown(f"**{plain(change_words(shown.value(report, 'change'), about))}**")


def where(numbers: Mapping[str, Any], row: int) -> str:
    """At which position of each text a row of the alignment is."""
    left, right = numbers["left_pos"][row], numbers["right_pos"][row]
    if left is None or right is None:
        side, pos = ("left", left) if right is None else ("right", right)
        return f"only on the {side}, position {pos}"
    return f"position {left}" if left == right else f"position {left} on the left, {right} on the right"


def _side_value(side: str, value: float, unit: str) -> str:
    number = quantity_label(value, unit)
    look = f"border-left:4px solid {COLOURS[side]};padding-left:8px"
    return f'<div style="{look}"><div>{side.capitalize()}</div><div style="font-size:1.5em">{number}</div></div>'


def change_words(change: float, about: Mapping[str, Any]) -> str:
    """A change as a person would say it: times as much, or more and less."""
    if change != change:
        return "no common value"
    if change == 0:
        return "no change"
    if about["is_log"]:
        return f"{say_number(2**change)} times the left"
    return f"{say_quantity(abs(change), about['unit'])} {'more' if change > 0 else 'less'} on the right"


def changes(report: Report) -> None:
    """The heaviest changes of every quantity."""
    rows: Sequence[Mapping[str, Any]] = report.numbers["changes"]
    table = parts.changes(report)
    if not rows:
        caption("No number that both sides have differs.")
        return
    words = {name: [row[place] for row in table.rows] for place, name in enumerate(table.columns[:-3])}
    numbers = {name: [row[name] for row in rows] for name in table.columns[-3:]}
    digits = st.column_config.NumberColumn(format="%.3g")
    columns = dict.fromkeys(numbers, digits)
    st.dataframe(words | numbers, height=290, hide_index=True, column_config=columns, key="compare-changes")
    caption(table.caption)


def asked_differently(report: Report) -> None:
    """Where the two Specs and the ways they were run are not the same."""
    _table(parts.asked_differently(report), "Both sides ask the same, of the same model.")


def findings_beside(report: Report) -> None:
    """The findings of both sides that measure the same, beside each other."""
    _table(parts.findings_beside(report), "Neither side has a finding.")


def _table(table: Table, where_none: str) -> None:
    if not table.rows:
        caption(where_none)
        return
    columns = {name: [plain(row[place]) for row in table.rows] for place, name in enumerate(table.columns)}
    st.table(columns, border="horizontal")
