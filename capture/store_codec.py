"""Tensors as bytes, bit for bit, and the digest of the recipe that makes one."""

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import Intervention

DTYPES = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64,
        torch.float32,
        torch.bfloat16,
        torch.float16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
    )
}


def to_bytes(tensor: Tensor) -> tuple[dict[str, Any], bytes]:
    """A tensor as (its dtype name and shape, its raw bytes in row order); bfloat16 is bit-cast, never rounded.

    Raises ValueError for a dtype outside DTYPES.
    """
    dtype = str(tensor.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise ValueError(f"a tensor of dtype {dtype} cannot be kept")
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    return {"dtype": dtype, "shape": list(tensor.shape)}, flat.view(torch.uint8).numpy().tobytes()


def from_bytes(header: dict[str, Any], data: bytes) -> Tensor:
    """The tensor that `to_bytes` wrote; raises ValueError where the bytes do not fill the shape."""
    dtype, shape = DTYPES[header["dtype"]], header["shape"]
    if len(data) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(data)} bytes do not fill {shape} of {header['dtype']}")
    if not data:
        return torch.empty(shape, dtype=dtype)
    # frombuffer shares memory, and a tensor over read-only bytes would be undefined to write to.
    return torch.frombuffer(bytearray(data), dtype=dtype).reshape(shape)


def capture_key(
    fingerprint: str,
    dtype: str,
    processing: str,
    tokens: Sequence[int],
    at: HookPoint,
    interventions: Sequence[Intervention] = (),
) -> str:
    """Digest of the recipe of one captured tensor, 32 hex digits: equal recipes, equal keys, and no others."""
    recipe = {
        "model": fingerprint,
        "dtype": dtype,
        "processing": processing,
        "tokens": [int(token) for token in tokens],
        "at": str(at),
        "interventions": [one.recipe() for one in interventions],
    }
    canonical = json.dumps(recipe, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()[:32]
