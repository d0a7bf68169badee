"""Where changes act, and from which position on two lists of changes differ.

A change outside of its `ranges` (half-open ranges of absolute positions) leaves an activation as it is, and one of
strength 0 does everywhere; a change that has no `ranges` may act at any position. Two changes with equal recipes act
the same wherever both act.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from capture.intervention import Intervention

Span = tuple[int, int | None]
EVERYWHERE: tuple[Span, ...] = ((0, None),)


@runtime_checkable
class ActsFromPosition(Protocol):
    """A change that leaves every position before `from_pos` as it is."""

    from_pos: int


@dataclass(frozen=True)
class Act:
    """One change for comparison: a digest of what it does, where, and whether more than the logits may change."""

    digest: str
    spans: tuple[Span, ...]
    is_inner: bool

    def is_at(self, pos: int) -> bool:
        """Whether it may act at this position."""
        return any(start <= pos and (end is None or pos < end) for start, end in self.spans)


def spans(change: Intervention) -> tuple[Span, ...]:
    """The positions at which a change may act."""
    if getattr(change, "strength", None) == 0:
        return ()
    ranges = getattr(change, "ranges", None)
    if ranges is not None:
        return tuple((start, end) for start, end in ranges)
    return ((change.from_pos, None),) if isinstance(change, ActsFromPosition) else EVERYWHERE


def acts_between(change: Intervention, start: int, end: int) -> bool:
    """Whether a change may act at any position from `start` until before `end`."""
    return any(first < end and (last is None or start < last) for first, last in spans(change))


def acts_of(changes: Sequence[Intervention]) -> tuple[Act, ...]:
    """The changes that act anywhere, in their order."""
    return tuple(Act(_digest(one), where, _is_inner(one)) for one in changes if (where := spans(one)))


def _digest(change: Intervention) -> str:
    recipe = {key: value for key, value in change.recipe().items() if key != "ranges"}
    text = json.dumps([type(change).__qualname__, recipe], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _is_inner(change: Intervention) -> bool:
    return any(at.site != "logits" for at in change.hook_points())


def first_difference(a: Sequence[Act], b: Sequence[Act]) -> int | None:
    """The first position at which the two may act differently; None where they do nowhere."""
    if tuple(a) == tuple(b):
        return None
    shared = set(a) & set(b)
    if [one for one in a if one in shared] != [one for one in b if one in shared]:
        return min(start for one in (*a, *b) for start, _ in one.spans)
    own = [one for one in (*a, *b) if one not in shared]
    bounds = sorted({pos for one in own for span in one.spans for pos in span if pos is not None})
    return next((pos for pos in bounds if _active(a, pos) != _active(b, pos)), None)


def _active(acts: Sequence[Act], pos: int) -> list[str]:
    return [one.digest for one in acts if one.is_at(pos)]
