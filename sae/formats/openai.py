"""OpenAI's sparse_autoencoder: one .pt state dict; TopK implies normalised inputs (Gao et al. 2024)."""

from pathlib import Path
from typing import Any

from capture.errors import UserError
from sae.autoencoder import Autoencoder
from sae.facts import Facts
from sae.parts import assemble, oriented, tensor
from sae.tensor_file import read_tensors

NAME = "openai"


def is_mine(found: dict[str, Any]) -> bool:
    """Whether a state dict is of this library."""
    return {"pre_bias", "latent_bias"} <= set(found)


def read(path: Path) -> Autoencoder:
    """The SAE in a file; raises UserError for an activation other than TopK and ReLU."""
    found = read_tensors(path)
    pre_bias, latent_bias = tensor(found, "pre_bias"), tensor(found, "latent_bias")
    d_in, d_sae = pre_bias.numel(), latent_bias.numel()
    activation, state = found.get("activation"), found.get("activation_state_dict")
    if activation not in ("TopK", "ReLU"):
        raise UserError(f"The activation {str(activation)[:40]!r} is not known here.", "Known are TopK and ReLU.")
    is_topk = activation == "TopK"
    k = int(state["k"]) if is_topk and isinstance(state, dict) and "k" in state else None
    facts = Facts(
        "topk" if is_topk else "relu",
        d_in,
        d_sae,
        k,
        normalisation="mean_and_std" if is_topk else "none",
        provenance={"format": NAME, "file": path.name},
    )
    weights = {
        "W_enc": oriented(tensor(found, "encoder.weight"), d_sae, d_in, "encoder.weight").t(),
        "b_enc": latent_bias,
        "W_dec": oriented(tensor(found, "decoder.weight"), d_in, d_sae, "decoder.weight").t(),
        "b_dec": pre_bias,
    }
    return assemble(facts, weights)
