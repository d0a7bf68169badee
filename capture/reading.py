"""Readers: what a pass does with an activation at a hook point."""

from collections.abc import Callable

from torch import Tensor

from capture.batching import Batch
from capture.hook_point import HookPoint

Reader = Callable[[Tensor], None]
Update = Callable[[HookPoint, Tensor, Tensor, Tensor], None]
"""Hears hook point, values [n ...], text index [n] and position [n]."""

_HEAD_MAJOR = ("pattern", "attn_scores")


def keeper(point: HookPoint, seen: dict[HookPoint, Tensor]) -> Reader:
    """Keeps the activation in `seen`."""
    return lambda activation: seen.__setitem__(point, activation)


def unpadded(point: HookPoint, activation: Tensor, index: int, n_pos: int) -> Tensor:
    """One row of a batch without its padding."""
    row = activation[index]
    is_head_major = point.site in _HEAD_MAJOR
    return (row[:, :n_pos, :n_pos] if is_head_major else row[:n_pos]).detach().cpu()


def passer(point: HookPoint, batch: Batch, update: Update) -> Reader:
    """Gives the real tokens' activations to `update`."""

    def read(activation: Tensor) -> None:
        by_pos = activation.transpose(1, 2) if point.site in _HEAD_MAJOR else activation
        values = by_pos.flatten(0, 1)
        if batch.real is not None:
            values = values.index_select(0, batch.real)
        update(point, values, batch.text_index, batch.pos)

    return read
