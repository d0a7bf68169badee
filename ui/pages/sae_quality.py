"""SAE quality: how good an SAE is on a text or a text set, each figure with its formula and interval."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.report import Report
from analysis.spec import Spec
from ui import state
from ui.drawn import show, show_strip
from ui.figures import sae_quality as figures
from ui.figures import sae_quality_parts as parts
from ui.figures.latents import about
from ui.figures.picture import Picture
from ui.frozen import bounded
from ui.sae_shelf import choose_sae
from ui.widgets import option_widget
from ui.words import caption, plain

if TYPE_CHECKING:
    from ui.shell import Context

TITLE = "SAE quality"
NO_GRID = (
    "No grid of small runs of this model and hook point is on this machine. python cli.py sae scaling --text FOLDER "
    "trains one, nine SAEs by default, and it appears here."
)


def ask(asked: Spec) -> None:
    """Which SAE is looked at."""
    choose_sae(asked, asked.fingerprint)


def render(report: Report, context: "Context") -> None:
    """The table first, then where the SAE fails, its latents, its training, and others beside it."""
    caption(f"{about(report)} {report.numbers['sentence']}")
    if report.numbers["tokens"]:
        _tokens(report)
    st.markdown("### Figures")
    _table(parts.COLUMNS, parts.figure_rows(report, is_probe=False), "figures")
    caption(parts.TABLE_CAPTION)
    left, right = st.columns(2, gap="medium")
    with left:
        _section("Density of the latents", figures.density(report), "Nothing was counted.")
    with right:
        _beside(report)
    _probes(report, context)
    st.markdown("### Training")
    _side_by_side(figures.training(report), report.numbers["no_curve"])
    _section("Scaling law", figures.scaling(report), NO_GRID)


@st.fragment
@bounded
def _tokens(report: Report) -> None:
    """Everything that a pin changes: a click redraws this and nothing else."""
    drawn = parts.strip(report, state.pins())
    show_strip(drawn, "sae-quality-strip", drawn and drawn.pinned, lambda pos: state.pin(pos=pos))
    _side_by_side(figures.by_token(report, state.pins()), "")


def _probes(report: Report, context: "Context") -> None:
    """The choice of a labelled set, and what the latents know of its labels."""
    st.markdown("### Probes")
    labels = [option for option in (context.lens.options if context.lens else ()) if option.name == "labels"]
    for option in labels:
        option_widget(option, state.session().asked)
    rows = parts.figure_rows(report, is_probe=True)
    if not rows:
        caption("Choose a labelled set to see whether single latents tell its two kinds of sentences apart.")
        return
    _table(parts.COLUMNS, rows, "probes")
    caption(f"{parts.probe_caption(report)} Half of the sentences are learnt from, half are asked about.")


def _beside(report: Report) -> None:
    """The other SAEs of this model, measured when a person asks."""
    st.markdown("### L0 against loss recovered")
    drawn = figures.beside(report)
    for picture in drawn:
        show(picture)
    if drawn:
        _table(parts.BESIDE, parts.beside_rows(report), "beside")
    else:
        caption(
            "Measures every SAE of this model that is on the shelf on the same text; each takes as long as this one."
        )
    if st.button("Measure all beside it", icon=":material/stacked_line_chart:"):
        state.set_option("beside", "all")
        st.rerun()


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], name: str) -> None:
    cells: dict[str, Any] = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
    st.dataframe(cells, hide_index=True, key=f"sae-quality-{name}", height="content")


def _section(title: str, pictures: Sequence[Picture], where_none: str) -> None:
    st.markdown(f"### {plain(title)}")
    for picture in pictures:
        show(picture)
    if not pictures:
        caption(where_none)


def _side_by_side(pictures: Sequence[Picture], where_none: str) -> None:
    for column, picture in zip(st.columns(2, gap="medium") if pictures else (), pictures, strict=False):
        with column:
            show(picture)
    if not pictures:
        caption(where_none)
