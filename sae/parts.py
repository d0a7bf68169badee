"""Weights as another library names them, turned into an Autoencoder: orientation by shape, checks in one place."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from capture.errors import UserError
from sae.autoencoder import Autoencoder, Gate
from sae.facts import Facts


def tensor(found: Mapping[str, Any], *names: str) -> Tensor:
    """The tensor under the first of these names that is there; raises UserError where none is."""
    for name in names:
        if isinstance(found.get(name), Tensor):
            value: Tensor = found[name]
            return value
    there = ", ".join(sorted(map(str, found))[:12]) or "nothing"
    raise UserError(f"These weights lack {' or '.join(names)}; they have {there}.", "Get the whole folder again.")


def oriented(weight: Tensor, rows: int, columns: int, name: str) -> Tensor:
    """A matrix as [rows columns], turned where it lies the other way; a square one is taken as it is."""
    if tuple(weight.shape) == (rows, columns):
        return weight
    if tuple(weight.shape) == (columns, rows):
        return weight.t()
    raise UserError(
        f"{name} must be {rows:,} by {columns:,} one way or the other; it is {tuple(weight.shape)}.",
        "The folder mixes files of different SAEs, or one is damaged.",
    )


def assemble(facts: Facts, weights: Mapping[str, Tensor | None]) -> Autoencoder:
    """The Autoencoder of weights by our names; raises UserError for shapes that do not fit, NaN, or a missing k."""
    given = {name: value.contiguous() for name, value in weights.items() if value is not None}
    for name, value in given.items():
        if not bool(torch.isfinite(value).all()):
            raise UserError(f"{name} has entries that are not finite numbers.", "The training failed, or the file did.")
    _check_shapes(facts, given)
    if "threshold" in given:
        # Every library takes the ReLU beside the threshold, so one below 0 lets nothing else through than 0.
        given["threshold"] = given["threshold"].clamp_min(0)
    if facts.kind in ("topk", "group_topk") and not (facts.k and 1 <= facts.k <= facts.d_sae):
        raise UserError(
            f"k must be from 1 to d_sae = {facts.d_sae:,}; it is {facts.k}.", "Look at the folder's config."
        )
    if facts.kind == "group_topk" and facts.d_sae % (facts.k or 1):
        raise UserError(
            f"k must divide d_sae = {facts.d_sae:,} into equal groups; it is {facts.k}.", "Look at the folder's config."
        )
    gate = Gate(*(given.pop(name) for name in ("b_gate", "b_mag", "r_mag"))) if "b_gate" in given else None
    if facts.kind == "gated":
        if gate is None:
            raise UserError("A gated SAE needs b_gate, b_mag and r_mag; they are missing.", "Get the folder again.")
        given.setdefault("b_enc", torch.zeros(facts.d_sae))
    return Autoencoder(facts, gate=gate, **given)


def _check_shapes(facts: Facts, given: Mapping[str, Tensor]) -> None:
    d_out = given["b_dec"].numel()
    per_latent = ("b_enc", "threshold", "b_gate", "b_mag", "r_mag")
    expected = {"W_enc": (facts.d_in, facts.d_sae), "W_dec": (facts.d_sae, d_out), "b_dec": (d_out,)}
    expected |= dict.fromkeys(per_latent, (facts.d_sae,)) | {"W_skip": (facts.d_in, d_out)}
    for name, value in given.items():
        if tuple(value.shape) != expected[name]:
            raise UserError(f"{name} must be {expected[name]}; it is {tuple(value.shape)}.", "Get the folder again.")


def fold_decoder_norms(sae: Autoencoder) -> Autoencoder:
    """The same function with directions of unit length: what the encoder gives is measured in the decoder's lengths.

    Exact for a positive scale of each latent; a TopK SAE then ranks by what each latent adds, so it is folded only
    where it was trained to rank so. A latent without a direction keeps its scale.
    """
    norms = sae.W_dec.norm(dim=1)
    norms = torch.where(norms > 0, norms, torch.ones_like(norms))
    threshold = None if sae.threshold is None else sae.threshold * norms
    gate = None if sae.gate is None else Gate(sae.gate.b_gate * norms, sae.gate.b_mag * norms, sae.gate.r_mag)
    return replace(
        sae,
        W_enc=sae.W_enc * norms,
        b_enc=sae.b_enc * norms,
        W_dec=sae.W_dec / norms[:, None],
        threshold=threshold,
        gate=gate,
    )


def fold_scale(sae: Autoencoder, constant: float) -> Autoencoder:
    """The same function of raw activations, where they are read times a constant and the output is divided by it."""
    facts = replace(sae.facts, normalisation="none", norm_constant=1.0)
    out = 1.0 if sae.facts.is_transcoder else constant
    return replace(sae, facts=facts, W_enc=sae.W_enc * constant, W_dec=sae.W_dec / out, b_dec=sae.b_dec / out)
