"""SAELens itself reads what we write and we read what it writes, with the same reconstruction.

Two orders of float32 sums differ by about 3e-7 of the largest entry, which is rounding; agreement is asked to 1e-5 of
that entry.
"""

import json
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from capture.errors import UserError
from sae.autoencoder import Autoencoder
from sae.facts import KINDS
from sae.library import load_sae, save_sae
from sae.shelf import BUNDLED
from tests.saes import D_IN, D_SAE, K, made, normal

X = normal(64, D_IN, seed=0)
HOOK, HOOK_OUT = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"
WAYS = ("none", "norm_to_sqrt_d", "mean_and_std", "constant")
THEIR_WAYS = ("none", "constant_norm_rescale", "layer_norm")
WIDTHS = [10, 20, D_SAE]


@pytest.fixture(scope="module")
def sae_lens():
    """The real library; it imports what its own dependencies call deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sae_lens

    return sae_lens


def assert_same(theirs, ours, x=X):
    """Their reconstruction and ours, to 1e-5 of the largest entry."""
    expected = theirs(x).detach().float()
    difference = float((ours.reconstruct(x)[0] - expected).abs().max())
    assert difference <= 1e-5 * float(expected.abs().max())


def opened(sae_lens, folder):
    return sae_lens.SAE.load_from_disk(str(folder), device="cpu")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "group_topk"])
@pytest.mark.parametrize("normalisation", WAYS)
@pytest.mark.parametrize("subtracts_b_dec", [True, False])
def test_saelens_loads_what_we_save(sae_lens, kind, normalisation, subtracts_b_dec, tmp_path):
    constant = 0.3 if normalisation == "constant" else 1.0
    facts = {"normalisation": normalisation, "subtracts_b_dec": subtracts_b_dec, "norm_constant": constant}
    ours = made(kind, hook_point="blocks.1.hook_resid_post", **facts)
    save_sae(ours, tmp_path, "saelens")
    assert_same(opened(sae_lens, tmp_path), ours)
    assert_same(opened(sae_lens, tmp_path), load_sae(tmp_path))


@pytest.mark.parametrize("kind", ["relu", "jumprelu", "batch_topk"])
@pytest.mark.parametrize("skips", [True, False])
@pytest.mark.parametrize("normalisation", WAYS[:3])
def test_saelens_loads_the_transcoders_that_we_save(sae_lens, kind, skips, normalisation, tmp_path):
    facts = {"hook_point": HOOK, "hook_point_out": HOOK_OUT, "normalisation": normalisation, "subtracts_b_dec": False}
    base = made(kind, **facts)
    ours = replace(base, W_skip=normal(D_IN, D_IN, seed=9) if skips else None)
    save_sae(ours, tmp_path)
    assert_same(opened(sae_lens, tmp_path), ours)
    assert load_sae(tmp_path).digest == ours.digest
    assert load_sae(tmp_path).facts.hook_point_out == HOOK_OUT


def test_the_bundled_sae_agrees_to_1e_5_itself(sae_lens):
    folder = BUNDLED / "stories-block-2"
    x = normal(500, 192, seed=0) * 3
    torch.testing.assert_close(load_sae(folder).reconstruct(x)[0], opened(sae_lens, folder)(x), atol=1e-5, rtol=0)


def theirs_of(sae_lens, name, seed=1, **config):
    """One of SAELens's SAEs with random weights, decoder directions of different lengths."""
    made_by = getattr(sae_lens, name)
    sae = made_by(getattr(sae_lens, f"{name}Config")(d_in=D_IN, d_sae=D_SAE, **config))
    for n, (key, weight) in enumerate(sorted(sae.named_parameters())):
        weight.data = normal(*weight.shape, seed=seed + n) * (0.2 if key.startswith(("b_", "r_")) else 1)
    sae.W_dec.data *= torch.linspace(0.2, 3, D_SAE)[:, None]
    return sae


@pytest.mark.parametrize("name", ["StandardSAE", "TopKSAE", "JumpReLUSAE", "GatedSAE"])
@pytest.mark.parametrize("way", THEIR_WAYS)
@pytest.mark.parametrize("subtracts", [True, False])
def test_we_load_what_saelens_saves(sae_lens, name, way, subtracts, tmp_path):
    more = {"k": K, "rescale_acts_by_decoder_norm": subtracts} if name == "TopKSAE" else {}
    theirs = theirs_of(sae_lens, name, apply_b_dec_to_input=subtracts, normalize_activations=way, **more)
    theirs.save_model(str(tmp_path))
    assert_same(theirs, load_sae(tmp_path))


