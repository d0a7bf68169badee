"""saprmarks/dictionary_learning: ae.pt and config.json; `resid_i` is the output of layer i."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from capture.errors import UserError
from sae.autoencoder import Autoencoder
from sae.config_file import read_config
from sae.facts import Facts
from sae.parts import assemble, oriented, tensor
from sae.tensor_file import read_tensors

NAME = "dictionary_learning"
CONFIG, WEIGHTS = "config.json", "ae.pt"


def is_mine(names: set[str]) -> bool:
    """Whether files of these names make such a folder."""
    return WEIGHTS in names


def read(folder: Path) -> Autoencoder:
    """The SAE in a folder: ReLU, TopK, BatchTopK, Matryoshka, JumpReLU or gated, told apart by its weights' names."""
    found = read_tensors(folder / WEIGHTS)
    config = read_config(folder / CONFIG) if (folder / CONFIG).is_file() else {}
    trainer = config["trainer"] if isinstance(config.get("trainer"), dict) else {}
    named = str(trainer.get("dict_class", ""))
    layer = trainer.get("layer")
    hook_point = f"blocks.{layer}.hook_resid_post" if isinstance(layer, int) else ""
    kind = _kind(found, named)
    b_dec = tensor(found, "b_dec", "bias", "decoder_bias")
    weight = tensor(found, "encoder.weight", "W_enc")
    d_in, d_sae = b_dec.numel(), weight.numel() // b_dec.numel()
    decoder = tensor(found, "decoder.weight", "W_dec")
    threshold = found.get("threshold")
    facts = Facts(
        kind,
        d_in,
        d_sae,
        int(found["k"]) if kind in ("topk", "batch_topk") and "k" in found else None,
        hook_point=hook_point,
        subtracts_b_dec=kind != "jumprelu",
        group_sizes=tuple(int(size) for size in found.get("group_sizes", ())),
        provenance={"format": NAME, "dict_class": named[:60], "model": str(trainer.get("lm_name", ""))[:200]},
    )
    weights: dict[str, Tensor | None] = {
        # A linear layer keeps [out in]; only a square one could be mistaken, and there the name decides.
        "W_enc": oriented(weight.t() if "encoder.weight" in found else weight, d_in, d_sae, "encoder"),
        "W_dec": oriented(decoder.t() if "decoder.weight" in found else decoder, d_sae, d_in, "decoder"),
        "b_dec": b_dec,
        "b_enc": found.get("encoder.bias", found.get("b_enc")),
        "threshold": _threshold(kind, threshold, d_sae),
    }
    if kind == "gated":
        weights |= {
            "b_gate": tensor(found, "gate_bias"),
            "b_mag": tensor(found, "mag_bias"),
            "r_mag": tensor(found, "r_mag"),
        }
    return assemble(facts, weights)


def _kind(found: dict[str, Any], named: str) -> str:
    if "gate_bias" in found:
        return "gated"
    if "JumpReLU" in named or ("threshold" in found and tensor(found, "threshold").numel() > 1):
        return "jumprelu"
    threshold = found.get("threshold")
    is_set = isinstance(threshold, Tensor) and float(threshold) >= 0
    if "BatchTopK" in named or "Matryoshka" in named:
        if not is_set:
            raise UserError("This BatchTopK dictionary has no threshold for inference.", "Train it past its start.")
        return "batch_topk"
    return "topk" if "k" in found else "relu"


def _threshold(kind: str, threshold: Any, d_sae: int) -> Tensor | None:
    if kind == "jumprelu":
        value: Tensor = threshold
        return value
    return torch.full((d_sae,), float(threshold)) if kind == "batch_topk" else None
