import threading
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capture.errors import UserError
from capture.store import ActivationStore
from capture.store_query import forget_query, queries, query, save_query
from capture.store_views import BUILT_IN_QUERIES, VIEWS
from tests.capture.test_store_compaction import make_rows

WRITES = (
    "DELETE FROM objects",
    "INSERT INTO main.jobs (id) VALUES ('x')",
    "UPDATE objects SET is_shared = true",
    "DROP TABLE pieces",
    "CREATE TABLE mine AS SELECT 1",
    "WITH x AS (DELETE FROM pieces RETURNING *) SELECT * FROM x",
    "SELECT nextval('object_ids')",
    "SELECT 1; SELECT 2",
    "COMMIT; DROP TABLE pieces",
    "BEGIN",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "EXPLAIN ANALYZE DELETE FROM pieces",
    "EXPLAIN DELETE FROM pieces",
    "CHECKPOINT",
)
ELSEWHERE = (
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "FROM glob('/*')",
    "COPY objects TO '/tmp/x.csv'",
    "COPY (SELECT 1) TO '/tmp/x.csv'",
    "ATTACH '/tmp/other.duckdb'",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET memory_limit = '100GB'",
    "PRAGMA database_list",
    "EXPORT DATABASE '/tmp/x'",
    "SELECT * FROM duckdb_databases()",
    "CALL duckdb_databases()",
    "SELECT * FROM duckdb_views",
    "SELECT current_setting('temp_directory')",
    "SELECT \"Current_Setting\"('temp_directory')",
    "SELECT [current_setting(x) for x in ['temp_directory']]",
    "SELECT apply(['temp_directory'], lambda x: current_setting(x))",
    "SELECT getvariable('x')",
    "SHOW DATABASES",
    "SHOW ALL TABLES",
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM information_schema.tables",
    "SELECT pg_get_viewdef(1)",
    "SELECT json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
)
HIDDEN = (
    "SELECT * FROM jobs",
    "SELECT * FROM remembered",
    "SELECT * FROM main.objects",
    'SELECT * FROM "s"."main"."pieces"',
    "TABLE pieces",
    "DESCRIBE pieces",
    "SUMMARIZE jobs",
    "SELECT (SELECT count(*) FROM jobs)",
    "SELECT * FROM objects WHERE EXISTS (FROM jobs)",
    "SELECT * FROM query('FROM jobs')",
    "SELECT * FROM query_table('jobs')",
    "SELECT * FROM objects POSITIONAL JOIN jobs",
    "FROM objects UNION ALL BY NAME FROM Jobs",
    "WITH x AS (SELECT * FROM jobs), jobs AS (SELECT 1) SELECT * FROM x",
    "WITH x AS (SELECT * FROM sqlite_master), sqlite_master AS (SELECT 1) SELECT * FROM x",
    "SELECT * FROM seq_scan('jobs')",
    "SELECT * FROM histogram(jobs, id)",
    "FROM objects ORDER BY (SELECT max(owner) FROM jobs)",
    "FROM objects LIMIT (SELECT count(*) FROM jobs)",
    "EXPLAIN ANALYZE SELECT * FROM jobs",
    "/* x */ EXPLAIN SELECT * FROM jobs",
    "PIVOT jobs ON kind",
    "SELECT count(*) OVER (PARTITION BY (SELECT max(id) FROM jobs)) FROM objects",
)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    opened = ActivationStore.open(tmp_path_factory.mktemp("query") / "s.duckdb")
    opened.keep_report("r1", "outliers", "f", "text" * 1000, make_rows())
    opened.keep_report("r2", "outliers", "f", "{}", make_rows())
    opened.keep_view("v", b"view")
    yield opened
    opened.close()


def asked(store, sql, **limits):
    return [list(row) for row in query(store, sql, **limits).rows]


def test_statistics_are_asked_by_report_with_their_tokens(store):
    sql = "SELECT token, quantity, value FROM statistics JOIN tokens USING (report, pos) WHERE report = 'r1' ORDER BY 1"
    assert asked(store, sql) == [[" b", "q", None], ["a", "q", 1.5]]


def test_a_third_axis_is_named_in_the_statistics(store):
    sql = "SELECT report, place, value FROM statistics WHERE axis = 'latent' ORDER BY ALL"
    assert asked(store, sql) == [["r1", 7, 3.0], ["r2", 7, 3.0]]


def test_reports_findings_and_objects_say_what_was_kept(store):
    sql = "SELECT lens, model, fingerprint, text, n_tokens, year(made) FROM reports WHERE report = 'r1'"
    assert asked(store, sql) == [["outliers", "m", "f", "a b", 2, 1970]]
    assert asked(store, "SELECT sentence, score FROM findings") == [["large", 1.0]] * 2
    assert asked(store, "SELECT kind, key FROM objects ORDER BY ALL") == [
        ["report", "r1"],
        ["report", "r2"],
        ["view", "v"],
    ]


@pytest.mark.parametrize("name", VIEWS)
def test_every_table_can_be_asked_and_described(store, name):
    assert query(store, f"FROM {name}").columns == tuple(row[0] for row in asked(store, f"DESCRIBE {name}"))


@pytest.mark.parametrize("name", BUILT_IN_QUERIES)
def test_a_built_in_query_is_answered(store, name):
    found = query(store, BUILT_IN_QUERIES[name])
    assert len(found.columns) >= 3
    assert not found.is_cut


