"""A tiny model whose next token follows a known direction, prompts of two kinds, and a controller trained on them."""

import tempfile
from functools import cache
from pathlib import Path

import torch

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.contrast_pairs import Example, contrast_of
from steering.controller import Controller
from steering.controller_prompts import Prompts, prompts_of
from steering.controller_recipe import ControllerRecipe
from steering.controller_training import Run, train_controller
from tests.models import tiny_llama, tiny_tokenizer
from tests.steering.planted import DOWN, GAP, UP, direction

WANTED = "*"
"""The token whose logit is the projection on the planted direction."""
RECIPE = ControllerRecipe(
    direction="phrases", wanted=WANTED, unwanted="#", hidden=16, n_epochs=40, learning_rate=3e-3, alpha=1.0, bos=False
)


@cache
def session() -> ModelSession:
    """UP letters are GAP apart from DOWN letters in the embedding, and a direction of its own asks for WANTED."""
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    noise = torch.randn(8, 32, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        for letters, side in ((UP, 0.5), (DOWN, -0.5)):
            for n, letter in enumerate(letters):
                (token,) = tokenizer(letter)["input_ids"]
                model.get_input_embeddings().weight[token] = noise[n] + side * 3 * GAP * direction()
        head = model.get_output_embeddings().weight
        for letter, sign in ((WANTED, 1), ("#", -1)):
            (token,) = tokenizer(letter)["input_ids"]
            head[token] = sign * 4 * behaviour()
    return ModelSession(model, tokenizer, name="planted behaviour")


def behaviour() -> torch.Tensor:
    """The direction that WANTED reads in the last residual stream."""
    v = torch.randn(32, generator=torch.Generator().manual_seed(55))
    return v / v.norm()


def contrast(n=24, length=5, seed=1):
    """Prompts of UP letters, which are targets, and as many of DOWN letters; no prompt twice."""
    draw, found = torch.Generator().manual_seed(seed), {}
    while len(found) < 2 * n:
        letters, label = ((UP, "up"), (DOWN, "down"))[len(found) % 2]
        text = "".join(letters[int(i)] for i in torch.randint(8, (length,), generator=draw))
        found.setdefault(text, label)
    return contrast_of("planted", ("up", "down"), [Example(text, label) for text, label in found.items()], False)


def prompts(n=24, seed=1) -> Prompts:
    """The same as prompts."""
    return prompts_of(session(), contrast(n, seed=seed), "", bos=False)


@cache
def trained() -> Controller:
    """A controller that acts on UP prompts."""
    with tempfile.TemporaryDirectory() as out:
        return train_controller(Run(session(), prompts(), RECIPE, Path(out)))


def made(variant="paper", output="raw", layers=(0, 1, 2), unit="absolute", of=None, seed=3) -> Controller:
    """A controller with random weights for a session with 3 blocks of 32, or for the given one."""
    base = of or session()
    draw = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=draw)

    network = {
        "mean": normal(32),
        "std": normal(32).abs() + 0.5,
        "W_1": normal(32, 6) / 5,
        "b_1": normal(6),
        "W_2": normal(6, 1 + len(layers)) / 2,
        "b_2": normal(1 + len(layers)),
    }
    directions = torch.nn.functional.normalize(normal(len(layers), 32), dim=1)
    facts = {"variant": variant, "output": output, "loss": "mse", "alpha": 2.0, "unit": unit, "bos": False}
    facts |= {"model": base.name, "fingerprint": base.fingerprint, "dtype": "float32", "target": "up"}
    return Controller((HookPoint(2, "resid_post"),), layers, network, directions, 1 + normal(len(layers)).abs(), facts)
