"""Autoencoders of every kind against their formulas written out, and the ways of normalising."""

import pytest
import torch

from sae.autoencoder import Autoencoder, Gate
from sae.facts import KINDS, Facts
from sae.normalisation import WAYS, normalise
from tests.saes import D_IN, D_SAE, K, made, normal


def dense_codes(sae, x):
    """The formula of each kind, written out."""
    centred = x - sae.b_dec if sae.facts.subtracts_b_dec else x
    pre = centred @ sae.W_enc + sae.b_enc
    if sae.facts.kind == "topk":
        kept = pre.topk(K, dim=1)
        return torch.zeros_like(pre).scatter(1, kept.indices, kept.values).relu()
    if sae.facts.kind == "group_topk":
        groups = pre.relu().unflatten(1, (K, -1))
        return (groups * (groups == groups.amax(dim=2, keepdim=True))).flatten(1)
    if sae.facts.kind == "relu":
        return pre.relu()
    if sae.facts.kind == "gated":
        p = centred @ sae.W_enc
        return (p + sae.gate.b_gate > 0) * (sae.gate.r_mag.exp() * p + sae.gate.b_mag).relu()
    return pre * (pre > sae.threshold)


def written_out(codes):
    return torch.zeros(len(codes.values), D_SAE).scatter_add(1, codes.indices, codes.values)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("subtracts_b_dec", [True, False])
def test_codes_and_reconstruction_are_those_of_the_formula(kind, subtracts_b_dec):
    sae, x = made(kind, subtracts_b_dec=subtracts_b_dec), normal(9, D_IN, seed=0)
    expected = dense_codes(sae, x)
    torch.testing.assert_close(written_out(sae.encode(x)), expected, atol=1e-4, rtol=1e-4)
    reconstruction, _ = sae.reconstruct(x)
    torch.testing.assert_close(reconstruction, expected @ sae.W_dec + sae.b_dec, atol=1e-3, rtol=1e-4)


def test_a_skip_transcoder_adds_its_linear_part():
    skip = normal(D_IN, D_IN, seed=9)
    base, x = made("topk", hook_point="a", hook_point_out="b"), normal(6, D_IN, seed=0)
    skipping = Autoencoder(base.facts, base.W_enc, base.b_enc, base.W_dec, base.b_dec, W_skip=skip)
    torch.testing.assert_close(skipping.reconstruct(x)[0], base.reconstruct(x)[0] + x @ skip, atol=1e-4, rtol=1e-4)
    assert base.facts.is_transcoder


def test_jumprelu_without_thresholds_and_gated_without_gates_are_relu():
    x, relu = normal(7, D_IN, seed=0), made("relu")
    zeros = torch.zeros(D_SAE)
    weights = (relu.W_enc, relu.b_enc, relu.W_dec, relu.b_dec)
    jump = Autoencoder(Facts("jumprelu", D_IN, D_SAE), *weights, threshold=zeros)
    gated = Autoencoder(Facts("gated", D_IN, D_SAE), *weights, gate=Gate(relu.b_enc, relu.b_enc, zeros))
    for other in (jump, gated):
        torch.testing.assert_close(written_out(other.encode(x)), written_out(relu.encode(x)), atol=1e-5, rtol=1e-5)


def test_permuting_the_latents_leaves_the_reconstruction():
    sae, x = made("topk"), normal(8, D_IN, seed=0)
    order = torch.randperm(D_SAE, generator=torch.Generator().manual_seed(1))
    other = Autoencoder(sae.facts, sae.W_enc[:, order], sae.b_enc[order], sae.W_dec[order], sae.b_dec)
    torch.testing.assert_close(other.reconstruct(x)[0], sae.reconstruct(x)[0])
    assert other.digest != sae.digest


def test_the_digest_names_the_weights_and_how_they_are_used():
    assert made("topk").digest == made("topk").digest
    assert made("topk").digest != made("topk", normalisation="mean_and_std").digest
    assert len({made(kind).digest for kind in KINDS}) == len(KINDS)


def test_the_closed_form_of_mean_and_std():
    x = torch.tensor([[1.0, 2.0, 3.0, 6.0]])
    scaled, _ = normalise(x, "mean_and_std")
    torch.testing.assert_close(scaled, torch.tensor([[-0.92582, -0.46291, 0.0, 1.38873]]), atol=2e-5, rtol=0)


@pytest.mark.parametrize("way", WAYS)
def test_normalising_can_be_undone(way):
    x = normal(5, D_IN, seed=0) * 7 + 3
    scaled, scaling = normalise(x, way, constant=0.2)
    torch.testing.assert_close(scaling.undo(scaled) if scaling else scaled, x, atol=1e-4, rtol=1e-4)


def test_an_affine_change_of_the_input_changes_the_output_alike():
    sae, x = made("topk", normalisation="mean_and_std"), normal(5, D_IN, seed=0) * 4
    torch.testing.assert_close(sae.reconstruct(3 * x + 2)[0], 3 * sae.reconstruct(x)[0] + 2, atol=2e-3, rtol=1e-3)


def test_rows_of_norm_root_d_are_what_constant_norm_rescale_makes():
    scaled, _ = normalise(normal(5, D_IN, seed=0) * 9, "norm_to_sqrt_d")
    torch.testing.assert_close(scaled.norm(dim=1), torch.full((5,), D_IN**0.5))


def test_an_unknown_way_of_normalising_is_refused():
    with pytest.raises(ValueError, match="known are none"):
        normalise(torch.zeros(1, 2), "l2")
