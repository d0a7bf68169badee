"""TokenWindows: many short sequences of tokens in one array: four bytes a token, where a list of tuples takes forty."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import overload


class TokenWindows(Sequence[tuple[int, ...]]):
    """A sequence of windows, each given as a tuple; it is filled once and then read."""

    def __init__(self, windows: Iterable[Sequence[int]] = ()) -> None:
        self._ids, self._ends = array("i"), array("q", [0])
        self.extend(windows)

    def extend(self, windows: Iterable[Sequence[int]]) -> None:
        """Put windows at the end."""
        for window in windows:
            self._ids.extend(window)
            self._ends.append(len(self._ids))

    @property
    def n_tokens(self) -> int:
        """How many tokens all windows have together."""
        return len(self._ids)

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> tuple[int, ...]: ...

    @overload
    def __getitem__(self, index: slice) -> "TokenWindows": ...

    def __getitem__(self, index: int | slice) -> "tuple[int, ...] | TokenWindows":
        if isinstance(index, slice):
            return TokenWindows(self[one] for one in range(*index.indices(len(self))))
        place = index + len(self) if index < 0 else index
        if not 0 <= place < len(self):
            raise IndexError(index)
        return tuple(self._ids[self._ends[place] : self._ends[place + 1]])

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        return (tuple(self._ids[start:end]) for start, end in pairwise(self._ends))
