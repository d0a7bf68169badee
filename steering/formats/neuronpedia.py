"""Neuronpedia's vector JSON, as its download button gives it: one file for each hook point.

`hookName` says where: blocks.L.hook_resid_pre or _post, with L from 0 on. `layer` is the source that it generates,
`L-neuronpedia-resid-post`. To upload one, POST /api/vector/new takes modelId, layerNumber, hookType, vector,
vectorDefaultSteerStrength and vectorLabel.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number
from steering.vector_file import VectorFile, read_json, row_of_numbers

NAME = "neuronpedia"
TITLE = "A Neuronpedia vector"
FILE = "neuronpedia.json"
CANNOT = "Neuronpedia steers one vector a file, at the tokens that its page is set to; strength 1 is this strength."
SITES = ("resid_pre", "resid_post")
MAX_WIDTH = 24_576
STRENGTH = "default_strength"


def left_out(at: HookPoint) -> str:
    """Why the format cannot carry a vector at this hook point; "" where it can."""
    return "" if at.site in SITES else f"{TITLE} is added before or after a block; {at} is another place."


def write(found: VectorFile) -> dict[str, bytes]:
    """A file for each hook point."""
    widest = max(vector.numel() for vector in found.vectors.values())
    if widest > MAX_WIDTH:
        raise UserError(f"{TITLE} has at most {MAX_WIDTH:,} entries; this has {widest:,}.", "Choose another format.")
    strength = found.facts.get(STRENGTH, 1.0)
    return {
        f"neuronpedia.{at.site}.{at.layer}.json": json.dumps(_object(found, at, strength)).encode()
        for at in found.vectors
    }


def _object(found: VectorFile, at: HookPoint, strength: float) -> dict[str, Any]:
    return {
        "modelId": found.model,
        "layer": f"{at.layer}-neuronpedia-{at.site.replace('_', '-')}",
        "index": "",
        "vectorLabel": found.name,
        "hookName": str(at),
        "vector": found.vectors[at].tolist(),
        "vectorDefaultSteerStrength": strength,
    }


def is_mine(path: Path, head: bytes) -> bool:
    """Whether it is JSON: no other format here is, but .svec, which has its own ending."""
    return path.suffix == ".json"


def read(path: Path) -> VectorFile:
    """The vectors of one object or of a list of them, at the hook point that each names."""
    data = read_json(path)
    objects = data if isinstance(data, list) else [data]
    if not all(isinstance(one, Mapping) and "vector" in one for one in objects):
        raise UserError(
            f"{path.name} must hold Neuronpedia vectors, each with `vector`; it does not.",
            "Download it again; a recipe.json is no file of vectors: `export` and `steer run` read it.",
        )
    vectors: dict[HookPoint, Any] = {}
    for one in objects:
        at = _hook_point(one)
        if at in vectors:
            raise UserError(f"{path.name} has two vectors for {at}.", "Import them one by one.")
        vectors[at] = row_of_numbers(one["vector"], f"The vector of {at}")
    first = objects[0] if objects else {}
    name = str(first.get("vectorLabel") or path.stem)
    return VectorFile(vectors, name[:120], str(first.get("modelId", ""))[:120], "", 0, _facts(first))


def _hook_point(one: Mapping[str, Any]) -> HookPoint:
    at = HookPoint.parse(str(one.get("hookName")))
    if at.site not in SITES:
        raise UserError(f"{TITLE} is added before or after a block; {at} is another place.", "Download it again.")
    return at


def _facts(one: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {STRENGTH: read_number(one.get("vectorDefaultSteerStrength"))}
    except (TypeError, ValueError):
        return {}
