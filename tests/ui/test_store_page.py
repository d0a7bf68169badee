"""The Store & jobs page: it shows what is kept, changes it only when asked twice, and asks it in SQL."""

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis.link import CODE_FIELD
from analysis.pipeline import run
from analysis.shared_view import keep_view, view_of
from analysis.spec import Spec, from_code, to_code
from capture.store import ActivationStore
from capture.store_query import QueryResult, query, save_query
from ui import resources, store_sql
from ui.query_table import drawable, query_figure, table_of, telling_apart

APP = Path(__file__).resolve().parents[2] / "app.py"
TEXT = "Once upon a time a small bear sat near the river."


@pytest.fixture
def store(monkeypatch, tmp_path, tiny_session):
    """A store with one Report and one kept view in the place of the app's."""
    kept = ActivationStore.open(tmp_path / "store.duckdb")
    report = run(Spec("outliers", text=TEXT), lambda *_: tiny_session, kept).report
    keep_view(view_of(report.spec, (report,)), kept)
    monkeypatch.setattr(resources, "store", lambda: kept)
    monkeypatch.setattr(store_sql, "PATIENCE_S", 60.0)
    yield kept
    kept.close()


def opened(**options: str) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=90)
    app.query_params[CODE_FIELD] = to_code(Spec("store", options=options))
    return app.run()


def press(app: AppTest, label: str) -> AppTest:
    return next(one for one in app.button if one.label == label).click().run()


def test_what_is_kept_is_counted_by_kind(store):
    app = opened()
    assert not app.exception
    assert not app.error
    table = app.dataframe[0].value
    assert table["kind"].tolist() == ["Reports", "Kept views", "Statistics", "Captures", "Dashboards", "Tunings"]
    assert table["objects"].tolist() == [1, 1, 0, 0, 0, 0]


def test_the_page_has_no_text_and_no_model_in_its_rail(store):
    app = opened()
    assert [len(app.sidebar.text_area), len(app.sidebar.selectbox), len(app.sidebar.toggle)] == [0, 0, 0]


def test_what_reading_the_report_took_stands_beside_what_making_it_took(store):
    run(Spec("outliers", text=TEXT), lambda *_: pytest.fail("the model was asked for"), store)
    timed = opened().dataframe[1].value
    assert timed["what"][0].startswith("outliers of ")
    assert timed["times read / run"][0] == "1 / 1"
    assert timed["reading, ms"][0] > 0


def test_clearing_removes_the_kind_that_was_chosen_and_nothing_else(store):
    app = opened()
    press(app, "Remove all reports")
    assert [one.n for one in store.contents()] == [0, 1, 0, 0, 0, 0]


def test_a_kept_view_is_forgotten_when_asked(store):
    app = press(opened(), "Forget this view")
    assert not app.error
    assert store.views() == []


def test_the_limit_is_set_from_the_page(store):
    app = opened()
    app.main.number_input[0].set_value(1.5).run()
    assert store.limit_bytes == 1_500_000_000


def test_the_sql_of_a_link_is_asked_and_its_rows_are_shown(store):
    app = opened(sql="SELECT lens, n_tokens FROM reports")
    assert not app.error
    found = next(one.value for one in app.dataframe if one.value.columns.tolist() == ["lens", "n_tokens"])
    assert found.values.tolist() == [["outliers", query(store, "SELECT count(*) FROM tokens").rows[0][0]]]


def test_sql_that_writes_is_refused_with_a_sentence(store):
    app = opened(sql="DROP TABLE objects")
    assert not app.exception
    assert len(app.error) == 1
    assert store.contents()[0].n == 1


def test_the_box_puts_its_query_into_the_address(store):
    app = opened()
    app.main.text_area[0].set_value("SELECT 1 AS one").run()
    value = app.query_params[CODE_FIELD]
    assert from_code(value[0] if isinstance(value, list) else value).options["sql"] == "SELECT 1 AS one"


def test_a_saved_query_is_offered(store):
    save_query(store, "mine", "SELECT 2 AS two")
    app = opened()
    app.main.selectbox[0].set_value("mine").run()
    assert app.main.text_area[0].value == "SELECT 2 AS two"


FOUND = QueryResult(
    ("a", "b", "b"), ("VARCHAR", "HUGEINT", "DOUBLE"), (("x", 2**100, 1.5), ("<b>", 1, None)), False, 0.0
)


def test_a_result_is_a_table_with_numbers_too_large_for_arrow_as_text():
    table = table_of(FOUND, "SELECT 1")
    assert table.to_pydict() == {"a": ["x", "<b>"], "b": [str(2**100), "1"], "b (2)": [1.5, None]}
    assert table.schema.metadata == {b"steerscope.sql": b"SELECT 1"}
    assert drawable(table) == ["b (2)"]
    assert telling_apart(table, "b (2)") == ["a", "b"]


def test_the_picture_of_a_result_has_its_values_and_escapes_its_text():
    bars = query_figure(table_of(FOUND, ""), "a", "b (2)", "bars").data[0]
    assert list(bars.x) == ["x", "&lt;b&gt;"]
    assert list(bars.y) == [1.5, None]


def test_the_kernels_say_which_backend_they_take_and_how_often_rows_were_redone(store, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_KERNELS", "reference")
    app = opened()
    assert not app.exception
    assert not app.error
    table = next(one.value for one in app.dataframe if "kernel" in one.value)
    row = table.set_index("kernel").loc["topk_encode"]
    assert (row["backend"], "STEERSCOPE_KERNELS" in row["why"]) == ("reference", True)
    assert any("rows, of which" in one.value for one in app.caption)
