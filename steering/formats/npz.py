"""NumPy's .npz: one float32 array for each hook point, called after it, such as `resid_post.2`; nothing is pickled."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from capture.hook_point import HookPoint
from sae.tensor_file import read_tensors
from steering.named_tensors import not_in_a_block, tensor_key, vectors_of
from steering.vector_file import VectorFile

NAME = "npz"
TITLE = "A .npz of vectors"
FILE = "vectors.npz"
CANNOT = "Arrays say where they are added; at which tokens, and on what condition, they cannot say."


def left_out(at: HookPoint) -> str:
    """Why the format cannot carry a vector at this hook point; "" where it can."""
    return not_in_a_block(at, TITLE)


def write(found: VectorFile) -> dict[str, bytes]:
    """The file; NumPy dates its parts 1980, so that equal vectors give equal bytes."""
    data = io.BytesIO()
    arrays: dict[str, Any] = {tensor_key(at): vector.numpy() for at, vector in sorted(found.vectors.items())}
    np.savez(data, **arrays)
    return {FILE: data.getvalue()}


def is_mine(path: Path, head: bytes) -> bool:
    """Whether it is called so."""
    return path.suffix == ".npz"


def read(path: Path) -> VectorFile:
    """The vectors; a pickle inside is refused."""
    return VectorFile(vectors_of(read_tensors(path), path.name), path.stem)
