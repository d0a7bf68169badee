"""A box for SQL over the store: asked in a thread, so that it can be stopped; table, picture and download."""

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import streamlit as st

from analysis.spec import Spec
from ui import resources, state
from ui.boundary import boundary
from ui.components.pin import is_fragment_run
from ui.job import Job, start_job
from ui.query_table import ROW, drawable, query_figure, table_of, telling_apart
from ui.words import caption, plain

if TYPE_CHECKING:
    from capture.store_query import QueryResult

PATIENCE_S = 0.5
POLL_S = 0.5
EXAMPLE = "Largest entries over all texts"
CHARTS = ("bars", "line", "points")


@dataclass(eq=False)
class Question:
    """One query under way or answered; setting `stop` ends it."""

    sql: str
    stop: threading.Event
    job: Job = field(repr=False)


def sql_box(asked: Spec) -> None:
    """The saved queries, the box, and what was found."""
    sql = str(asked.options.get("sql", ""))
    _choose(sql)
    st.text_area(
        "SQL",
        height=140,
        placeholder="SELECT ... FROM reports, tokens, statistics, latents, findings, objects, timings",
        help="One SELECT. It reads the views named here, never a file. Ctrl+Enter asks.",
        **state.bind("store.sql", sql, _ask),
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Ask", type="primary", icon=":material/play_arrow:", disabled=not sql.strip()):
            state.session().query = None
        _save(sql)
        caption("At most 5 s, 1,000 rows, and reading only; one query runs at a time. Share gives its link.")
    if not sql.strip():
        st.markdown("Ask the store about everything that was measured on this machine.")
        st.button(f"Show: {EXAMPLE.lower()}", on_click=_ask_known, args=(EXAMPLE,))
        return
    _answer(_question(sql), asked)


def _ask(sql: str | None) -> None:
    state.set_option("sql", sql or "")


def _ask_known(name: str | None) -> None:
    from capture.store_query import queries

    if name:
        _ask(queries(resources.store()).get(name, ""))


def _choose(sql: str) -> None:
    from capture.store_query import queries

    known = queries(resources.store())
    name = next((name for name, text in known.items() if text == sql), None)
    bound = state.bind("store.query", name, _ask_known)
    st.selectbox("Saved queries", list(known), placeholder="Choose one, or write your own", **bound)


def _save(sql: str) -> None:
    from capture.store_query import forget_query, queries, save_query
    from capture.store_views import BUILT_IN_QUERIES

    with st.popover("Save", icon=":material/bookmark:", disabled=not sql.strip(), key="steerscope.save"):
        name = st.text_input("Name of this query", max_chars=80)
        if st.button("Save the query", disabled=not name.strip()):
            with boundary("saving the query"):
                save_query(resources.store(), name, sql)
                st.rerun()
        own = [one for one in queries(resources.store()) if one not in BUILT_IN_QUERIES]
        gone = st.selectbox("Saved so far", own, index=None, placeholder="Choose one to forget") if own else None
        if gone and st.button("Forget the query"):
            forget_query(resources.store(), gone)
            st.rerun()


def _question(sql: str) -> Question:
    """The question under this SQL, asked now where it is another than before."""
    session = state.session()
    if session.query is None or session.query.sql != sql:
        if session.query is not None:
            session.query.stop.set()
        stop = threading.Event()
        session.query = Question(sql, stop, start_job("query", "query", lambda job: _work(sql, stop)))
    return session.query


def _work(sql: str, stop: threading.Event) -> "QueryResult":
    from capture.store_query import query

    return query(resources.store(), sql, stop=stop)


def _answer(question: Question, asked: Spec) -> None:
    if question.job.wait(PATIENCE_S):
        with boundary("asking the store"):
            _result(question.job.future.result(), asked)
    else:
        _wait(question)


@st.fragment(run_every=POLL_S)
def _wait(question: Question) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(plain(f"Looking, {question.job.age_s:.0f} s"), width="content")
        if st.button("Stop", icon=":material/stop:"):
            question.stop.set()
    if is_fragment_run() and question.job.wait(0.2):
        st.rerun()


def _result(found: "QueryResult", asked: Spec) -> None:
    cut = ", cut: there is more" if found.is_cut else ""
    n_rows = len(found.rows)
    caption(f"{n_rows:,} {'row' if n_rows == 1 else 'rows'} in {1000 * found.seconds:.0f} ms{cut}")
    if not n_rows:
        return
    table = table_of(found, asked.options["sql"])
    _picture(table, asked)
    st.dataframe(table, hide_index=True)
    with st.container(horizontal=True):
        _download("CSV", table, "text/csv")
        _download("Parquet", table, "application/vnd.apache.parquet")


def _download(kind: str, table: Any, mime: str) -> None:
    def made() -> bytes:
        from analysis.tables import csv_bytes, parquet_bytes

        return csv_bytes(table) if kind == "CSV" else parquet_bytes(table)

    name = f"steerscope-query.{kind.lower()}"
    st.download_button(kind, made, name, mime, icon=":material/download:", on_click="ignore")


def _picture(table: Any, asked: Spec) -> None:
    """A picture of two columns, where one of them has numbers; which ones is in the link."""
    numbers = drawable(table)
    if not numbers or table.num_rows < 2:
        return
    y = _chosen("y", numbers, numbers[-1], asked)
    names = [*telling_apart(table, y), ROW]
    x = _chosen("x", names, names[0], asked)
    kind = _chosen("chart", CHARTS, CHARTS[0], asked)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        _select("Across", "x", names, x)
        _select("Up", "y", numbers, y)
        _select("Drawn as", "chart", CHARTS, kind)
    st.plotly_chart(query_figure(table, x, y, kind), key="store.query.figure", config={"displayModeBar": False})


def _chosen(name: str, offered: Any, default: str, asked: Spec) -> str:
    value = asked.options.get(name)
    return value if value in offered else default


def _select(label: str, name: str, offered: Any, value: str) -> None:
    bound = state.bind(f"store.{name}", value, lambda chosen: state.set_option(name, chosen))
    st.selectbox(label, offered, width=220, **bound)
