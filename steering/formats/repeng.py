"""GGUF control vectors as repeng's `ControlVector.import_gguf` loads them: llama.cpp's, with the model's type in them.

repeng demands `controlvector.model_hint`, transformers' `model_type`, and a direction for every block that its
ControlModel controls: blocks that are not steered have zeros. Its key k is the output of block k, as in llama.cpp.
"""

from pathlib import Path

from capture.hook_point import HookPoint
from steering.formats import llama_cpp
from steering.gguf_file import gguf_bytes
from steering.vector_file import VectorFile

NAME = "repeng"
TITLE = "A repeng control vector"
FILE = "repeng.gguf"
CANNOT = "repeng adds it at every token; its own vectors leave block 0 out, and so does this file."


def left_out(at: HookPoint) -> str:
    """Why the format cannot carry a vector at this hook point; "" where it can."""
    return llama_cpp.left_out(at).replace(llama_cpp.TITLE, TITLE)


def write(found: VectorFile) -> dict[str, bytes]:
    """The file, with zeros at the blocks that are not steered."""
    return {FILE: gguf_bytes(found.model_type, llama_cpp.with_zeros(found))}


def is_mine(path: Path, head: bytes) -> bool:
    """Never: the file is a GGUF control vector, and is read as one."""
    return False


def read(path: Path) -> VectorFile:
    """The vectors, as of any GGUF control vector."""
    return llama_cpp.read(path)