@pytest.mark.parametrize("name", ["Transcoder", "SkipTranscoder", "JumpReLUTranscoder", "JumpReLUSkipTranscoder"])
@pytest.mark.parametrize("way", THEIR_WAYS)
def test_we_load_the_transcoders_that_saelens_saves(sae_lens, name, way, tmp_path):
    theirs = theirs_of(sae_lens, name, d_out=7, apply_b_dec_to_input=False, normalize_activations=way)
    theirs.save_model(str(tmp_path))
    ours = load_sae(tmp_path)
    assert_same(theirs, ours)
    assert ours.facts.is_transcoder


@pytest.mark.parametrize("name", ["TopKTrainingSAE", "BatchTopKTrainingSAE", "MatryoshkaBatchTopKTrainingSAE"])
@pytest.mark.parametrize("rescales", [True, False])
def test_we_load_what_saelens_trained(sae_lens, name, rescales, tmp_path):
    more = {"matryoshka_widths": list(WIDTHS)} if name.startswith("Matryoshka") else {}
    trained = theirs_of(sae_lens, name, k=K, rescale_acts_by_decoder_norm=rescales, **more)
    if name != "TopKTrainingSAE":
        trained.topk_threshold = torch.tensor(1.5, dtype=torch.float64)
    trained.save_inference_model(str(tmp_path / "inference"))
    theirs = opened(sae_lens, tmp_path / "inference")
    assert_same(theirs, load_sae(tmp_path / "inference"))
    # A checkpoint is of the training's kind, whose own threshold is in its state.
    trained.save_model(str(tmp_path / "checkpoint"))
    checkpoint = load_sae(tmp_path / "checkpoint")
    assert_same(theirs, checkpoint)
    assert checkpoint.facts.group_sizes == (tuple(WIDTHS) if more else ())


def test_a_checkpoint_that_reads_scaled_activations_is_folded(sae_lens, tmp_path):
    trained = theirs_of(sae_lens, "TopKTrainingSAE", k=K, normalize_activations="expected_average_only_in")
    trained.save_model(str(tmp_path))
    (tmp_path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.25}))
    ours = load_sae(tmp_path)
    trained.fold_activation_norm_scaling_factor(0.25)
    trained.save_inference_model(str(tmp_path / "inference"))
    assert_same(opened(sae_lens, tmp_path / "inference"), ours)


@pytest.mark.parametrize("kind", ["batch_topk", "topk", "jumprelu", "relu"])
def test_kind_digest_and_nested_prefixes_outlive_saving(kind, tmp_path):
    ours = made(kind, group_sizes=(10, 20, D_SAE), hook_point="blocks.1.hook_resid_post")
    for name in ("once", "twice"):
        save_sae(ours, tmp_path / name)
        again = load_sae(tmp_path / name)
        assert (again.facts.kind, again.facts.k, again.digest) == (kind, ours.facts.k, ours.digest)
        assert again.facts.group_sizes == (10, 20, D_SAE)
        ours = again


def test_an_sae_that_was_a_batch_topk_once_is_not_said_to_be_one(tmp_path):
    save_sae(made("batch_topk"), tmp_path / "one")
    one = load_sae(tmp_path / "one")
    jump = Autoencoder(replace(one.facts, kind="jumprelu", k=None), one.W_enc, one.b_enc, one.W_dec, one.b_dec)
    save_sae(replace(jump, threshold=normal(D_SAE, seed=3).abs()), tmp_path / "two")
    assert load_sae(tmp_path / "two").facts.kind == "jumprelu"


def test_what_saelens_whitens_or_reshapes_is_refused(sae_lens, tmp_path):
    for changed in ({"normalize_activations": "covariance_whitening"}, {"reshape_activations": "hook_z"}):
        theirs_of(sae_lens, "StandardSAE").save_model(str(tmp_path))
        path = Path(tmp_path / "cfg.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))
        with pytest.raises(UserError, match="not read here"):
            load_sae(tmp_path)


def test_a_transcoder_that_saelens_cannot_hold_is_refused(tmp_path):
    facts = {"hook_point": HOOK, "hook_point_out": HOOK_OUT}
    with pytest.raises(UserError, match="subtracts b_dec"):
        save_sae(made("relu", **facts), tmp_path)
    with pytest.raises(UserError, match="no transcoder of kind 'topk'"):
        save_sae(made("topk", **facts, subtracts_b_dec=False), tmp_path)
