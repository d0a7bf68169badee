"""A controller: a small network that reads a prompt once, and says how strongly and at which layers a patch acts.

After Hegazy et al. 2025 (Guiding Giants, arXiv 2505.20309), with x the residual stream after the last third of blocks
at the last prompt token, standardised with saved statistics:

    u = ReLU(x W_1 + b_1),  (s, w_logits) = u W_2 + b_2,  w = sigmoid(w_logits)
    Δh_{l,p} = s · w_l · α · d_l       at every chosen block output l, and every position p generated afterwards

Where the variant is "fixed" w_l is 1/2 whatever the network says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.controller_recipe import OUTPUTS
from steering.direction import as_direction
from steering.methods.add_direction import AddDirection

FIXED_WEIGHT = 0.5


@dataclass(frozen=True, eq=False)
class Controller:
    """The network, the unit direction of each chosen block, the mean residual norm there, and from what it was made."""

    inputs: tuple[HookPoint, ...]
    layers: tuple[int, ...]
    network: Mapping[str, Tensor]
    """`mean`, `std` [n_in]; `W_1` [n_in hidden], `b_1`; `W_2` [hidden 1 + layers], `b_2`: s first, then w_logits."""
    directions: Float[Tensor, "layers d_model"]
    mean_norms: Float[Tensor, "layers"]
    facts: Mapping[str, Any]

    @property
    def variant(self) -> str:
        """One of VARIANTS."""
        return str(self.facts["variant"])

    @property
    def output(self) -> str:
        """One of OUTPUTS."""
        return str(self.facts["output"])

    @property
    def alpha(self) -> float:
        """The strength that it was trained for, in its `unit`."""
        return float(self.facts["alpha"])

    @property
    def unit(self) -> str:
        """Whether strengths are lengths, or multiples of the mean residual norm at each block."""
        return str(self.facts["unit"])

    @property
    def n_parameters(self) -> int:
        """Numbers that were trained."""
        return sum(self.network[name].numel() for name in ("W_1", "b_1", "W_2", "b_2"))

    def points(self) -> tuple[HookPoint, ...]:
        """The block outputs that it may patch."""
        return tuple(HookPoint(layer, "resid_post") for layer in self.layers)


@dataclass(frozen=True)
class Decision:
    """What a controller says of one prompt: its raw output, the s that acts, how sure it is, and the weights w_l."""

    raw: float
    s: float
    probability: float
    weights: tuple[float, ...]


def forward(
    network: Mapping[str, Tensor], x: Float[Tensor, "prompts n_in"]
) -> tuple[Float[Tensor, "prompts"], Float[Tensor, "prompts layers"]]:
    """The raw s and the logits of the layer weights."""
    hidden = ((x - network["mean"]) / network["std"]) @ network["W_1"] + network["b_1"]
    out = hidden.relu() @ network["W_2"] + network["b_2"]
    return out[:, 0], out[:, 1:]


def acting(raw: Float[Tensor, "..."], output: str) -> Float[Tensor, "..."]:
    """The s that acts."""
    if output not in OUTPUTS:
        raise UserError(f"No output is called {output[:20]!r}.", f"Choose one of: {', '.join(OUTPUTS)}.")
    if output == "sigmoid":
        return raw.sigmoid()
    return raw.clamp(0, 1) if output == "clamp" else raw


def probability(raw: Float[Tensor, "..."], facts: Mapping[str, Any]) -> Float[Tensor, "..."]:
    """How likely the prompt is a target, in [0, 1]: sigmoid of a logit, else the regression cut to [0, 1]."""
    is_logit = facts["loss"] == "bce" or facts["output"] == "sigmoid"
    return raw.sigmoid() if is_logit else raw.clamp(0, 1)


def layer_weights(logits: Float[Tensor, "prompts layers"], variant: str) -> Float[Tensor, "prompts layers"]:
    """w: the sigmoid of its logits, or one half everywhere."""
    return torch.full_like(logits, FIXED_WEIGHT) if variant == "fixed" else logits.sigmoid()


def decisions(
    controller: Controller, x: Float[Tensor, "prompts n_in"], output: str | None = None
) -> tuple[Decision, ...]:
    """What the controller says of each row of inputs; `output` other than its own acts otherwise, and says the same."""
    with torch.no_grad():
        raw, logits = forward(controller.network, x)
        s, sure = acting(raw, output or controller.output), probability(raw, controller.facts)
        weights = layer_weights(logits, controller.variant)
    rows = zip(raw.tolist(), s.tolist(), sure.tolist(), weights.tolist(), strict=True)
    return tuple(Decision(a, b, c, tuple(w)) for a, b, c, w in rows)


def decide(controller: Controller, session: ModelSession, prompt: Sequence[int], output: str | None = None) -> Decision:
    """What the controller says of one prompt, from a clean run of it."""
    check_fits(controller, session)
    seen = session.capture(prompt, controller.inputs)
    x = torch.cat([seen[at][-1].float() for at in controller.inputs])[None]
    return decisions(controller, x, output)[0]


def patches(
    controller: Controller, decision: Decision, first_pos: int, strength: float, unit: str
) -> tuple[AddDirection, ...]:
    """s · w_l · strength · d_l at every chosen block, from position `first_pos` on; none where s or strength is 0."""
    if decision.s == 0 or strength == 0:
        return ()
    return added_behind(controller, [decision.s * w * strength for w in decision.weights], first_pos, unit)


def added_behind(
    controller: Controller, amounts: Sequence[float], first_pos: int, unit: str
) -> tuple[AddDirection, ...]:
    """So much of the direction of each chosen block, in the unit, from position `first_pos` on."""
    lengths = controller.mean_norms.tolist() if unit == "relative" else [None] * len(controller.layers)
    return tuple(
        AddDirection(at, as_direction(direction), amount, length, ((first_pos, None),))
        for at, direction, amount, length in zip(
            controller.points(), controller.directions, amounts, lengths, strict=True
        )
    )


def check_fits(controller: Controller, session: ModelSession) -> None:
    """Raises UserError for a model other than the one that the controller was trained on."""
    d_model = session.shape.d_model
    is_wide_enough = len(controller.network["mean"]) == len(controller.inputs) * d_model
    if controller.facts.get("fingerprint") == session.fingerprint:
        if (
            is_wide_enough
            and controller.directions.shape[1] == d_model
            and controller.layers[-1] < session.shape.n_layers
        ):
            return
        raise UserError("This controller does not fit the model that it names.", "Get its folder again.")
    raise UserError(
        f"This controller was trained on {controller.facts.get('model')!r} with other weights than {session.name!r}: "
        "its inputs and directions mean nothing here.",
        f"Open that model in {controller.facts.get('dtype', 'float32')}, or train a controller on this one.",
    )
