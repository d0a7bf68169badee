"""Which rows of a batch a change acts on, and where positions begin there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import Intervention, ReadsTokens


@dataclass(frozen=True)
class Placed:
    """A change on some rows of a batch.

    `n_padded` columns of the pass, from the left, are padding in those rows, and the change never sees them; the
    column after them has position `first_pos`.
    """

    change: Intervention
    rows: tuple[int, ...] | None = None
    """None means all of them."""
    n_padded: int = 0
    first_pos: int = 0

    def acted(self, activation: Float[Tensor, "batch pos d"], at: HookPoint) -> Float[Tensor, "batch pos d"]:
        """The activation after the change; the very same tensor where it changes nothing."""
        if self.rows is None and not self.n_padded:
            return self._checked(activation, at)
        rows = slice(None) if self.rows is None else _index(self.rows)
        part = activation[rows, self.n_padded :]
        made = self._checked(part, at)
        if made is part:
            return activation
        changed = activation.clone()
        changed[rows, self.n_padded :] = made
        return changed

    def _checked(self, part: Float[Tensor, "some pos d"], at: HookPoint) -> Float[Tensor, "some pos d"]:
        made = self.change(part, at, self.first_pos)
        if made.shape != part.shape or made.dtype != part.dtype or made.device != part.device:
            raise ValueError(f"{self.change.recipe().get('kind')} changed shape, dtype or device at {at}.")
        return made


def _index(rows: tuple[int, ...]) -> slice | list[int]:
    """Rows that lie beside each other as a slice, which copies nothing."""
    is_run = rows == tuple(range(rows[0], rows[-1] + 1))
    return slice(rows[0], rows[-1] + 1) if is_run else list(rows)


def everywhere(changes: Sequence[Intervention], first_pos: int = 0) -> list[Placed]:
    """Changes that all rows share."""
    return [Placed(change, first_pos=first_pos) for change in changes]


def placed(
    changes: Sequence[tuple[Intervention, ...]],
    n_padded: Sequence[int] | None = None,
    first_pos: Sequence[int] | None = None,
) -> list[Placed]:
    """The changes of each row, in the order of its recipe; rows that share a list and their positions act as one."""
    starts = list(zip(n_padded or [0] * len(changes), first_pos or [0] * len(changes), strict=True))
    groups: dict[Any, list[int]] = {}
    for row, (made, start) in enumerate(zip(changes, starts, strict=True)):
        groups.setdefault((tuple(map(id, made)), start), []).append(row)
    found = []
    for rows in groups.values():
        of_batch = None if len(rows) == len(changes) else tuple(rows)
        found += [Placed(change, of_batch, *starts[rows[0]]) for change in changes[rows[0]]]
    return found


def with_tokens(changes: Sequence[Placed], rows: Sequence[Sequence[int]]) -> list[Placed]:
    """The same changes, row by row where they look at the tokens; `rows` are all tokens of each so far."""
    found: list[Placed] = []
    for one in changes:
        if isinstance(one.change, ReadsTokens):
            own = range(len(rows)) if one.rows is None else one.rows
            found += [replace(one, change=one.change.with_tokens(rows[row]), rows=(row,)) for row in own]
        else:
            found.append(one)
    return found


def editing(one: Placed, at: HookPoint, n_pos: int) -> Callable[..., Tensor | None]:
    """The hook that makes a change at a hook point; batch and positions may be merged there, or heads apart."""

    def hook_editor(activation: Tensor, hook: Any) -> Tensor | None:
        rows = activation if activation.ndim == 3 else activation.reshape(-1, n_pos, activation.shape[-1])
        if activation.ndim == 4:
            # Heads lie beside each other in a vector for queries, keys, values and head outputs.
            rows = activation.flatten(2)
        changed = one.acted(rows, at)
        return None if changed is rows else changed.reshape(activation.shape)

    return hook_editor
