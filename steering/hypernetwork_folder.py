"""A trained hypernetwork and its folder: `hypernetwork.safetensors`, a `manifest.json`, and the curve of its training.

The manifest has what a link needs before any weight is read: variant, hook point, model, the norm that a factor counts
in, which concepts were learnt and which were held out. Weights are bfloat16 in the file and float32 in use; nothing is
unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.recipe_number import read_number
from capture.session import ModelSession
from capture.written_file import replace_file
from sae.config_file import read_config
from sae.tensor_file import read_checked_tensors
from steering.hypernetwork import Hypernetwork
from steering.hypernetwork_recipe import NO_CONTEXT, HypernetworkRecipe

SCHEMA_VERSION = 1
MANIFEST, WEIGHTS, EVALUATION = "manifest.json", "hypernetwork.safetensors", "evaluation.json"
KNOWN, NETWORK = "known", "network."
CONVENTION = "h + factor × length × mean_norm × Δ; Δ has length 1 without context"


@dataclass(frozen=True)
class TrainedHypernetwork:
    """A hypernetwork with everything that its vectors mean something by."""

    network: Hypernetwork
    recipe: HypernetworkRecipe
    at: HookPoint
    mean_norm: float
    """Mean length of the activations at the hook point, position 0 left out."""
    known: Float[Tensor, "concepts d"]
    """What the head reads (`pooled`) for the usual sentence of each learnt concept, at length 1."""
    far: float
    """Distance from the nearest learnt concept, 1 − cosine of `pooled`, above which a sentence is far from them all."""
    learnt: tuple[str, ...]
    held_out: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Model, fingerprint, concepts: what it was made from."""

    @property
    def d_model(self) -> int:
        """Width of the model that it steers."""
        return self.network.head.out_features

    @property
    def reads_prompt(self) -> bool:
        """Whether it makes a vector for each prompt anew."""
        return self.recipe.variant != NO_CONTEXT

    @property
    def length(self) -> float:
        """What a factor of 1 multiplies Δ by."""
        return self.recipe.length * self.mean_norm

    def check_fits(self, session: ModelSession) -> None:
        """Raises UserError for another model than that of its training, which may run in another precision."""
        model = str(self.facts.get("model", ""))[:80]
        is_same = self.facts.get("fingerprint") == session.fingerprint
        if not is_same and not (model == session.name and self.facts.get("dtype") != session.dtype):
            raise UserError(
                f"This hypernetwork was trained on {model!r}; the model here is {session.name!r}, with other weights.",
                f"Choose the model {model!r}, or train one on {session.name!r}: python cli.py hypernet train.",
            )
        width = session.weight("W_E", 0).shape[1]
        if not session.has_site(self.at) or width != self.d_model:
            raise UserError(
                f"This hypernetwork makes vectors of {self.d_model} entries for {self.at}; "
                f"{session.name} has {session.shape.n_layers} layers of width {width}.",
                "Choose the model that it was trained on.",
            )


def write_hypernetwork(trained: TrainedHypernetwork, folder: Path) -> None:
    """Write weights and manifest."""
    tensors = {f"{NETWORK}{name}": one.detach().bfloat16() for name, one in trained.network.state_dict().items()}
    data = save({**tensors, KNOWN: trained.known.bfloat16().contiguous()})
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "method": "hypernetwork",
        "convention": CONVENTION,
        "recipe": asdict(trained.recipe),
        "hook_point": str(trained.at),
        "d_model": trained.d_model,
        "mean_norm": trained.mean_norm,
        "far": trained.far,
        "learnt": list(trained.learnt),
        "held_out": list(trained.held_out),
        "facts": dict(trained.facts),
        "checksums": {WEIGHTS: hashlib.sha256(data).hexdigest()},
    }
    replace_file(folder / WEIGHTS, data)
    replace_file(folder / MANIFEST, (json.dumps(manifest, indent=1, ensure_ascii=False) + "\n").encode())


def read_hypernetwork(folder: Path) -> TrainedHypernetwork:
    """The hypernetwork in a folder; raises UserError for one that is damaged, cut short or of another version."""
    if not (folder / MANIFEST).is_file():
        raise UserError(f"{folder} holds no {MANIFEST}.", "Name a folder that `hypernet train` has written.")
    manifest = read_config(folder / MANIFEST)
    if manifest.get("schema_version") != SCHEMA_VERSION or manifest.get("method") != "hypernetwork":
        said = f"{str(manifest.get('method'))[:20]!r}, version {str(manifest.get('schema_version'))[:20]}"
        raise UserError(
            f"{MANIFEST} must be of a hypernetwork, version {SCHEMA_VERSION}; it is of {said}.", "Name another folder."
        )
    tensors = read_checked_tensors(folder, WEIGHTS, manifest)
    if not all(torch.isfinite(one).all() for one in tensors.values()):
        raise UserError(f"{WEIGHTS} has entries that are not finite.", "Train it again.")
    try:
        return _made(manifest, tensors)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        raise UserError(f"{MANIFEST} cannot be read: {str(error)[:160]}.", "Get the whole folder again.") from error


def _made(manifest: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> TrainedHypernetwork:
    recipe = read_recipe(manifest["recipe"])
    learnt = tuple(map(str, manifest["learnt"]))
    if tensors[KNOWN].shape != (len(learnt), int(manifest["d_model"])):
        raise ValueError(f"it has {len(learnt)} learnt concepts, and {tuple(tensors[KNOWN].shape)} vectors of them")
    return TrainedHypernetwork(
        _network(recipe, int(manifest["d_model"]), tensors),
        recipe,
        HookPoint.parse(manifest["hook_point"]),
        read_number(manifest["mean_norm"]),
        torch.nn.functional.normalize(tensors[KNOWN], dim=1),
        read_number(manifest["far"]),
        learnt,
        tuple(map(str, manifest["held_out"])),
        dict(manifest["facts"]),
    )


def read_recipe(given: Mapping[str, Any]) -> HypernetworkRecipe:
    """The recipe in plain JSON; raises ValueError or TypeError for a field of another kind."""
    found: dict[str, Any] = {}
    for one in fields(HypernetworkRecipe):
        value = given[one.name]
        if type(value) is not type(one.default) and not (type(one.default) is float and type(value) is int):
            raise TypeError(f"{one.name} is {str(value)[:40]!r}")
        found[one.name] = value
    return HypernetworkRecipe(**found)


def _network(recipe: HypernetworkRecipe, d_model: int, tensors: Mapping[str, Tensor]) -> Hypernetwork:
    """The network with these weights; its size is checked before memory is taken for it."""
    recipe.check(d_model)
    if recipe.n_blocks > len(tensors):
        raise ValueError(f"it speaks of {recipe.n_blocks:,} blocks")
    with torch.device("meta"):
        network = Hypernetwork(recipe, d_model)
    weights = {name.removeprefix(NETWORK): one for name, one in tensors.items() if name.startswith(NETWORK)}
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)
