"""The recipe of an operator, field by field: the one place that knows how each field is written and read again."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.recipe_number import read_number, read_position
from steering.direction import Direction, direction_text, read_direction
from steering.token_scope import read_ranges


def operator_recipe(operator: Any) -> Recipe:
    """Plain JSON of a dataclass whose fields are all in READERS; vectors are base64 of little-endian float32."""
    values = {field.name: getattr(operator, field.name) for field in fields(operator)}
    return {"kind": operator.kind, **{name: WRITERS.get(name, _same)(value) for name, value in values.items()}}


def operator_of(operator: type[Any], recipe: Recipe) -> Any:
    """The operator of this class that a recipe describes; raises KeyError, TypeError or ValueError for a broken one."""
    return operator(**{field.name: READERS[field.name](recipe[field.name]) for field in fields(operator)})


def _same(value: Any) -> Any:
    return value


def _read_rows(given: Any) -> tuple[Direction, ...]:
    rows = tuple(read_direction(row) for row in given)
    if len({len(row) for row in rows}) != 1:
        raise ValueError("the rows must be of one length")
    return rows


def _read_length(given: Any) -> float | None:
    return None if given is None else read_number(given)


READERS: Mapping[str, Callable[[Any], Any]] = {
    "at": HookPoint.parse,
    "vector": read_direction,
    "gate": read_direction,
    "bias": read_number,
    "rows": _read_rows,
    "dims": lambda given: tuple(read_position(dim) for dim in given),
    "value": read_number,
    "strength": read_number,
    "length": _read_length,
    "first": read_position,
    "ranges": read_ranges,
}
WRITERS: Mapping[str, Callable[[Any], Any]] = {
    "at": str,
    "vector": direction_text,
    "gate": direction_text,
    "rows": lambda rows: [direction_text(row) for row in rows],
    "dims": list,
    "ranges": lambda ranges: [list(one) for one in ranges],
}
