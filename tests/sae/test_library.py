"""SAE files of every layout: ours and SAELens's read each other; strangers' files are refused by a sentence."""

import json
import os
import pickle
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from capture.errors import UserError
from sae import tensor_file
from sae.autoencoder import Autoencoder
from sae.facts import Facts
from sae.library import load_sae, proof, save_sae
from tests.bad_saes import BAD, TEN_GB, sound
from tests.saes import D_IN, D_SAE, K, made, normal

X = normal(30, D_IN, seed=0)
LEVEL = 0.7
HOOK = "blocks.1.hook_resid_post"


def same(one, other, tolerance=1e-5):
    torch.testing.assert_close(one.reconstruct(X)[0], other.reconstruct(X)[0], atol=tolerance, rtol=tolerance)


def test_sparsify_keeps_a_topk_sae(tmp_path):
    ours, folder = made("topk", hook_point=HOOK), tmp_path / "layers.1"
    save_sae(ours, folder, "sparsify")
    again = load_sae(folder, D_IN, HOOK)
    same(again, ours)
    config = json.loads((folder / "cfg.json").read_text())
    assert (config["k"], config["num_latents"], config["activation"]) == (K, D_SAE, "topk")


def test_sparsify_keeps_one_latent_of_each_group(tmp_path):
    ours, folder = made("group_topk"), tmp_path / "layers.1"
    save_sae(ours, folder, "sparsify")
    assert json.loads((folder / "cfg.json").read_text())["activation"] == "groupmax"
    again = load_sae(folder)
    assert (again.facts.kind, again.facts.k) == ("group_topk", ours.facts.k)
    x = normal(9, 12, seed=0)
    assert torch.equal(again.reconstruct(x)[0], ours.reconstruct(x)[0])
    with pytest.raises(UserError, match="Export as sparsify"):
        save_sae(ours, tmp_path / "other", "saelens")


def test_a_sparsify_skip_transcoder_reads_a_modules_input_and_writes_its_output(tmp_path):
    facts = {"hook_point": "blocks.1.mlp.hook_in", "hook_point_out": "blocks.1.hook_mlp_out", "subtracts_b_dec": False}
    ours = replace(made("topk", **facts), W_skip=normal(D_IN, D_IN, seed=9))
    folder = tmp_path / "layers.1.mlp"
    save_sae(ours, folder, "sparsify")
    config = json.loads((folder / "cfg.json").read_text())
    (folder / "cfg.json").write_text(json.dumps(config | {"num_latents": 0, "expansion_factor": 3}))
    again = load_sae(folder)
    same(again, ours)
    assert (again.facts.hook_point, again.facts.hook_point_out) == (ours.facts.hook_point, ours.facts.hook_point_out)
    z = ours.encode(X)
    plain = (z.values[..., None] * ours.W_dec[z.indices]).sum(dim=1) + ours.b_dec + X @ ours.W_skip
    torch.testing.assert_close(again.reconstruct(X)[0], plain, atol=1e-4, rtol=1e-5)


def test_openais_file_normalises_where_it_is_topk(tmp_path):
    ours = made("topk", normalisation="mean_and_std")
    state = {
        "encoder.weight": ours.W_enc.t().contiguous(),
        "decoder.weight": ours.W_dec.t().contiguous(),
        "pre_bias": ours.b_dec,
        "latent_bias": ours.b_enc,
        "activation": "TopK",
        "activation_state_dict": {"k": K, "postact_fn": "ReLU"},
    }
    torch.save(state, tmp_path / "v5.pt")
    same(load_sae(tmp_path / "v5.pt"), ours)


def dictionary_state(ours):
    """The weights of an SAE by dictionary_learning's names."""
    linear = {"encoder.weight": ours.W_enc.t(), "decoder.weight": ours.W_dec.t()}
    with_bias = {**linear, "encoder.bias": ours.b_enc, "b_dec": ours.b_dec}
    if ours.facts.kind == "gated":
        gate = {"gate_bias": ours.gate.b_gate, "mag_bias": ours.gate.b_mag, "r_mag": ours.gate.r_mag}
        return {**linear, "decoder_bias": ours.b_dec, **gate}
    return {
        "relu": {**linear, "encoder.bias": ours.b_enc, "bias": ours.b_dec},
        "topk": {**with_bias, "k": torch.tensor(K)},
        "batch_topk": {**with_bias, "threshold": torch.tensor(LEVEL)},
        "jumprelu": ours.tensors(),
    }[ours.facts.kind]


@pytest.mark.parametrize("kind", ["relu", "topk", "batch_topk", "jumprelu", "gated"])
def test_dictionary_learning_folders_of_each_kind(kind, tmp_path):
    ours = made(kind, subtracts_b_dec=kind != "jumprelu")
    if kind == "batch_topk":
        ours = replace(ours, threshold=torch.full((D_SAE,), LEVEL))
    torch.save({name: value.contiguous() for name, value in dictionary_state(ours).items()}, tmp_path / "ae.pt")
    config = {"trainer": {"dict_class": "BatchTopKSAE" if kind == "batch_topk" else "", "layer": 1}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    again = load_sae(tmp_path, D_IN, HOOK)
    assert again.facts.kind == kind
    same(again, ours)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_gemma_scope_files_of_both_kinds(suffix, tmp_path):
    ours = made("jumprelu", subtracts_b_dec=False)
    arrays = {name: value.contiguous() for name, value in ours.tensors().items()}
    if suffix == "npz":
        np.savez(tmp_path / "params.npz", **{name: value.numpy() for name, value in arrays.items()})
    else:
        save_file({name.lower(): value for name, value in arrays.items()}, tmp_path / "params.safetensors")
    same(load_sae(tmp_path), ours)


def test_a_matrix_that_lies_the_other_way_is_turned(tmp_path):
    ours, folder = made("topk"), tmp_path / "layers.0"
    save_sae(ours, folder, "sparsify")
    weights = {"encoder.weight": ours.W_enc.contiguous(), "W_dec": ours.W_dec.t().contiguous()}
    save_file({**weights, "encoder.bias": ours.b_enc, "b_dec": ours.b_dec}, folder / "sae.safetensors")
    same(load_sae(folder), ours)


def test_a_proof_tells_an_sae_from_its_transposed_self():
    draw = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(D_IN, D_IN, generator=draw))[0]
    facts, zeros = Facts("topk", D_IN, D_IN, D_IN), torch.zeros(D_IN)
    x = torch.rand(200, D_IN, generator=draw) @ directions
    right = proof(Autoencoder(facts, directions.t(), zeros, directions, zeros), x)
    wrong = proof(Autoencoder(facts, directions, zeros, directions.t(), zeros), x)
    assert right.fvu < 1e-6
    assert right.is_believable
    assert wrong.fvu > 0.5


