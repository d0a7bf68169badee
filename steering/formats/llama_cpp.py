"""GGUF control vectors as llama.cpp loads them: `direction.N` is added to the output of block N, counted from 0.

The loader refuses `direction.0`, so block 0 cannot be steered, and takes only float32 of one dimension. Its metadata is
not looked at. Blocks that are not named have zeros here too: older loaders refuse two files of different lengths.
"""

from pathlib import Path

import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from steering.gguf_file import ARCHITECTURE, DIRECTION, INT32, LAYER_COUNT, MAGIC, MODEL_HINT, gguf_bytes, read_gguf
from steering.vector_file import BLOCK_OUTPUTS, VectorFile, block_of, block_outputs, not_a_block_output

NAME = "llama.cpp"
TITLE = "A GGUF control vector"
FILE = "control_vector.gguf"
CANNOT = "llama.cpp adds it at every token, the first one too, and cannot steer block 0."
ARCHITECTURES = {
    "gpt_neox": "gptneox",
    "gpt_oss": "gpt-oss",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen3_moe": "qwen3moe",
}
"""llama.cpp's name of an architecture where it is not that of transformers; the loader does not look at it."""
SHIFTED = "is_one_block_late"
"""The fact that says that a file looks like one of llama.cpp's cvector-generator, which writes what it measured at
block N under N + 1: it stores the count of layers as INT32, where other writers store UINT32."""


def left_out(at: HookPoint) -> str:
    """Why the format cannot carry a vector at this hook point; "" where it can."""
    if at == HookPoint(0, BLOCK_OUTPUTS):
        return f"{TITLE} cannot carry block 0: llama.cpp refuses direction.0, and direction.1 is block 1."
    return not_a_block_output(at, TITLE)


def write(found: VectorFile) -> dict[str, bytes]:
    """The file, with zeros at the blocks that are not steered."""
    return {FILE: gguf_bytes(ARCHITECTURES.get(found.model_type, found.model_type), with_zeros(found))}


def with_zeros(found: VectorFile) -> dict[int, torch.Tensor]:
    """A vector for each block from 1 to the model's last."""
    given = block_outputs(found)
    width = next(iter(given.values())).numel()
    blocks = {*range(1, found.n_layers), *given}
    return {layer: given.get(layer, torch.zeros(width)) for layer in sorted(blocks)}


def is_mine(path: Path, head: bytes) -> bool:
    """Whether it begins as GGUF does."""
    return head.startswith(MAGIC) or path.suffix == ".gguf"


def read(path: Path) -> VectorFile:
    """The vectors; those of zeros are left out, since they steer nothing."""
    found = read_gguf(path)
    if (kind := found.text("general.architecture")) != ARCHITECTURE:
        raise UserError(
            f"{path.name} must be a GGUF of a {ARCHITECTURE}; it is of {kind[:40]!r}.", "Name the file of the vectors."
        )
    stray = [name for name in found.tensors if not name.startswith(DIRECTION)]
    if stray:
        raise UserError(f"{path.name} holds {stray[0][:40]!r}, which is no direction.", "Export it again.")
    vectors = {block_of(name.removeprefix(DIRECTION), name[:40]): one for name, one in found.tensors.items()}
    if HookPoint(0, BLOCK_OUTPUTS) in vectors:
        raise UserError(f"{path.name} has direction.0, which llama.cpp refuses.", "Count its blocks from 1 on.")
    count = found.metadata.get(LAYER_COUNT)
    facts = {SHIFTED: count is not None and count.type == INT32}
    kept = {at: one for at, one in vectors.items() if one.any()}
    hint = found.text(MODEL_HINT)
    return VectorFile(kept, path.stem, "", hint, 0, facts)
