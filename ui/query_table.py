"""The answer to a query as a table, its files, and a picture of two of its columns."""

from typing import TYPE_CHECKING, Any

from ui import charts
from ui.numbers import escape, token_label

if TYPE_CHECKING:
    import pyarrow
    from plotly.graph_objects import Figure

    from capture.store_query import QueryResult

ROW = "row"
"""What the rows are drawn across where no column tells them apart."""


def table_of(found: "QueryResult", sql: str) -> "pyarrow.Table":
    """The rows as an Arrow table that says which query found them; a column of mixed kinds becomes text."""
    import pyarrow

    values = list(zip(*found.rows, strict=True)) or [()] * len(found.columns)
    columns = [_column(list(one)) for one in values]
    return pyarrow.Table.from_arrays(columns, _distinct(found.columns), metadata={"steerscope.sql": sql})


def _column(values: list[Any]) -> "pyarrow.Array":
    import pyarrow

    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError):
        return pyarrow.array([None if value is None else str(value) for value in values])


def _distinct(names: tuple[str, ...]) -> list[str]:
    """Names of columns, the second of a name numbered."""
    found: list[str] = []
    for name in names:
        n = sum(one == name or one.startswith(f"{name} (") for one in found)
        found.append(f"{name} ({n + 1})" if n else name)
    return found


def drawable(table: "pyarrow.Table") -> list[str]:
    """Names of the columns that have numbers."""
    import pyarrow.types as kinds

    def is_number(kind: Any) -> bool:
        return kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind)

    return [field.name for field in table.schema if is_number(field.type)]


def telling_apart(table: "pyarrow.Table", y: str) -> list[str]:
    """Names of the columns other than `y` in which no two rows are alike."""
    return [name for name in table.column_names if name != y and len(table[name].unique()) == table.num_rows]


def query_figure(table: "pyarrow.Table", x: str, y: str, kind: str) -> "Figure":
    """One column against another as bars, a line or points; text is escaped."""
    import plotly.graph_objects as go

    values = range(1, table.num_rows + 1) if x == ROW else table[x].to_pylist()
    across = [token_label(one) if isinstance(one, str) else one for one in values]
    up = [None if one is None else float(one) for one in table[y].to_pylist()]
    hover = "%{y} at %{x}<extra></extra>"
    if kind == "bars":
        trace: Any = go.Bar(x=across, y=up, marker={"color": charts.CLEAN}, hovertemplate=hover)
    else:
        mode = "lines+markers" if kind == "line" else "markers"
        trace = go.Scatter(x=across, y=up, mode=mode, marker={"color": charts.CLEAN}, hovertemplate=hover)
    return charts.figure([trace], {"title": escape(x)}, {"title": escape(y)})
