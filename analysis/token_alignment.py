"""Which tokens of two texts are the same ones: the longest common subsequence of their token texts.

1. The common beginning and end are taken off. 2. Between them the table of lengths is filled row by row (Wagner and
Fischer 1974, doi 10.1145/321796.321811). 3. The pairs are read from its end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from capture.errors import UserError

MAX_CELLS = 36_000_000
"""About 6,000 tokens against 6,000 others; the table takes two bytes a cell."""


@dataclass(frozen=True)
class Alignment:
    """Rows in the order of both texts: each has a position on the left, on the right, or, where common, on both."""

    left: tuple[int | None, ...]
    right: tuple[int | None, ...]

    @property
    def is_common(self) -> tuple[bool, ...]:
        """Whether each row is a token of both texts."""
        return tuple(None not in pair for pair in zip(self.left, self.right, strict=True))


def align(left: Sequence[str], right: Sequence[str]) -> Alignment:
    """The alignment with the most common tokens; where texts part, tokens of the left stand before those of the right.

    Exchanging the texts pairs the same tokens. Raises UserError where both texts are too long.
    """
    # Several alignments may be equally long; one order for both ways makes them pair alike.
    if tuple(left) <= tuple(right):
        return _in_rows(_pairs(left, right), len(left), len(right))
    return _in_rows([(mine, its) for its, mine in _pairs(right, left)], len(left), len(right))


def _pairs(left: Sequence[str], right: Sequence[str]) -> list[tuple[int, int]]:
    ids: dict[str, int] = {}
    a, b = (np.array([ids.setdefault(token, len(ids)) for token in side], np.int64) for side in (left, right))
    start = _n_same(a, b)
    end = _n_same(a[start:][::-1], b[start:][::-1])
    between = _longest(a[start : len(a) - end], b[start : len(b) - end])
    ending = [(len(a) - end + i, len(b) - end + i) for i in range(end)]
    return [*((i, i) for i in range(start)), *((start + i, start + j) for i, j in between), *ending]


def _n_same(a: np.ndarray, b: np.ndarray) -> int:
    """How many entries the two begin with in common."""
    n = min(len(a), len(b))
    differs = np.flatnonzero(a[:n] != b[:n])
    return int(differs[0]) if len(differs) else n


def _longest(a: np.ndarray, b: np.ndarray) -> list[tuple[int, int]]:
    if len(a) * len(b) > MAX_CELLS:
        raise UserError(
            f"Texts of {len(a):,} and {len(b):,} different tokens are too long to be aligned; the product may be "
            f"{MAX_CELLS:,}.",
            "Compare shorter texts.",
        )
    lengths = np.zeros((len(a) + 1, len(b) + 1), np.uint16)
    for i, token in enumerate(a):
        with_match = np.where(b == token, lengths[i, :-1] + 1, lengths[i, 1:])
        lengths[i + 1, 1:] = np.maximum.accumulate(with_match)
    return _read_back(a, b, lengths)


def _read_back(a: np.ndarray, b: np.ndarray, lengths: np.ndarray) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    i, j = len(a), len(b)
    while i and j:
        if a[i - 1] == b[j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif lengths[i - 1, j] >= lengths[i, j - 1]:
            i -= 1
        else:
            j -= 1
    return pairs[::-1]


def _in_rows(pairs: Sequence[tuple[int, int]], n_left: int, n_right: int) -> Alignment:
    rows: list[tuple[int | None, int | None]] = []
    i = j = 0
    for to_left, to_right in [*pairs, (n_left, n_right)]:
        rows += [(place, None) for place in range(i, to_left)]
        rows += [(None, place) for place in range(j, to_right)]
        rows += [(to_left, to_right)]
        i, j = to_left + 1, to_right + 1
    # The last pair is the end of both texts, not a token.
    del rows[-1]
    return Alignment(tuple(mine for mine, _ in rows), tuple(its for _, its in rows))