@pytest.mark.parametrize(
    "sql", [*WRITES, *ELSEWHERE, *HIDDEN, "", "-- nothing", "SELEKT 1", "SELECT nothing", "\0", "("]
)
def test_a_statement_that_leads_elsewhere_is_refused_and_changes_nothing(store, sql):
    with store.file.snapshot() as cursor:
        before = [cursor.execute(f"SELECT count(*) FROM {name}").fetchall() for name in ("objects", "pieces", "jobs")]
    with pytest.raises(UserError) as refused:
        query(store, sql)
    assert str(store.path.parent) not in str(refused.value)
    with store.file.snapshot() as cursor:
        after = [cursor.execute(f"SELECT count(*) FROM {name}").fetchall() for name in ("objects", "pieces", "jobs")]
    assert after == before


def test_rows_beyond_the_limit_are_cut_and_said_to_be(store):
    found = query(store, "FROM range(1_000_000_000_000) t(n)", limit_rows=3)
    assert (found.columns, found.types, found.rows, found.is_cut) == (("n",), ("BIGINT",), ((0,), (1,), (2,)), True)
    assert not query(store, "FROM range(3)", limit_rows=3).is_cut


def test_bytes_are_shown_as_their_number_and_lists_as_json(store):
    found = query(store, "SELECT 'abc'::BLOB AS b, [1, 2] AS l, {'x': DATE '2020-01-02'} AS s, NULL AS n, 1.5 AS d")
    assert found.rows[0][:4] == (3, "[1, 2]", '{"x": "2020-01-02"}', None)
    assert found.types[:2] == ("BYTES", "INTEGER[]")


def test_columns_of_one_name_are_told_apart(store):
    assert query(store, "SELECT 1 AS a, 2 AS a, 3 AS a_2, 4 AS b").columns == ("a", "a_2", "a_2_2", "b")


def test_numbers_that_tables_cannot_hold_become_floats(store):
    sql = "SELECT 1.5::DECIMAL(5, 2), 2::HUGEINT ** 100, sum(n), (2::HUGEINT * 2 ** 62)::HUGEINT FROM range(3) t(n)"
    (row,) = query(store, sql).rows
    assert row == (1.5, 2.0**100, 3, 2.0**63)
    assert [type(value) for value in row] == [float, float, int, float]


def test_a_long_text_is_cut(store):
    found = query(store, "SELECT repeat('x', 50_000)")
    assert (len(found.rows[0][0]), found.is_cut) == (10_000, True)


def test_a_query_that_takes_too_long_is_stopped(store):
    with pytest.raises(UserError, match=r"longer than 0\.2 s"):
        query(store, "SELECT count(*) FROM range(10_000_000_000_000)", limit_s=0.2)
    assert asked(store, "SELECT 1") == [[1]]


def test_a_query_can_be_stopped(store):
    stop = threading.Event()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    start = time.monotonic()
    with pytest.raises(UserError, match="was stopped"):
        query(store, "SELECT count(*) FROM range(10_000_000_000_000)", limit_s=60.0, stop=stop)
    assert time.monotonic() - start < 30


def test_a_query_that_needs_too_much_memory_is_refused_and_the_store_goes_on(store):
    with pytest.raises(UserError, match="more memory"):
        query(store, "SELECT list(range) FROM range(300_000_000)", limit_s=20.0)
    assert store.report("r2") == "{}"


def test_python_variables_are_not_tables(store):
    frame = [1, 2, 3]
    with pytest.raises(UserError, match="No table 'frame'"):
        query(store, "SELECT * FROM frame")
    assert frame == [1, 2, 3]


def test_explain_shows_a_plan(store):
    assert "Projection" in asked(store, "explain select 1 + layer from statistics")[0][1]


def test_a_with_of_ones_own_name_is_answered(store):
    sql = (
        "WITH RECURSIVE n AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM n WHERE x < 3), M AS (FROM n) FROM m ORDER BY x"
    )
    assert asked(store, sql) == [[1], [2], [3]]


WORDS = (
    "SELECT",
    "FROM",
    "objects",
    "jobs",
    "main",
    ".",
    "(",
    ")",
    "*",
    ",",
    "WITH",
    "x",
    "AS",
    "'",
    '"',
    ";",
    "--",
    "1",
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(WORDS), max_size=12).map(" ".join) | st.text(max_size=40))
def test_any_text_is_answered_or_refused_in_words(store, sql):
    try:
        hints = [str(query(store, sql, limit_rows=5, limit_s=2.0).columns)]
    except UserError as error:
        hints = [error.hint]
    assert all(hints)


def test_saved_queries_come_after_the_built_in_ones_and_are_replaced_by_name(store):
    save_query(store, " mine ", "SELECT 1")
    save_query(store, "mine", "SELECT 2")
    assert queries(store) == BUILT_IN_QUERIES | {"mine": "SELECT 2"}
    forget_query(store, "mine")
    assert queries(store) == BUILT_IN_QUERIES


@pytest.mark.parametrize(
    ("name", "sql"), [("", "SELECT 1"), ("x" * 81, "SELECT 1"), ("Strongest findings", "x"), ("a", " ")]
)
def test_a_query_without_a_name_or_text_of_its_own_is_not_saved(store, name, sql):
    with pytest.raises(UserError):
        save_query(store, name, sql)
    assert queries(store) == BUILT_IN_QUERIES
