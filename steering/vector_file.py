"""Vector files of other tools: what each holds, and the one door through which any of them is read.

1. The formats are the modules of `steering.formats`, found by discovery; each says what it cannot carry.
2. A file from a stranger is looked at before it is read: how large it is, and how many numbers it says it has.
3. What was read is checked once, here: vectors of one width, finite, at hook points that have names.
"""

import importlib
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import MAX_NUMBER, read_number

MAX_BYTES = 256_000_000
MAX_JSON_BYTES = 32_000_000
MAX_NUMBERS, MAX_LISTS = 2_000_000, 20_000
"""Of a JSON file, counted before it is parsed: a parsed number takes ten times its text."""
BLOCK_OUTPUTS = "resid_post"


@dataclass(frozen=True)
class VectorFile:
    """Vectors that are added as they are, each at its hook point and at every token: all that a file can say."""

    vectors: Mapping[HookPoint, Float[Tensor, "..."]]
    name: str = ""
    model: str = ""
    """The model that they are for, as the file names it."""
    model_type: str = ""
    """What transformers calls that model's architecture."""
    n_layers: int = 0
    """Blocks of that model; 0 where nothing says so."""
    facts: Mapping[str, Any] = field(default_factory=dict)


@cache
def formats() -> dict[str, ModuleType]:
    """Every format by its name. A module has NAME, TITLE, FILE, CANNOT, `left_out`, `write`, `is_mine` and `read`."""
    package = importlib.import_module("steering.formats")
    names = sorted(one.name for one in pkgutil.iter_modules(package.__path__))
    modules = [importlib.import_module(f"steering.formats.{name}") for name in names]
    return {module.NAME: module for module in modules}


def format_named(name: str) -> ModuleType:
    """The format of a name; raises UserError for an unknown one."""
    if name not in formats():
        raise UserError(f"No vector format is called {name[:40]!r}.", f"Choose one of: {', '.join(formats())}.")
    return formats()[name]


def write_vector_file(format_name: str, found: VectorFile) -> dict[str, bytes]:
    """The file of a format by its name in a folder (Neuronpedia: one for each block); equal vectors give equal bytes.

    Raises UserError where the format cannot carry one of the vectors.
    """
    chosen = format_named(format_name)
    for at in found.vectors:
        if words := chosen.left_out(at):
            raise UserError(words, "Leave that vector out, or choose safetensors, which carries all of them.")
    written: dict[str, bytes] = chosen.write(found)
    return written


def read_vector_file(path: Path) -> VectorFile:
    """The vectors in a file of any format; raises UserError for one that is none, cut short, hostile or too large."""
    if not path.is_file():
        raise UserError(f"There is no file {str(path)[-120:]!r}.", "Name a file of vectors.")
    if (size := path.stat().st_size) > MAX_BYTES:
        raise UserError(
            f"A file of vectors has at most {MAX_BYTES // 1_000_000} MB; {path.name} has {size / 1e6:,.0f} MB.",
            "Name the file of the vectors alone, not of a model.",
        )
    with path.open("rb") as file:
        head = file.read(64)
    for one in formats().values():
        if one.is_mine(path, head):
            return checked(one.read(path), path.name)
    known = ", ".join(sorted({f"*{Path(one.FILE).suffix}" for one in formats().values()}))
    raise UserError(f"{path.name} is of none of the vector formats that are known.", f"Known are {known}.")


def checked(found: VectorFile, name: str) -> VectorFile:
    """The same, in float32; raises UserError for no vector, several widths, or entries that are not finite."""
    vectors = {at: vector.float() for at, vector in sorted(found.vectors.items(), key=lambda item: str(item[0]))}
    if not vectors:
        raise UserError(f"{name} must hold at least one vector; it holds none.", "Export it again where it was made.")
    for at, vector in vectors.items():
        if vector.ndim != 1 or not vector.numel():
            shape = " × ".join(map(str, vector.shape)) or "a single number"
            raise UserError(f"The vector for {at} in {name} must be a row of numbers; it is {shape}.", "Flatten it.")
        # NaN compares as false too.
        if not (vector.abs() <= MAX_NUMBER).all():
            raise UserError(f"The vector for {at} in {name} has entries that are not finite.", "Make it again.")
    widths = {(at.site, vector.numel()) for at, vector in vectors.items()}
    if len(widths) != len({site for site, _ in widths}):
        sizes = ", ".join(f"{width:,}" for width in sorted({width for _, width in widths})[:4])
        raise UserError(f"All vectors at one site must have one width; {name} has {sizes}.", "Split it by model.")
    return VectorFile(vectors, found.name, found.model, found.model_type, found.n_layers, dict(found.facts))


def block_outputs(found: VectorFile) -> dict[int, Float[Tensor, "d"]]:
    """The vectors by block, of a file whose vectors are all added to the output of one; block 0 is the first."""
    by_block = {at.layer: vector for at, vector in found.vectors.items() if at.layer is not None}
    return {layer: by_block[layer] for layer in sorted(by_block)}


def not_a_block_output(at: HookPoint, title: str) -> str:
    """Why a format of block outputs cannot carry a vector at this hook point; "" where it can."""
    if at.site == BLOCK_OUTPUTS:
        return ""
    return f"{title} holds vectors that are added to the output of a block; {at} is another place."


def read_json(path: Path) -> Any:
    """What a JSON file holds, of bounded size; raises UserError for anything else."""
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"it has more than {MAX_JSON_BYTES // 1_000_000} MB")
        text = path.read_text("utf-8")
        if text.count(",") > MAX_NUMBERS or text.count("[") + text.count("{") > MAX_LISTS:
            raise ValueError(f"it has more than {MAX_NUMBERS:,} numbers or {MAX_LISTS:,} lists")
        return json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path.name} cannot be read: {str(error)[:160]}.", "Export it again.") from error


def row_of_numbers(given: Any, where: str) -> Float[Tensor, "d"]:
    """A list of numbers as a vector; raises UserError for anything else."""
    try:
        if not isinstance(given, list):
            raise TypeError(f"it is {type(given).__name__}")
        return torch.tensor([read_number(entry) for entry in given], dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{where} must be a list of numbers: {str(error)[:120]}.", "Export the file again where it was made."
        ) from error


def block_of(given: Any, where: str) -> HookPoint:
    """The output of the block of that number; raises UserError for what is no number from 0 on."""
    text = str(given)
    if isinstance(given, bool) or not text.isascii() or not text.isdigit() or len(text) > 4:
        raise UserError(f"{where} must be the number of a block, from 0 on; {text[:40]!r} was given.", "Count from 0.")
    return HookPoint(int(text), BLOCK_OUTPUTS)
