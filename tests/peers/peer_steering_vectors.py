"""steering-vectors 0.12.2 steers with our tensors, and at the block that we say."""

import torch
from safetensors.torch import load_file
from steering_vectors import SteeringVector


def loaded(given):
    tensors = load_file(given.folder / "bundle" / "vectors.safetensors")
    return {int(key.removeprefix("resid_post.")): vector for key, vector in tensors.items()}


def steered(given, by_layer):
    model = given.model()
    with SteeringVector(by_layer, "decoder_block").apply(model), torch.no_grad():
        return model(given.ids).logits


def test_our_layers_and_values_are_read(given):
    by_layer = loaded(given)
    assert sorted(by_layer) == given.layers
    assert all(torch.equal(by_layer[layer], given.vector(layer)) for layer in given.layers)


def test_steering_vectors_gives_our_logits(given):
    assert given.is_as_expected(steered(given, loaded(given)), "steered")


def test_what_the_readme_says_gives_our_logits(given, monkeypatch):
    monkeypatch.chdir(given.folder / "bundle")
    seen = []
    model = given.model()
    model.register_forward_hook(lambda _module, _given, output: seen.append(output.logits))
    with torch.no_grad():
        exec(given.snippet("steering_vectors"), {"model": model, "ids": given.ids})
    assert given.is_as_expected(seen[0], "steered")


def test_a_shift_by_one_block_gives_other_logits(given):
    for step in (-1, 1):
        shifted = {layer + step: vector for layer, vector in loaded(given).items() if layer + step <= 2}
        assert given.distance(steered(given, shifted), "steered") > 0.1
