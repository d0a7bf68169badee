"""The script of the bundle steers in another transformers than ours, which has nothing of ours beside it."""

import importlib.util

import torch


def test_the_script_gives_our_logits(given):
    spec = importlib.util.spec_from_file_location("apply_steering", given.folder / "bundle" / "apply_steering.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    model = given.model()
    with torch.no_grad(), script.steering(model, given.ids):
        assert given.is_as_expected(model(given.ids).logits, "steered")
    with torch.no_grad():
        assert given.is_as_expected(model(given.ids).logits, "clean")
