"""SAELens folders (version 6, and the flat configs before it): cfg.json and sae_weights.safetensors."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from capture.errors import UserError
from sae.autoencoder import Autoencoder
from sae.config_file import read_config
from sae.facts import Facts
from sae.parts import assemble, fold_decoder_norms, fold_scale, tensor
from sae.tensor_file import read_tensors

NAME = "saelens"
CONFIG, WEIGHTS, SCALER = "cfg.json", "sae_weights.safetensors", "activation_scaler.json"
TRAINED_AS = ("kind", "k", "matryoshka_widths")
"""Entries of the metadata that say what a BatchTopK or Matryoshka SAE was before it was saved as a JumpReLU."""
KIND_OF = {
    "standard": "relu",
    "topk": "topk",
    "batchtopk": "batch_topk",
    "matryoshka_batchtopk": "batch_topk",
    "jumprelu": "jumprelu",
    "gated": "gated",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
NORMALISATION_OF = {
    "none": "none",
    "constant_norm_rescale": "norm_to_sqrt_d",
    "layer_norm": "mean_and_std",
    # Folded into the weights when such an SAE is saved for inference; beside a checkpoint is its scale.
    "expected_average_only_in": "none",
}


def is_mine(names: set[str]) -> bool:
    """Whether files of these names make such a folder."""
    return {CONFIG, WEIGHTS} <= names


def read(folder: Path) -> Autoencoder:
    """The SAE in a folder; raises UserError for what is missing, damaged or of a kind that is not known."""
    config, found = read_config(folder / CONFIG), read_tensors(folder / WEIGHTS)
    facts = _facts(config, tensor(found, "W_enc"))
    names = ("b_enc", "threshold", "b_gate", "b_mag", "r_mag")
    weights = {name: tensor(found, name) for name in ("W_enc", "W_dec", "b_dec")}
    weights |= {name: found[name] for name in names if name in found}
    if "log_threshold" in found:
        weights["threshold"] = found["log_threshold"].exp()
    sae = assemble(facts, {**weights, "W_skip": found["W_skip"].t() if "W_skip" in found else None})
    if config.get("rescale_acts_by_decoder_norm"):
        sae = fold_decoder_norms(sae)
    if facts.kind == "batch_topk" and sae.threshold is None:
        # A checkpoint of a training: its threshold is in the units of the rescaled latents.
        sae = replace(sae, threshold=tensor(found, "topk_threshold").float().clamp_min(0).expand(facts.d_sae).clone())
    if config.get("normalize_activations") == "expected_average_only_in" and (folder / SCALER).is_file():
        sae = fold_scale(sae, float(read_config(folder / SCALER).get("scaling_factor") or 1.0))
    return sae


def _facts(config: Mapping[str, Any], W_enc: Tensor) -> Facts:
    metadata: dict[str, Any] = config["metadata"] if isinstance(config.get("metadata"), dict) else {}
    architecture = _architecture(config)
    hook_point = str(metadata.get("hook_name") or config.get("hook_name") or config.get("hook_point") or "")
    hook_point_out = str(metadata.get("hook_name_out") or "")
    if "transcoder" in architecture and hook_point_out in ("", hook_point):
        hook_point_out = f"{hook_point} (output not said)"
    is_batch_topk = KIND_OF[architecture] == "jumprelu" and metadata.get("kind") == "batch_topk"
    widths = metadata.get("matryoshka_widths") or config.get("matryoshka_widths")
    return Facts(
        "batch_topk" if is_batch_topk else KIND_OF[architecture],
        W_enc.shape[0],
        W_enc.shape[1],
        _k(metadata if is_batch_topk else config),
        hook_point=hook_point,
        hook_point_out=hook_point_out,
        normalisation=_normalisation(config),
        subtracts_b_dec=bool(config.get("apply_b_dec_to_input", True)) and "transcoder" not in architecture,
        group_sizes=tuple(int(one) for one in widths) if isinstance(widths, list) else (),
        provenance={
            "format": NAME,
            "architecture": architecture,
            "model": metadata.get("model_name"),
            **_plain(metadata),
        },
    )


def write(sae: Autoencoder, folder: Path) -> None:
    """The SAE as a folder that SAELens loads; a BatchTopK one is saved as a JumpReLU, as SAELens does.

    What it was trained as is in the metadata, where SAELens leaves it alone. Raises UserError for what SAELens has no
    name for.
    """
    sae = fold_scale(sae, sae.facts.norm_constant) if sae.facts.normalisation == "constant" else sae
    facts = sae.facts
    architecture = _architecture_of(facts, sae.W_skip is not None)
    saelens_way = {ours: its for its, ours in NORMALISATION_OF.items() if its != "expected_average_only_in"}
    if facts.is_transcoder and facts.subtracts_b_dec:
        raise UserError("SAELens has no transcoder that subtracts b_dec from its input.", "Export to another format.")
    if facts.normalisation not in saelens_way:
        raise UserError(f"SAELens has no normalisation {facts.normalisation!r}.", "Export to another format.")
    config: dict[str, Any] = {
        "architecture": architecture,
        "d_in": facts.d_in,
        "d_sae": facts.d_sae,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": facts.subtracts_b_dec,
        "normalize_activations": saelens_way[facts.normalisation],
        "reshape_activations": "none",
        "metadata": _metadata(facts),
    }
    if architecture == "topk":
        config |= {"k": facts.k, "rescale_acts_by_decoder_norm": False}
    if "transcoder" in architecture:
        config["d_out"] = sae.b_dec.numel()
        config["metadata"]["hook_name_out"] = facts.hook_point_out
    weights = dict(sae.tensors())
    if architecture.startswith("jumprelu") and "threshold" not in weights:
        weights["threshold"] = torch.zeros(facts.d_sae)
    if architecture == "gated":
        del weights["b_enc"]
    if "W_skip" in weights:
        weights["W_skip"] = weights["W_skip"].t()
    folder.mkdir(parents=True, exist_ok=True)
    save_file({name: value.detach().contiguous() for name, value in weights.items()}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def _metadata(facts: Facts) -> dict[str, Any]:
    known = {name: value for name, value in _plain(facts.provenance).items() if name not in TRAINED_AS}
    known |= {"hook_name": facts.hook_point, "model_name": facts.provenance.get("model")}
    if facts.kind == "batch_topk":
        known |= {"kind": facts.kind, "k": facts.k}
    if facts.group_sizes:
        known["matryoshka_widths"] = list(facts.group_sizes)
    return known


def _architecture(config: Mapping[str, Any]) -> str:
    found = str(
        config.get("architecture") or config.get("activation_fn_str") or config.get("activation_fn") or "standard"
    )
    if found == "standard" and config.get("activation_fn_str") == "topk":
        found = "topk"
    found = {"relu": "standard"}.get(found, found)
    if found not in KIND_OF:
        raise UserError(
            f"SAELens's architecture {found[:40]!r} is not known here.", f"Known are {', '.join(sorted(KIND_OF))}."
        )
    return found


def _architecture_of(facts: Facts, skips: bool) -> str:
    if facts.kind == "group_topk":
        raise UserError("SAELens has no SAE that keeps one latent of each group.", "Export as sparsify.")
    base = {"relu": "standard", "batch_topk": "jumprelu"}.get(facts.kind, facts.kind)
    if not facts.is_transcoder:
        return base
    named = {"standard": "transcoder", "jumprelu": "jumprelu_transcoder"}.get(base)
    if named is None:
        raise UserError(f"SAELens has no transcoder of kind {facts.kind!r}.", "Export as sparsify.")
    return named.replace("transcoder", "skip_transcoder") if skips else named


def _k(config: Mapping[str, Any]) -> int | None:
    arguments = config.get("activation_fn_kwargs")
    k = config.get("k") or (arguments.get("k") if isinstance(arguments, dict) else None)
    return int(k) if isinstance(k, int | float) and not isinstance(k, bool) else None


def _normalisation(config: Mapping[str, Any]) -> str:
    way = str(config.get("normalize_activations") or "none")
    if way not in NORMALISATION_OF or config.get("reshape_activations", "none") not in ("none", None):
        raise UserError(
            f"This SAE normalises by {way[:40]!r} and reshapes by "
            f"{str(config.get('reshape_activations'))[:40]!r}, which is not read here.",
            f"Known are {', '.join(NORMALISATION_OF)}, without reshaping.",
        )
    return NORMALISATION_OF[way]


def _plain(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Short plain values alone: a stranger's config may hold anything."""
    kept = {str(name)[:60]: value for name, value in metadata.items() if isinstance(value, str | int | float | bool)}
    return {name: value[:400] if isinstance(value, str) else value for name, value in kept.items()}
