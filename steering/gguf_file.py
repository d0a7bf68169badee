"""GGUF files of control vectors: written with the gguf library, read by a walk that is bounded by the file's size.

The library's reader loops as often as a count in the file says, past the file's end; a file of a stranger may say 2^63.
GGUF 2 and 3, little-endian: magic, version, counts; key-value pairs; name, shape, type and offset of each tensor; data.
"""

import math
import struct
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError

MAGIC = b"GGUF"
ARCHITECTURE = "controlvector"
MODEL_HINT, LAYER_COUNT = f"{ARCHITECTURE}.model_hint", f"{ARCHITECTURE}.layer_count"
DIRECTION = "direction."
VERSIONS = (2, 3)
MAX_TENSORS = 4_096
MAX_KEYS = 1_024
MAX_TEXT_BYTES = 65_536
MAX_TEXTS = 1_000_000
MAX_DIMS = 4
F32 = 0
INT32, STRING, ARRAY = 5, 8, 9
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True)
class Value:
    """One value of the metadata and the GGUF type that it is stored as."""

    type: int
    value: Any


@dataclass(frozen=True)
class Gguf:
    """Metadata and one-dimensional tensors of a file."""

    metadata: Mapping[str, Value]
    tensors: Mapping[str, Float[Tensor, "d"]]

    def text(self, key: str) -> str:
        """A text of the metadata; "" where there is none."""
        found = self.metadata.get(key)
        return str(found.value) if found is not None and found.type == STRING else ""


class _Walk:
    """A place in the bytes; every step is checked against the end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def bytes(self, n: int) -> bytes:
        if n > len(self.data) - self.place:
            raise ValueError(f"it ends {n - len(self.data) + self.place:,} bytes too early")
        self.place += n
        return self.data[self.place - n : self.place]

    def number(self, code: str) -> Any:
        return struct.unpack(f"<{code}", self.bytes(struct.calcsize(f"<{code}")))[0]

    def text(self) -> str:
        n = self.number("Q")
        if n > MAX_TEXT_BYTES:
            raise ValueError(f"it has a name of {n:,} bytes")
        return self.bytes(n).decode("utf-8", "replace")

    def value(self, is_inner: bool = False) -> Value:
        return self.value_of(self.number("I"), is_inner)

    def value_of(self, kind: int, is_inner: bool = False) -> Value:
        if kind in _SCALARS:
            return Value(kind, self.number(_SCALARS[kind]))
        if kind == STRING:
            return Value(kind, self.text())
        if kind != ARRAY or is_inner:
            raise ValueError(f"it has a value of type {kind}, which is not known here")
        inner, n = self.number("I"), self.number("Q")
        size = struct.calcsize(_SCALARS[inner]) if inner in _SCALARS else 8
        if n * size > len(self.data) - self.place:
            raise ValueError(f"it says that it has an array of {n:,} values, which its size does not allow")
        if inner in _SCALARS:
            self.place += n * size
        elif n > MAX_TEXTS:
            raise ValueError(f"it has an array of {n:,} texts")
        else:
            for _ in range(n):
                self.value_of(inner, is_inner=True)
        return Value(kind, None)


def read_gguf(path: Path) -> Gguf:
    """What a GGUF file of one-dimensional float32 tensors holds; raises UserError for any other, or a damaged one."""
    try:
        return _read(path.read_bytes())
    except (OSError, ValueError, struct.error) as error:
        raise UserError(
            f"{path.name} cannot be read as a GGUF control vector: {str(error)[:160]}.", "Get the file again."
        ) from error


def _read(data: bytes) -> Gguf:
    walk = _Walk(data)
    if walk.bytes(4) != MAGIC:
        raise ValueError("it does not begin with GGUF")
    if (version := walk.number("I")) not in VERSIONS:
        raise ValueError(f"its version is {version}; {' and '.join(map(str, VERSIONS))} are known, little-endian")
    n_tensors, n_keys = walk.number("Q"), walk.number("Q")
    if n_tensors > MAX_TENSORS or n_keys > MAX_KEYS:
        raise ValueError(f"it says that it has {n_tensors:,} tensors and {n_keys:,} keys, and is no control vector")
    metadata = {}
    for _ in range(n_keys):
        key = walk.text()
        metadata[key] = walk.value()
    entries = [(walk.text(), *_entry(walk)) for _ in range(n_tensors)]
    alignment = metadata.get("general.alignment", Value(4, 32)).value
    if not isinstance(alignment, int) or not 1 <= alignment <= 65_536:
        raise ValueError("its alignment is no power of two")
    start = math.ceil(walk.place / alignment) * alignment
    tensors = dict(_tensors(data, start, entries))
    if len(tensors) != len(entries):
        raise ValueError("two of its tensors have one name")
    return Gguf(metadata, tensors)


def _entry(walk: _Walk) -> tuple[list[int], int, int]:
    """Shape, type and offset of a tensor."""
    n_dims = walk.number("I")
    if n_dims > MAX_DIMS:
        raise ValueError(f"it has a tensor of {n_dims:,} dimensions")
    shape = [walk.number("Q") for _ in range(n_dims)]
    return shape, walk.number("I"), walk.number("Q")


def _tensors(
    data: bytes, start: int, entries: list[tuple[str, list[int], int, int]]
) -> Iterator[tuple[str, Float[Tensor, "d"]]]:
    for name, shape, kind, offset in entries:
        if kind != F32 or len(shape) != 1:
            raise ValueError(f"{name[:40]!r} must be float32 of one dimension; it is of type {kind} and {shape}")
        first, last = start + offset, start + offset + 4 * shape[0]
        if last > len(data):
            raise ValueError(f"the numbers of {name[:40]!r} end {last - len(data):,} bytes behind the end")
        yield name, torch.frombuffer(bytearray(data[first:last]), dtype=torch.float32) if shape[0] else torch.zeros(0)


def gguf_bytes(model_hint: str, directions: Mapping[int, Float[Tensor, "d"]]) -> bytes:
    """A control vector: `direction.N` for each block N, from 1 on."""
    from gguf import GGUFWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vector.gguf"
        writer = GGUFWriter(path, ARCHITECTURE)
        writer.add_string(MODEL_HINT, model_hint)
        writer.add_uint32(LAYER_COUNT, len(directions))
        for layer, vector in sorted(directions.items()):
            writer.add_tensor(f"{DIRECTION}{layer}", vector.float().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path.read_bytes()
