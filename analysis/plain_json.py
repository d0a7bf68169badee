"""Reading JSON that a stranger may have made: bounded in depth, in count and in numbers."""

import json
import math
from typing import Any

MAX_DEPTH = 32
MAX_VALUES = 2_000_000
"""Most brackets and commas: a value takes about a hundred bytes of memory, and two to write."""


def read_json(text: str) -> Any:
    """The parsed value; raises ValueError for what is no JSON, and for JSON that could not be written again.

    Refused are NaN and infinity, integers beyond 64 bits, text that UTF-8 cannot spell, and what is nested too deep.
    """
    if sum(map(text.count, "[{,")) > MAX_VALUES:
        raise ValueError(f"it has more than {MAX_VALUES:,} values")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    _check(value)
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it has {name} among its numbers")


def _check(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                below += [*one, *one.values()]
            elif isinstance(one, list):
                below += one
            else:
                _check_plain(one)
        if not below:
            return
        level = below
    raise ValueError("it is nested too deep")


def _check_plain(one: str | int | float | bool | None) -> None:
    if isinstance(one, str) and not one.isascii():
        one.encode()
    elif isinstance(one, float) and not math.isfinite(one):
        raise ValueError("it has infinity among its numbers")
    elif isinstance(one, int) and not -(2**63) <= one < 2**63:
        raise ValueError("it has an integer beyond 64 bits")