def a_folder(tmp_path, **changed):
    """A sound SAELens folder with some tensors put in place of its own."""
    ours = made("topk", hook_point=HOOK)
    save_sae(ours, tmp_path)
    weights = {name: value.contiguous() for name, value in ours.tensors().items()}
    save_file({**weights, **changed}, tmp_path / "sae_weights.safetensors")
    return tmp_path


def test_an_sae_of_another_width_or_hook_point_is_refused(tmp_path):
    folder = a_folder(tmp_path)
    with pytest.raises(UserError, match=f"{D_IN} numbers, and this model's have 99"):
        load_sae(folder, 99)
    with pytest.raises(UserError, match=r"blocks\.0\.hook_resid_post was asked for"):
        load_sae(folder, D_IN, "blocks.0.hook_resid_post")


def test_weights_that_are_not_finite_or_do_not_fit_are_refused(tmp_path):
    with pytest.raises(UserError, match="not finite"):
        load_sae(a_folder(tmp_path, b_enc=torch.full((D_SAE,), float("nan"))))
    with pytest.raises(UserError, match=r"b_enc must be \(40,\)"):
        load_sae(a_folder(tmp_path, b_enc=torch.zeros(3)))


@pytest.mark.parametrize("k", [0, D_SAE + 1, None, float("nan"), float("inf")])
def test_a_k_that_cannot_be_is_refused(k, tmp_path):
    folder = a_folder(tmp_path)
    config = json.loads((folder / "cfg.json").read_text()) | {"k": k}
    (folder / "cfg.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"k must be from 1|cannot convert float"):
        load_sae(folder)


def test_a_truncated_file_is_refused(tmp_path):
    path = a_folder(tmp_path) / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="cannot be read"):
        load_sae(tmp_path)


class Hostile:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("stolen",)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"pre_bias": Hostile()}, tmp_path / "v5.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Hostile(), protocol=2))
    for name in ("v5.pt", "plain.pt"):
        with pytest.raises(UserError, match=r"more than tensors|cannot be read"):
            load_sae(tmp_path / name)
    assert not (tmp_path / "stolen").exists()


def test_an_npz_with_objects_is_refused(tmp_path):
    np.savez(tmp_path / "params.npz", W_enc=np.array([Hostile()], dtype=object))
    with pytest.raises(UserError, match="cannot be read"):
        load_sae(tmp_path)


@pytest.mark.parametrize("what", BAD)
def test_what_is_wrong_with_a_folder_is_said_and_nothing_is_run(what, tmp_path, monkeypatch):
    make, words = BAD[what]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tensor_file, "available_bytes", lambda device: 8_000_000_000)
    with pytest.raises(UserError, match=re.escape(words)):
        load_sae(make(tmp_path / "sae"))
    assert not (tmp_path / "stolen").exists()


def test_a_large_file_that_is_none_of_the_weights_is_not_read(tmp_path):
    folder = sound(tmp_path / "sae")
    with (folder / "trainer_state.pt").open("wb") as file:
        file.truncate(TEN_GB)
    assert load_sae(folder).facts.d_sae == D_SAE


def test_a_file_beyond_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    folder = a_folder(tmp_path)
    monkeypatch.setattr(tensor_file, "available_bytes", lambda device: 100)
    monkeypatch.setattr(tensor_file, "load_file", lambda path: pytest.fail("it was read"))
    with pytest.raises(UserError, match="GB are free"):
        load_sae(folder)


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"architecture": "magic"}', '{"normalize_activations": "x"}'])
def test_a_config_that_says_nothing_known_is_refused(text, tmp_path):
    (a_folder(tmp_path) / "cfg.json").write_text(text)
    with pytest.raises(UserError):
        load_sae(tmp_path)


def test_a_folder_of_no_known_layout_names_the_known_ones(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"")
    with pytest.raises(UserError, match=r"weights\.bin") as refused:
        load_sae(tmp_path)
    assert "dictionary_learning" in refused.value.hint
    with pytest.raises(UserError, match="There is no folder"):
        load_sae(tmp_path / "none")


def test_what_a_layout_cannot_hold_is_refused(tmp_path):
    with pytest.raises(UserError, match="sparsify holds TopK"):
        save_sae(made("gated"), tmp_path, "sparsify")
    with pytest.raises(UserError, match="not written as 'magic'"):
        save_sae(made("topk"), tmp_path, "magic")


def test_a_dictionary_of_one_latent_is_read(tmp_path):
    facts = Facts("topk", D_IN, 1, 1)
    one = Autoencoder(facts, normal(D_IN, 1, seed=1), torch.zeros(1), normal(1, D_IN, seed=2), torch.zeros(D_IN))
    save_sae(one, tmp_path)
    same(load_sae(tmp_path), one)
