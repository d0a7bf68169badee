"""A folder with fitted vectors: `vectors.safetensors` and a `manifest.json` that says what they are and from what.

A tensor's key is its site and layer, such as `resid_post.2`: the output of block 2, blocks counted from 0. The manifest
has the hook point's whole name beside it, since a bare layer number is read differently by every tool.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number
from capture.written_file import replace_file
from sae.config_file import read_config
from sae.tensor_file import read_checked_tensors
from steering.fitted import Fitted
from steering.named_tensors import tensor_key

SCHEMA_VERSION = 1
MANIFEST, VECTORS = "manifest.json", "vectors.safetensors"
EXTRA = "extra."
LAYER_BASE = "blocks are counted from 0; resid_post.N is the output of block N, resid_pre.N its input"
NORMS = "vectors are as fitted; a relative strength s adds s × mean_norm × vector / |vector|"


def write_vectors(fitted: Fitted, folder: Path, scores: Mapping[str, Any] | None = None) -> None:
    """Write the folder; with `scores`, the manifest has them too."""
    tensors = {tensor_key(at): vector.float().contiguous() for at, vector in fitted.vectors.items()}
    tensors |= {f"{EXTRA}{name}": tensor.float().contiguous() for name, tensor in fitted.tensors.items()}
    data = save(tensors)
    manifest = vector_manifest(fitted, data, scores)
    replace_file(folder / VECTORS, data)
    replace_file(folder / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())


def vector_manifest(fitted: Fitted, data: bytes, scores: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the manifest says of vectors whose file is `data`."""
    return {
        "schema_version": SCHEMA_VERSION,
        "method": fitted.method,
        "layer_base": LAYER_BASE,
        "norm_convention": NORMS,
        "hook_points": {tensor_key(at): str(at) for at in fitted.vectors},
        "vector_norms": {tensor_key(at): float(vector.norm()) for at, vector in fitted.vectors.items()},
        "mean_norms": {str(at): norm for at, norm in fitted.mean_norms.items()},
        "facts": dict(fitted.facts),
        "scores": None if scores is None else dict(scores),
        "checksums": {VECTORS: hashlib.sha256(data).hexdigest()},
    }


def read_vectors(folder: Path) -> Fitted:
    """The fitted vectors in a folder; raises UserError for one that is damaged, cut short or of another version."""
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} holds no {MANIFEST}.", "Name a folder that `steer fit` has written.")
    manifest = read_config(folder / MANIFEST)
    if manifest.get("schema_version") != SCHEMA_VERSION:
        version = str(manifest.get("schema_version"))[:20]
        raise UserError(f"Version {version} of a vector folder is not known.", f"Version {SCHEMA_VERSION} is read.")
    tensors = read_checked_tensors(folder, VECTORS, manifest)
    if not all(torch.isfinite(tensor).all() for tensor in tensors.values()):
        raise UserError(f"{VECTORS} has entries that are not finite.", "Fit the vectors again.")
    try:
        vectors = {HookPoint.parse(name): tensors[key] for key, name in manifest["hook_points"].items()}
        norms = {HookPoint.parse(name): read_number(norm) for name, norm in manifest["mean_norms"].items()}
        extra = {key.removeprefix(EXTRA): one for key, one in tensors.items() if key.startswith(EXTRA)}
        return Fitted(str(manifest["method"]), vectors, norms, dict(manifest["facts"]), extra)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UserError(f"{MANIFEST} cannot be read: {repr(error)[:160]}.", "Get the whole folder again.") from error


def _key(at: HookPoint) -> str:
    return f"{at.site}.{at.layer}"
