"""A run over a text set that goes on where it was stopped: its state as bytes, saved every few seconds.

The batches of a text set are always the same, so the state is what was gathered and how many batches that was. It holds
sums in float64 as they are, so a run that was stopped ends in the numbers of one that was not, bit for bit.
"""

import io
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from analysis.lens import Checkpoint, Progress, Subject
from analysis.moments import Moments
from analysis.stat_stream import Seen
from analysis.top_entries import TopEntries
from capture.hook_point import HookPoint

STATE_REVISION = 1
"""Raised when what is gathered changes its meaning, so that no older state is gone on from."""
SAVE_EVERY_S = 5.0
SHARE_SAVING = 0.05
"""The most of the time that may be spent on saving: a large state is saved more rarely."""
_PARTS: dict[str, Any] = {"moments": Moments, "values": TopEntries, "ratios": TopEntries}

State = Mapping[str, np.ndarray]


@runtime_checkable
class Gather(Protocol):
    """What takes in a stream; `state` is all that it has, and `go_on_from` puts it back."""

    def update(self, at: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None: ...
    def state(self) -> State: ...
    def go_on_from(self, state: State) -> None: ...


def stream_set(
    subject: Subject, at: Sequence[HookPoint], gather: Gather, progress: Progress, batch_tokens: int
) -> None:
    """Stream the texts into `gather`, from where the subject's checkpoint has them, and save what comes."""
    n_done = 0
    if subject.checkpoint and (state := from_bytes(subject.checkpoint.load(), batch_tokens)):
        n_done = int(state["n_batches"])
        gather.go_on_from(state)
    save = _saver(subject.checkpoint, gather, batch_tokens) if subject.checkpoint else lambda n_batches: None

    def after_batch(share: float, words: str) -> None:
        nonlocal n_done
        n_done += 1
        save(n_done)
        progress(share, words)

    subject.session.stream(
        subject.texts, at, gather.update, subject.interventions, after_batch, batch_tokens, skip_batches=n_done
    )


def _saver(checkpoint: Checkpoint, gather: Gather, batch_tokens: int) -> Callable[[int], None]:
    """Saves when it is time to."""
    due = time.monotonic() + SAVE_EVERY_S

    def save(n_batches: int) -> None:
        nonlocal due
        start = time.monotonic()
        if start < due:
            return
        checkpoint.save(to_bytes(gather.state(), n_batches, batch_tokens))
        end = time.monotonic()
        due = end + max(SAVE_EVERY_S, (end - start) / SHARE_SAVING)

    return save


def to_bytes(state: State, n_batches: int, batch_tokens: int) -> bytes:
    """The state after that many batches."""
    buffer = io.BytesIO()
    about = {"revision": STATE_REVISION, "n_batches": n_batches, "batch_tokens": batch_tokens}
    np.savez(buffer, allow_pickle=False, **{name: np.array(value) for name, value in about.items()}, **state)
    return zlib.compress(buffer.getvalue(), 1)


def from_bytes(data: bytes | None, batch_tokens: int) -> State | None:
    """What `to_bytes` wrote, with `n_batches`; None for a state of another revision, of other batches, or damaged."""
    if data is None:
        return None
    try:
        with np.load(io.BytesIO(zlib.decompress(data)), allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
        is_ours = (int(state["revision"]), int(state["batch_tokens"])) == (STATE_REVISION, batch_tokens)
    except (zlib.error, zipfile.BadZipFile, OSError, EOFError, ValueError, TypeError, KeyError):
        return None
    return state if is_ours else None


def flatten(seen: Seen | None, name: str) -> dict[str, np.ndarray]:
    """What a StatStream has seen, as arrays whose names begin with `name`; nothing where it has seen nothing."""
    return {} if seen is None else dict(_flat(seen, f"{name}."))


def unflatten(state: State, name: str) -> Seen | None:
    """What `flatten` was given."""
    known = {key.removeprefix(f"{name}."): array for key, array in state.items() if key.startswith(f"{name}.")}
    return _filled(Seen, known) if known else None


def _flat(part: Any, prefix: str) -> list[tuple[str, np.ndarray]]:
    found: list[tuple[str, np.ndarray]] = []
    for field in fields(part):
        value = getattr(part, field.name)
        if field.name in _PARTS and value is not None:
            found += _flat(value, f"{prefix}{field.name}.")
        elif value is not None:
            found.append((prefix + field.name, np.asarray(value)))
    return found


def _filled(kind: Any, known: Mapping[str, np.ndarray]) -> Any:
    values: dict[str, Any] = {}
    for field in fields(kind):
        inner = {
            key.removeprefix(f"{field.name}."): one for key, one in known.items() if key.startswith(field.name + ".")
        }
        if inner:
            values[field.name] = _filled(_PARTS[field.name], inner)
        elif field.name in known:
            array = known[field.name]
            values[field.name] = array if array.ndim else array.item()
    return kind(**values)
