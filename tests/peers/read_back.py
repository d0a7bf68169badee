"""Our side, after: what repeng wrote is read here with the same layers and values, and steers to the same logits."""

import numpy as np
import torch

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.methods.add_direction import AddDirection
from steering.vector_file import read_vector_file
from tests.models import tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.peers.write_exchange import TOKENS

MODELS = {"llama": tiny_llama, "gpt2": tiny_gpt2}


def test_repengs_layers_and_values_are_read(given):
    found = read_vector_file(given.folder / "from_repeng.gguf")
    with np.load(given.folder / "from_repeng.npz") as arrays:
        assert {at: vector.tolist() for at, vector in found.vectors.items()} == {
            HookPoint(layer, "resid_post"): arrays[f"resid_post.{layer}"].tolist() for layer in (1, 2)
        }
    assert found.model_type == given.model_type
    assert not found.facts["is_one_block_late"]


def test_our_hooks_give_repengs_logits_with_its_file(given):
    session = ModelSession(MODELS[given.model_type](), tiny_tokenizer(), name="tiny")
    found = read_vector_file(given.folder / "from_repeng.gguf")
    added = [AddDirection(at, tuple(vector.tolist())) for at, vector in found.vectors.items()]
    theirs = torch.from_numpy(np.load(given.folder / "from_repeng_logits.npy"))
    torch.testing.assert_close(session.logits(TOKENS, added), theirs, atol=1e-4, rtol=0)
