"""safetensors: one float32 tensor for each hook point, called after it, such as `resid_post.2`."""

from pathlib import Path

from safetensors.torch import save

from capture.hook_point import HookPoint
from sae.tensor_file import read_tensors
from steering.named_tensors import not_in_a_block, tensor_key, vectors_of
from steering.vector_file import VectorFile

NAME = "safetensors"
TITLE = "A safetensors file of vectors"
FILE = "vectors.safetensors"
CANNOT = "Tensors say where they are added; at which tokens, and on what condition, they cannot say."


def left_out(at: HookPoint) -> str:
    """Why the format cannot carry a vector at this hook point; "" where it can."""
    return not_in_a_block(at, TITLE)


def write(found: VectorFile) -> dict[str, bytes]:
    """The file."""
    return {FILE: save({tensor_key(at): vector.contiguous() for at, vector in found.vectors.items()})}


def is_mine(path: Path, head: bytes) -> bool:
    """Whether it is called so."""
    return path.suffix == ".safetensors"


def read(path: Path) -> VectorFile:
    """The vectors."""
    return VectorFile(vectors_of(read_tensors(path), path.name), path.stem)
