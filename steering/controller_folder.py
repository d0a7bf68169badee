"""A controller as files: `controller.safetensors` and a `manifest.json` with plain facts; nothing in it is code."""

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number, read_position
from capture.written_file import replace_file
from sae.config_file import read_config
from sae.tensor_file import read_checked_tensors
from steering.controller import Controller
from steering.controller_recipe import LOSSES, OUTPUTS, UNITS, VARIANTS
from steering.shelf import MANIFEST, Shelved, find_shelved

SCHEMA_VERSION = 1
WEIGHTS = "controller.safetensors"
FILES = (WEIGHTS, MANIFEST)
NETWORK = ("mean", "std", "W_1", "b_1", "W_2", "b_2")
KIND = "controllers"
FORMULA = (
    "u = ReLU((x - mean) / std @ W_1 + b_1); (s, w_logits) = u @ W_2 + b_2; w = sigmoid(w_logits), or 0.5 where the "
    "variant is fixed; at resid_post of layers[i], from the first generated position on, "
    "s * w[i] * alpha * directions[i] is added, times mean_norms[i] where the unit is relative. x is the residual "
    "stream at `inputs`, end to end, at the last prompt token of a run without changes."
)


def write_controller(controller: Controller, folder: Path, scores: Mapping[str, Any] | None = None) -> None:
    """Write the folder; with `scores`, the manifest has them too."""
    tensors = {name: controller.network[name] for name in NETWORK}
    tensors |= {"directions": controller.directions, "mean_norms": controller.mean_norms}
    data = save({name: tensor.detach().float().contiguous() for name, tensor in tensors.items()})
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "kind": "controller",
        "formula": FORMULA,
        "inputs": [str(at) for at in controller.inputs],
        "layers": list(controller.layers),
        "facts": dict(controller.facts),
        "scores": None if scores is None else dict(scores),
        "checksums": {WEIGHTS: hashlib.sha256(data).hexdigest()},
    }
    replace_file(folder / WEIGHTS, data)
    replace_file(folder / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())


def read_controller(folder: Path) -> Controller:
    """The controller in a folder; raises UserError for one that is damaged, cut short or of another version."""
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} holds no {MANIFEST}.", "Name a folder that `controller train` has written.")
    manifest = read_config(folder / MANIFEST)
    if (manifest.get("kind"), manifest.get("schema_version")) != ("controller", SCHEMA_VERSION):
        said = f"{str(manifest.get('kind'))[:20]} of version {str(manifest.get('schema_version'))[:10]}"
        raise UserError(f"{folder.name} is no controller of version {SCHEMA_VERSION}: it says {said}.", "Name another.")
    tensors = read_checked_tensors(folder, WEIGHTS, manifest)
    try:
        return _checked(manifest, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(
            f"The controller in {folder.name} cannot be read: {repr(error)[:160]}.", "Get it again."
        ) from error


def _checked(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Controller:
    inputs = tuple(HookPoint.parse(name) for name in manifest["inputs"])
    layers = tuple(read_position(layer) for layer in manifest["layers"])
    facts = dict(manifest["facts"])
    network, directions, norms = {name: tensors[name] for name in NETWORK}, tensors["directions"], tensors["mean_norms"]
    n_in, hidden = network["W_1"].shape
    shapes = {"mean": (n_in,), "std": (n_in,), "b_1": (hidden,), "W_2": (hidden, 1 + len(layers))}
    shapes |= {"b_2": (1 + len(layers),)}
    for name, shape in shapes.items():
        if tuple(network[name].shape) != shape:
            raise ValueError(f"{name} has the shape {tuple(network[name].shape)}, not {shape}")
    if directions.ndim != 2 or len(directions) != len(layers) or tuple(norms.shape) != (len(layers),):
        raise ValueError("directions and layers do not fit each other")
    if not all(bool(torch.isfinite(one).all()) for one in (*network.values(), directions, norms)):
        raise ValueError("not every number is finite")
    known = {"variant": VARIANTS, "output": OUTPUTS, "unit": UNITS, "loss": LOSSES}
    for name, values in known.items():
        if facts[name] not in values:
            raise ValueError(f"{name} is {str(facts[name])[:20]!r}")
    read_number(facts["alpha"])
    return Controller(inputs, layers, network, directions, norms, facts)


def shelved_controller(wanted: str) -> tuple[Shelved, Controller]:
    """The controller of a name or digest on the shelf, held in memory; raises UserError where none is."""
    one = find_shelved(KIND, wanted)
    return one, _held(one.folder, one.digest)


@lru_cache(maxsize=8)
def _held(folder: Path, _digest: str) -> Controller:
    return read_controller(folder)
