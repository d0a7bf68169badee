"""IBM activation-steering's `.svec`: JSON with `model_type`, `directions` by layer and `explained_variances` by layer.

A layer is a block, counted from 0, and its vector is added to the block's output. Explained variances are those of a
PCA: where a vector comes of no PCA there is none, and IBM's loader takes an empty table.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number
from steering.vector_file import VectorFile, block_of, block_outputs, not_a_block_output, read_json, row_of_numbers

NAME = "svec"
TITLE = "An IBM .svec"
FILE = "steering.svec"
CANNOT = "activation-steering adds it at every token, times the behavior_vector_strength that is asked for there."
EXPLAINED = "explained_variance"


def left_out(at: HookPoint) -> str:
    """Why the format cannot carry a vector at this hook point; "" where it can."""
    return not_a_block_output(at, TITLE)


def write(found: VectorFile) -> dict[str, bytes]:
    """The file, in the layout of SteeringVector.save."""
    explained = found.facts.get(EXPLAINED)
    by_point = explained if isinstance(explained, Mapping) else {}
    data = {
        "model_type": found.model_type,
        "directions": {str(layer): vector.tolist() for layer, vector in block_outputs(found).items()},
        "explained_variances": {str(at.layer): by_point[str(at)] for at in found.vectors if str(at) in by_point},
    }
    return {FILE: json.dumps(data).encode()}


def is_mine(path: Path, head: bytes) -> bool:
    """Whether it is called so."""
    return path.suffix == ".svec"


def read(path: Path) -> VectorFile:
    """The vectors, and the explained variances among the facts."""
    data = read_json(path)
    directions = data.get("directions") if isinstance(data, Mapping) else None
    if not isinstance(directions, Mapping):
        raise UserError(f"{path.name} must have `directions` by layer; it has none.", "Export it again.")
    vectors = {
        block_of(layer, "A layer of directions"): row_of_numbers(vector, f"The direction of layer {layer[:8]}")
        for layer, vector in directions.items()
    }
    explained = _numbers(data.get("explained_variances"))
    return VectorFile(vectors, path.stem, "", str(data.get("model_type", ""))[:80], 0, {EXPLAINED: explained})


def _numbers(given: Any) -> dict[str, float]:
    """What can be read of a table of numbers by layer: it says something of the vectors and is no part of them."""
    if not isinstance(given, Mapping):
        return {}
    found = {}
    for layer, value in given.items():
        try:
            found[str(block_of(layer, "A layer"))] = read_number(value)
        except (UserError, TypeError, ValueError):
            continue
    return found
