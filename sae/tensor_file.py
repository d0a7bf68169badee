"""Tensors in a file that may come from a stranger: nothing is unpickled, and nothing too large is read."""

import hashlib
import json
import math
import pickle
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from capture.errors import UserError, first_line
from capture.memory import available_bytes

MAX_HEADER_BYTES = 10_000_000
MAX_DIRECTORY_BYTES = 2_000_000
LONGEST_END = 66_000
"""Of a ZIP: its end record, a comment behind it, and what says where a list of more than 65,535 parts is."""
END, END_OF_MANY = b"PK\5\6", b"PK\6\7"
WORKING_BYTES = 12
"""Memory that one number takes once it is used: itself and its turned copy in float32, packed in bfloat16, the file."""
SUFFIXES = (".safetensors", ".npz", ".pt")
UNREADABLE = (
    *(OSError, RuntimeError, ValueError, EOFError, KeyError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, SafetensorError),
)
"""What the readers raise for a damaged file."""


def read_tensors(path: Path) -> dict[str, Any]:
    """Every tensor of a .safetensors, .npz or .pt file in float32 where it is of floats, and plain values of a .pt.

    A .pt is read with torch's weights_only: tensors and plain values, never code. Raises UserError for a file that is
    too large for the memory, cut short, or holds anything else.
    """
    _check_size(path)
    try:
        if path.suffix == ".safetensors":
            found: dict[str, Any] = load_file(path)
        elif path.suffix == ".npz":
            found = _read_npz(path)
        elif path.suffix == ".pt":
            loaded = torch.load(path, map_location="cpu", weights_only=True)
            found = dict(loaded) if isinstance(loaded, Mapping) else {}
        else:
            raise UserError(f"{path.name} is no tensor file.", f"Known are {', '.join(SUFFIXES)}.")
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path.name} holds more than tensors, and reading it could run a stranger's code.",
            "Ask for the weights as safetensors.",
        ) from error
    except UNREADABLE as error:
        raise UserError(f"{path.name} cannot be read: {first_line(error)}.", "Get the file again.") from error
    return {name: _as_float32(value) for name, value in found.items()}


def check_directory(path: Path) -> None:
    """Raises ValueError for a ZIP whose list of parts is longer than MAX_DIRECTORY_BYTES, before any of it is parsed.

    A part takes ten times its entry of 46 bytes once it is. Wherever the end of the list may stand, it is looked at.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - LONGEST_END))
        tail = file.read()
    at = tail.find(END)
    while at >= 0:
        is_of_many = tail[max(0, at - 20) :].startswith(END_OF_MANY)
        if is_of_many or int.from_bytes(tail[at + 12 : at + 16], "little") > MAX_DIRECTORY_BYTES:
            raise ValueError("it has too many parts")
        at = tail.find(END, at + 1)


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path.name} is not in this folder.", "Get the whole folder.")
    size, free = path.stat().st_size, available_bytes("cpu")
    needed = WORKING_BYTES * _n_numbers(path, size)
    if needed > free:
        raise UserError(
            f"{path.name} has {size / 1e9:.1f} GB and would take {needed / 1e9:.1f} GB of memory, the encoder's copies "
            f"included; {free / 1e9:.1f} GB are free.",
            "Choose a smaller SAE, or close something.",
        )


def _n_numbers(path: Path, size: int) -> int:
    """About how many numbers a file holds: of safetensors as its header counts them, else as if they were float32."""
    if path.suffix != ".safetensors":
        return size // 4
    with path.open("rb") as file:
        n_header = int.from_bytes(file.read(8), "little")
        header = file.read(n_header) if n_header <= MAX_HEADER_BYTES else b""
    try:
        entries = json.loads(header)
        return sum(math.prod(one["shape"]) for name, one in entries.items() if name != "__metadata__")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return size // 4


def _read_npz(path: Path) -> dict[str, Tensor]:
    import numpy as np

    _check_arrays(path)
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def _check_arrays(path: Path) -> None:
    """Refuse arrays that are not of numbers, that say they are larger than they are, or unpack to more than fits."""
    from numpy.lib import format as npy

    unpacked = 0
    check_directory(path)
    with zipfile.ZipFile(path) as parts:
        for part in parts.infolist():
            unpacked += part.file_size
            with parts.open(part) as file:
                reader = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(
                    npy.read_magic(file)
                )
                if reader is None:
                    raise ValueError(f"{part.filename[:40]!r} is of a version of .npy that is not known")
                shape, _, dtype = reader(file)
                if dtype.kind not in "fiub":
                    raise ValueError(f"{part.filename[:40]!r} is no array of plain numbers")
                if math.prod(shape) * dtype.itemsize > part.file_size:
                    raise ValueError(f"{part.filename[:40]!r} says that it is larger than it is")
    if WORKING_BYTES * unpacked // 4 > available_bytes("cpu"):
        raise ValueError(f"its arrays unpack to {unpacked / 1e9:,.1f} GB")


def _as_float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def read_checked_tensors(folder: Path, name: str, manifest: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a file in a folder; raises UserError where it is not the one whose checksum the manifest has."""
    tensors = read_tensors(folder / name)
    checksums = manifest.get("checksums")
    wanted = checksums.get(name) if isinstance(checksums, Mapping) else None
    if hashlib.sha256((folder / name).read_bytes()).hexdigest() != wanted:
        raise UserError(f"{name} is not the file that its manifest speaks of.", "Get the whole folder again.")
    return tensors
