"""The state of a controller's training, its first weights, and the checkpoint that a stopped run goes on from."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.written_file import make_folder
from steering.controller_recipe import ControllerRecipe

CHECKPOINT = ".checkpoint.pt"
"""Hidden, so that it is no part of the controller's digest."""
TRAINED = ("W_1", "b_1", "W_2", "b_2")
INITIAL_GAIN = 0.1
"""Of the last layer, so that s begins near 0 and the weights near 1/2."""


@dataclass
class State:
    """What grows while it is trained."""

    network: dict[str, Tensor]
    optimizer: torch.optim.Optimizer
    step: int = 0
    curve: list[dict[str, float]] = field(default_factory=list)


def initial_network(x: Float[Tensor, "prompts n_in"], recipe: ControllerRecipe, n_layers: int) -> dict[str, Tensor]:
    """Statistics of the inputs, and random first weights."""
    draw, n_in = torch.Generator().manual_seed(recipe.seed), x.shape[1]
    return {
        "mean": x.mean(dim=0),
        "std": x.std(dim=0).clamp(min=1e-6),
        "W_1": torch.randn(n_in, recipe.hidden, generator=draw) * (2 / n_in) ** 0.5,
        "b_1": torch.zeros(recipe.hidden),
        "W_2": torch.randn(recipe.hidden, 1 + n_layers, generator=draw) * INITIAL_GAIN / recipe.hidden**0.5,
        "b_2": torch.zeros(1 + n_layers),
    }


def optimizer_of(network: Mapping[str, Tensor], recipe: ControllerRecipe) -> torch.optim.Optimizer:
    """AdamW over what is trained; biases do not decay: with s pulled to 0 every prompt would look like the rest."""
    for name in TRAINED:
        network[name].requires_grad_()
    groups = [
        {"params": [network["W_1"], network["W_2"]], "weight_decay": recipe.weight_decay},
        {"params": [network["b_1"], network["b_2"]], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.learning_rate)


def read_checkpoint(state: State, out: Path, described: Mapping[str, Any]) -> State:
    """The state with what the checkpoint in `out` holds, where there is one; refuses that of another run."""
    make_folder(out)
    if not (out / CHECKPOINT).is_file():
        return state
    kept = torch.load(out / CHECKPOINT, weights_only=True)
    if kept["described"] != json.dumps(described, sort_keys=True):
        raise UserError(
            f"The checkpoint in {out} is of another run.",
            "Name another folder, or ask for what was asked for then.",
        )
    with torch.no_grad():
        for name in TRAINED:
            state.network[name].copy_(kept["network"][name])
    state.optimizer.load_state_dict(kept["optimizer"])
    state.step, state.curve = kept["step"], json.loads(kept["curve"])
    return state


def write_checkpoint(state: State, out: Path, described: Mapping[str, Any]) -> None:
    """Write the checkpoint whole or not at all."""
    kept = {
        "described": json.dumps(described, sort_keys=True),
        "network": {name: state.network[name].detach() for name in TRAINED},
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "curve": json.dumps(state.curve),
    }
    part = out / f"{CHECKPOINT}.part"
    torch.save(kept, part)
    os.replace(part, out / CHECKPOINT)
