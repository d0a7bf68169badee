"""Gemma Scope: params.npz, or params.safetensors with lower-case names; JumpReLU that does not subtract b_dec."""

from pathlib import Path

from sae.autoencoder import Autoencoder
from sae.facts import Facts
from sae.parts import assemble, tensor
from sae.tensor_file import read_tensors

NAME = "gemma_scope"
WEIGHTS = ("params.npz", "params.safetensors")


def is_mine(names: set[str]) -> bool:
    """Whether files of these names make such a folder."""
    return any(name in names for name in WEIGHTS)


def read(folder: Path) -> Autoencoder:
    """The SAE in a folder."""
    path = next(folder / name for name in WEIGHTS if (folder / name).is_file())
    found = {name.lower(): value for name, value in read_tensors(path).items()}
    W_enc = tensor(found, "w_enc")
    d_in, d_sae = W_enc.shape
    provenance = {"format": NAME, "folder": folder.name}
    facts = Facts("jumprelu", d_in, d_sae, subtracts_b_dec=False, provenance=provenance)
    names = {"W_enc": "w_enc", "b_enc": "b_enc", "W_dec": "w_dec", "b_dec": "b_dec", "threshold": "threshold"}
    return assemble(facts, {ours: tensor(found, its) for ours, its in names.items()})
