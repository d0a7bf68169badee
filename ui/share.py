"""Share, Export and Compare: what a person takes away from the view on screen, made only once it is asked for."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec, to_code
from analysis.view_file import SUFFIX, ViewFile
from ui import resources, state
from ui.answers import exported
from ui.boundary import boundary
from ui.frozen import is_cold

if TYPE_CHECKING:
    from ui.answers import Answers

NAME = "steerscope"


def draw_tools(place: Any, answers: "Answers", pages: dict[str, Any]) -> None:
    """Share, Export and Compare."""
    with place:
        _tools(answers, pages)


@st.fragment
def _tools(answers: "Answers", pages: dict[str, Any]) -> None:
    # Opening one of them reruns this fragment, so that the link has the pins of the latest click.
    with st.container(horizontal=True, horizontal_alignment="right"):
        share = st.popover("Share", icon=":material/link:", on_change="rerun", key="steerscope.share")
        export = st.popover("Export", icon=":material/download:", on_change="rerun", key="steerscope.export")
        if state.COMPARE in pages and _can_be_compared(answers[0].report.spec):
            _compare(answers, pages)
    if share.open:
        with share, st.container(gap="xsmall"):
            _share(answers)
    if export.open:
        with export, st.container(gap="xsmall"), boundary("preparing the export"):
            _export(answers)


def draw_link(place: Any) -> None:
    """Share, on a page that has nothing but what its address says."""
    with place.container(horizontal=True, horizontal_alignment="right"):
        share = st.popover("Share", icon=":material/link:", key="steerscope.share")
    with share, boundary("making the link"):
        st.caption("Opens this page with what was asked on it; the answer is that of the store that is asked.")
        st.code(state.link(), language=None, wrap_lines=True)


def view_on_screen(answers: "Answers") -> ViewFile:
    """The view on screen as a file: a kept one with the pins of now, or one made now."""
    from analysis.shared_view import view_of

    session = state.session()
    spec = session.shown or session.asked
    if session.shown_kept is not None:
        return replace(session.shown_kept, spec=spec)
    return view_of(spec, [answer.report for answer in answers])


def _share(answers: "Answers") -> None:
    view = view_on_screen(answers)
    with boundary("keeping what is shared"):
        resources.keep_shared(answer.report.spec for answer in answers if answer.source != "kept view")
        identity = resources.keep_view(view)
        st.markdown("**Short link**")
        st.caption("Opens these very numbers at once, without the model. They are kept by this server.")
        st.code(state.link(identity), language=None, wrap_lines=True)
    st.markdown("**Self-contained link**")
    st.caption("Has model, text, options and pins in itself; any Steerscope with the model makes the numbers again.")
    with boundary("making the link"):
        st.code(state.link(), language=None, wrap_lines=True)
    st.markdown("**View file**")
    st.caption("One file with these numbers; any Steerscope opens it, without the model.")
    _download("View file", view.to_bytes, f"{_stem(view)}{SUFFIX}", "application/gzip")


def _export(answers: "Answers") -> None:
    view = view_on_screen(answers)
    stem = _stem(view)
    st.caption("The whole view as one page that opens anywhere, offline.")
    _download("Page (HTML)", lambda: _html(view), f"{stem}.html", "text/html")
    st.caption("Every number with where it comes from: CSV, Parquet and JSON in one archive.")
    _download("Data (ZIP)", lambda: _data(view), f"{stem}.zip", "application/zip")
    _download("Report (JSON)", lambda: exported(answers), f"{stem}.json", "application/json")
    st.caption("Its figures as SVG and PNG; drawing them takes a few seconds.")
    _figures(view, stem)
    st.caption("The same numbers from a script, or from a shell in the folder of Steerscope.")
    _code(view.spec)


def _download(label: str, made: Any, name: str, mime: str) -> None:
    """A button that saves what is `made`, or what calling it makes: in a thread that knows no session."""
    st.download_button(label, data=made, file_name=name, mime=mime, on_click="ignore", width="stretch")


def _stem(view: ViewFile) -> str:
    return f"{NAME}-{view.spec.lens}"


def _html(view: ViewFile) -> str:
    from ui.view_html import view_html

    return view_html(view)


def _data(view: ViewFile) -> bytes:
    from analysis.tables import data_zip

    return data_zip(view)


def _figures(view: ViewFile, stem: str) -> None:
    """In two steps, since what a download's own making meets could not be said."""
    from ui.figure_files import figure_zip

    if st.button("Draw the figures", width="stretch"):
        with boundary("drawing the figures"), st.spinner("Drawing"):
            drawn = figure_zip(view)
            _download("Figures (ZIP)", drawn, f"{stem}-figures.zip", "application/zip")


def _code(spec: Spec) -> None:
    from analysis.as_code import cli_line, python_script

    python, shell = st.tabs(["Python", "Shell"])
    python.code(python_script(spec), language="python", height=240)
    shell.code(cli_line(spec), language="bash", wrap_lines=True)


def _compare(answers: "Answers", pages: dict[str, Any]) -> None:
    help_words = "Put this view on the left of Compare, or on the right where one waits there."
    if st.button("Compare", icon=":material/compare:", help=help_words, key="steerscope.compare"):
        with boundary("opening Compare"):
            query = state.compare_also(_side(answers))
            st.switch_page(pages[state.COMPARE], query_params=query)


def _can_be_compared(spec: Spec) -> bool:
    """Whether the view is of one model and its text, rather than of other views or of checkpoints."""
    if is_cold():
        # What knows the lenses is not imported yet; Compare itself says what it cannot take.
        return spec.lens != state.COMPARE
    from analysis.lens import report_lenses, series_lenses

    return spec.lens not in {**report_lenses(), **series_lenses()}


def _side(answers: "Answers") -> str:
    """The view as a side of a comparison: the id of a kept one, else the code of the first lens that it shows."""
    from analysis.lens import comparable_lens

    kept = state.session().shown_kept
    if kept is not None:
        return resources.keep_view(kept)
    first, shown = answers[0].report.spec, state.session().shown
    is_of_a_lens = shown is not None and shown.lens == first.lens
    spec = (shown if is_of_a_lens else first).with_(pins={})
    return to_code(spec if _is_comparable(spec.lens) else spec.with_(lens=comparable_lens(), options={}))


def _is_comparable(slug: str) -> bool:
    from analysis.lens import Lens, find_lens

    lens = find_lens(slug)
    return isinstance(lens, Lens) and lens.is_comparable
