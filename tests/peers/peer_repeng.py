"""repeng 0.4.0 steers with our file, and at the block that we say."""

import numpy as np
import torch
from repeng import ControlModel, ControlVector


def steered(given, vector):
    model = ControlModel(given.model(), range(1, 3))
    model.set_control(vector, 1.0)
    with torch.no_grad():
        return model(given.ids).logits


def test_this_transformers_gives_our_clean_logits(given):
    with torch.no_grad():
        assert given.is_as_expected(given.model()(given.ids).logits, "clean")


def test_repeng_reads_our_layers_and_values(given):
    vector = ControlVector.import_gguf(given.folder / "bundle" / "repeng.gguf")
    assert vector.model_type == given.model_type
    assert sorted(vector.directions) == given.layers
    assert all(np.array_equal(vector.directions[layer], given.vector(layer).numpy()) for layer in given.layers)


def test_repeng_gives_our_logits_with_our_file(given):
    vector = ControlVector.import_gguf(given.folder / "bundle" / "repeng.gguf")
    assert given.is_as_expected(steered(given, vector), "steered")


def test_llama_cpps_file_has_the_same_blocks_and_values(given):
    files = ("control_vector.gguf", "repeng.gguf")
    theirs, ours = (ControlVector.import_gguf(given.folder / "bundle" / one) for one in files)
    assert all(np.array_equal(theirs.directions[layer], ours.directions[layer]) for layer in given.layers)


def test_what_the_readme_says_gives_our_logits(given, monkeypatch):
    monkeypatch.chdir(given.folder / "bundle")
    names = {"model": given.model()}
    exec(given.snippet("repeng"), names)
    with torch.no_grad():
        assert given.is_as_expected(names["model"](given.ids).logits, "steered")


def test_a_shift_by_one_block_gives_other_logits(given):
    vector = ControlVector.import_gguf(given.folder / "bundle" / "repeng.gguf")
    zeros = np.zeros_like(vector.directions[1])
    for shifted in ({1: vector.directions[2], 2: zeros}, {1: zeros, 2: vector.directions[1]}):
        moved = ControlVector(vector.model_type, shifted)
        assert given.distance(steered(given, moved), "steered") > 0.1


def test_repeng_writes_a_file_for_our_side_to_read(given):
    """The other half is in read_back.py."""
    draw = np.random.default_rng(3)
    directions = {layer: draw.standard_normal(given.vector(1).numel()).astype(np.float32) for layer in (2, 1)}
    vector = ControlVector(given.model_type, directions)
    vector.export_gguf(given.folder / "from_repeng.gguf")
    np.savez(given.folder / "from_repeng.npz", **{f"resid_post.{layer}": one for layer, one in directions.items()})
    with torch.no_grad():
        np.save(given.folder / "from_repeng_logits.npy", steered(given, vector)[0].numpy())
