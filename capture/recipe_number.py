"""Numbers read from a recipe: each is one that a tensor can hold, or an error."""

from typing import Any

MAX_NUMBER = 3.0e38
MAX_POSITION = 2**31


def read_number(given: Any) -> float:
    """A number that float32 can hold; raises ValueError or TypeError for anything else."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        raise TypeError(f"{str(given)[:20]!r} is no number")
    # NaN compares as false too.
    if not abs(given) <= MAX_NUMBER:
        raise ValueError(f"{str(given)[:20]} is beyond float32")
    return float(given)


def read_position(given: Any) -> int:
    """A whole number from 0 on that a tensor can be indexed by."""
    if read_number(given) != int(given) or not 0 <= given <= MAX_POSITION:
        raise ValueError(f"{str(given)[:20]} is no position")
    return int(given)
