"""The script of the bundle steers in another transformers than ours, which has nothing of ours beside it."""

import contextlib
import importlib.util

import torch


def script_in(folder):
    """The script of a bundle, as a module."""
    spec = importlib.util.spec_from_file_location("apply_steering", folder / "apply_steering.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def test_the_script_decides_as_our_controller_does(given):
    script, model, expected = script_in(given.folder / "controller_bundle"), given.model(), given.expected["decided"]
    texts = []
    for steps in (script.steering(model, given.ids), contextlib.nullcontext()):
        with torch.no_grad(), steps:
            new = model.generate(given.ids, max_new_tokens=len(expected), do_sample=False, eos_token_id=None)
        texts.append(new[0, given.ids.shape[1] :].tolist())
    assert texts[0] == expected.tolist() != texts[1]


def test_the_script_gives_our_logits(given):
    script, model = script_in(given.folder / "bundle"), given.model()
    with torch.no_grad(), script.steering(model, given.ids):
        assert given.is_as_expected(model(given.ids).logits, "steered")
    with torch.no_grad():
        assert given.is_as_expected(model(given.ids).logits, "clean")
