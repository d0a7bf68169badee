"""Which SQL may be asked of the store: one SELECT or EXPLAIN over its views, and nothing that leads elsewhere.

The statement's syntax tree is read as DuckDB itself parses it, so that no spelling of a name goes unseen.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from capture.errors import UserError
from capture.store_views import VIEWS

MAX_CHARACTERS = 20_000
TABLE_FUNCTIONS = {"range", "generate_series", "unnest", "repeat", "json_each", "json_tree"}
REFUSED_FUNCTIONS = re.compile(
    r"(duckdb_|pragma_|pg_|read_|write_|json_execute|json_serialize_plan|__internal)\w*"
    r"|current_setting|getvariable|getenv|nextval|currval|setval|sleep_ms|current_query|query|query_table"
)
_EXPLAIN = re.compile(r"\s*EXPLAIN(\s+ANALYZE)?\b", re.IGNORECASE)
_TABLES = f"Ask for one of: {', '.join(VIEWS)}."


def check_statement(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The statement, if it may be asked; raises UserError where it may not or is no SQL."""
    if len(sql) > MAX_CHARACTERS:
        raise UserError(f"SQL has at most {MAX_CHARACTERS:,} characters; {len(sql):,} were given.", "Ask for less.")
    statement = _one_statement(cursor, sql)
    tree = _tree(cursor, _EXPLAIN.sub("", statement, count=1))
    nodes = list(_nodes(tree))
    defined = {entry["key"].lower() for node in nodes for entry in _defined(node)}
    if taken := defined & _names_taken(cursor):
        raise UserError(f"A WITH cannot be named {min(taken)!r}: that is a table's name.", "Name it otherwise.")
    for node in nodes:
        _check_node(node, defined)
    return statement


def _one_statement(cursor: duckdb.DuckDBPyConnection, sql: str) -> str:
    try:
        sql.encode()
        statements = cursor.extract_statements(sql)
    except (duckdb.Error, UnicodeEncodeError) as error:
        raise _no_sql(str(error)) from error
    if len(statements) != 1:
        raise UserError(f"One statement is asked at a time; {len(statements)} were given.", "Leave out the others.")
    kind = statements[0].type.name
    if kind not in ("SELECT", "EXPLAIN"):
        raise UserError(f"The store answers SELECT and EXPLAIN; {kind} was given.", _TABLES)
    return str(statements[0].query)


def _tree(cursor: duckdb.DuckDBPyConnection, select: str) -> Any:
    found = cursor.execute("SELECT json_serialize_sql(?::VARCHAR)", [select]).fetchall()[0][0]
    tree = json.loads(found)
    if tree["error"]:
        raise _no_sql(tree["error_message"])
    if len(tree["statements"]) != 1:
        raise UserError("One statement is asked at a time.", "Leave out the others.")
    return tree["statements"]


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def _defined(node: dict[str, Any]) -> list[dict[str, Any]]:
    """What a WITH defines, as {key, value} entries."""
    return list(node.get("cte_map", {}).get("map", []))


def _names_taken(cursor: duckdb.DuckDBPyConnection) -> set[str]:
    """Tables and views of any schema: a WITH of such a name could hide that the table itself is read."""
    rows = cursor.execute("SELECT table_name FROM duckdb_tables() UNION SELECT view_name FROM duckdb_views()")
    return {name.lower() for (name,) in rows.fetchall()}


def _check_node(node: dict[str, Any], defined: set[str]) -> None:
    kind = node.get("type")
    if kind == "BASE_TABLE":
        name, is_qualified = node["table_name"], node.get("schema_name") or node.get("catalog_name")
        if is_qualified or name.lower() not in {*VIEWS, *defined}:
            raise UserError(f"No table {name[:60]!r} can be asked.", _TABLES)
    if kind == "SHOW_REF" and node.get("show_type") == "SHOW_SPECIAL":
        raise UserError("SHOW is not answered.", f"DESCRIBE lists the columns of one table. {_TABLES}")
    if kind == "TABLE_FUNCTION" and node["function"].get("function_name", "").lower() not in TABLE_FUNCTIONS:
        name = node["function"].get("function_name", "")
        raise UserError(f"The table function {name[:60]!r} is not answered.", _TABLES)
    name = node.get("function_name")
    if isinstance(name, str) and REFUSED_FUNCTIONS.fullmatch(name.lower()):
        raise UserError(f"The function {name[:60]!r} is not answered.", "It tells of this machine, not of the store.")


def _no_sql(reason: str) -> UserError:
    return UserError(f"This is no SQL that can be asked: {reason.splitlines()[0][:300]}", _TABLES)
