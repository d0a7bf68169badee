"""Captures through the store: read where that was measured to be quicker, run otherwise."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import Intervention
from capture.store_codec import capture_key, from_bytes, to_bytes
from capture.store_objects import find
from capture.store_timings import size_class

if TYPE_CHECKING:
    import capture.store

Source = Literal["store", "fresh"]


@runtime_checkable
class Runner(Protocol):
    """The part of ModelSession that the store asks."""

    fingerprint: str
    dtype: str
    device: str
    processing: str

    def capture(
        self, tokens: Sequence[int], at: Sequence[HookPoint], interventions: Sequence[Intervention] = ()
    ) -> dict[HookPoint, Tensor]: ...


def captures(
    store: "capture.store.ActivationStore",
    session: Runner,
    tokens: Sequence[int],
    at: Sequence[HookPoint],
    interventions: Sequence[Intervention],
    keep: bool,
) -> tuple[dict[HookPoint, Tensor], Source]:
    """See `ActivationStore.captures`."""
    keys = {
        point: capture_key(session.fingerprint, session.dtype, session.processing, tokens, point, interventions)
        for point in at
    }
    shape = run_shape(session, tokens, at)
    if keys and (found := _read(store, set(keys.values()), shape)):
        return {point: found[key] for point, key in keys.items()}, "store"
    start = store.clock()
    fresh = session.capture(tokens, at, interventions)
    store.timings.record("run", shape, store.clock() - start)
    if keep:
        store.keep("capture", {keys[point]: to_bytes(value) for point, value in fresh.items()}, replace=False)
    return fresh, "fresh"


def _read(store: "capture.store.ActivationStore", keys: set[str], shape: str) -> dict[str, Tensor] | None:
    """Kept tensors, or None where one is missing or running is expected to be quicker."""
    with store.file.snapshot() as cursor:
        kept = find(cursor, "capture", list(keys))
        read_shape = f"{len(kept)} of {size_class(sum(one.n_bytes for one in kept.values()))} bytes"
        if len(kept) < len(keys) or not store.timings.reading_is_expected_to_win(read_shape, shape):
            return None
        start = store.clock()
        found = store.read(cursor, kept)
        tensors = {key: from_bytes(kept[key].header, data) for key, data in found.items()}
        store.timings.record("read", read_shape, store.clock() - start)
    return tensors


def run_shape(session: Runner, tokens: Sequence[int], at: Sequence[HookPoint]) -> str:
    """What decides how long a capture runs: model, device, dtype, tokens, and how deep it must go."""
    layers = [-1 if point.layer is None else point.layer for point in at]
    depth = "all" if any(point.layer is None and point.site != "embed" for point in at) else max(layers, default=-1)
    return f"{session.fingerprint} {session.device} {session.dtype} {size_class(len(tokens))} tokens, depth {depth}"
