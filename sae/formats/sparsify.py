"""EleutherAI sparsify: a folder for each hook point with cfg.json and sae.safetensors."""

import json
import re
from pathlib import Path

import torch
from safetensors.torch import save_file

from capture.errors import UserError
from sae.autoencoder import Autoencoder
from sae.config_file import read_config
from sae.facts import Facts
from sae.parts import assemble, oriented, tensor
from sae.tensor_file import read_tensors

NAME = "sparsify"
CONFIG, WEIGHTS = "cfg.json", "sae.safetensors"
SITES = {
    "": ("hook_resid_pre", "hook_resid_post"),
    "mlp": ("mlp.hook_in", "hook_mlp_out"),
    "self_attn": ("", "hook_attn_out"),
    "attn": ("", "hook_attn_out"),
}
"""Input and output of a block, or of a part of it."""
ACTIVATIONS = {"topk": "topk", "groupmax": "group_topk"}
"""Our kind by sparsify's name."""


def is_mine(names: set[str]) -> bool:
    """Whether files of these names make such a folder."""
    return {CONFIG, WEIGHTS} <= names


def read(folder: Path) -> Autoencoder:
    """The SAE or transcoder in a folder that is named after a module: an SAE reads its output, a transcoder its input.

    How many latents there are shows in the weights: a `num_latents` of 0 means the expansion factor times d_in.
    """
    config, found = read_config(folder / CONFIG), read_tensors(folder / WEIGHTS)
    bias = tensor(found, "encoder.bias")
    encoder = tensor(found, "encoder.weight")
    d_sae, d_in = bias.numel(), encoder.numel() // max(1, bias.numel())
    activation = str(config.get("activation", "topk"))
    if activation not in ACTIVATIONS:
        known = ", ".join(ACTIVATIONS)
        raise UserError(f"sparsify's activation {activation!r} is not known here.", f"Known are {known}.")
    is_transcoder = bool(config.get("transcode"))
    hook_point, hook_point_out = _hook_points(folder.name, is_transcoder)
    facts = Facts(
        ACTIVATIONS[activation],
        d_in,
        d_sae,
        int(config.get("k") or 0),
        hook_point=hook_point,
        hook_point_out=hook_point_out,
        subtracts_b_dec=not is_transcoder,
        provenance={"format": NAME, "folder": folder.name},
    )
    b_dec = tensor(found, "b_dec")
    weights = {
        "W_enc": oriented(encoder, d_sae, d_in, "encoder.weight").t(),
        "b_enc": bias,
        "W_dec": oriented(tensor(found, "W_dec"), d_sae, b_dec.numel(), "W_dec"),
        "b_dec": b_dec,
        "W_skip": found["W_skip"].t() if "W_skip" in found else None,
    }
    return assemble(facts, weights)


def write(sae: Autoencoder, folder: Path) -> None:
    """The SAE as a folder that sparsify loads; raises UserError for other kinds than TopK by row or by group."""
    facts = sae.facts
    names = {kind: name for name, kind in ACTIVATIONS.items()}
    if facts.kind not in names or facts.normalisation != "none" or facts.subtracts_b_dec == facts.is_transcoder:
        raise UserError(
            f"sparsify holds TopK SAEs that subtract b_dec and do not normalise; this one is {facts.kind} with "
            f"{facts.normalisation}.",
            "Export as saelens.",
        )
    config = {
        "activation": names[facts.kind],
        "expansion_factor": facts.d_sae // facts.d_in or 1,
        "num_latents": facts.d_sae,
        "k": facts.k,
        "normalize_decoder": True,
        "multi_topk": False,
        "skip_connection": sae.W_skip is not None,
        "transcode": facts.is_transcoder,
        "d_in": facts.d_in,
    }
    weights = {
        "encoder.weight": sae.W_enc.t(),
        "encoder.bias": sae.b_enc,
        "W_dec": sae.W_dec,
        "b_dec": sae.b_dec,
    }
    if sae.W_skip is not None:
        weights["W_skip"] = sae.W_skip.t()
    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: value.detach().to(torch.float32).contiguous() for name, value in weights.items()}
    save_file(contiguous, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _hook_points(name: str, is_transcoder: bool) -> tuple[str, str]:
    """Where the SAE or transcoder of a module reads and, where that is elsewhere, writes; layers are counted from 0."""
    found = re.fullmatch(r"(?:\w+\.)*(?:layers|h)\.(\d+)(?:\.(mlp|self_attn|attn))?", name)
    read, written = SITES[found[2] or ""] if found else ("", "")
    read, written = (f"blocks.{int(found[1])}.{site}" if found and site else "" for site in (read, written))
    if not is_transcoder:
        return written, ""
    return read, written or f"{name[:60]} (output)"
