"""The neurons of experts as hook points: transformers fuses the experts of a block, and TransformerLens sees none.

1. `open_experts` gives each block of experts two hook points, and puts a function of ours in transformers' table.
2. Where neither has a hook on, that function calls the one that was chosen before.
3. Else it goes expert by expert: z of the tokens routed to it, zeros for the others; all experts' neurons beside each
   other pass the hook point; then each expert's output is weighed and added.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from capture.hook_point import HookPoint

SITES = ("routing_weights", "expert_post")
_NAME = "steerscope"
_BLOCK = re.compile(r"\.(\d+)\.")


def open_experts(model: Any) -> dict[int, Any]:
    """The modules of fused experts by layer, each able to pass its neurons by hook points from now on."""
    from transformer_lens.hook_points import HookPoint as Passage
    from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

    found = dict(_fused(model))
    if not found:
        return {}
    chosen = model.config._experts_implementation
    for experts in found.values():
        eager = type(experts).forward.__wrapped__
        experts.run_plainly = ALL_EXPERTS_FUNCTIONS.get_interface(chosen, eager)
        # In a tuple, so that they are no submodules: the bridge and the weights stay as they are.
        experts.passages = (Passage(), Passage())
    ALL_EXPERTS_FUNCTIONS.register(_NAME, _run_experts)
    model.set_experts_implementation(_NAME)
    return found


def expert_points(found: dict[int, Any]) -> dict[HookPoint, Any]:
    """The hook points of opened experts."""
    return {
        HookPoint(layer, site): passage
        for layer, experts in found.items()
        for site, passage in zip(SITES, experts.passages, strict=True)
    }


def w_out(experts: Any) -> Float[Tensor, "n_experts d_mlp d_model"]:
    """What each expert's neurons write."""
    weight: Tensor = experts.down_proj
    return weight if experts.is_transposed else weight.transpose(1, 2)


def _fused(model: Any) -> Iterator[tuple[int, Any]]:
    for name, module in model.named_modules():
        is_fused = hasattr(type(module).forward, "__wrapped__") and hasattr(module, "_apply_gate")
        if is_fused and getattr(module, "has_gate", False) and not module.has_post_expert_norm:
            yield int(_BLOCK.findall(name)[0]), module


def _run_experts(
    self: Any,
    hidden_states: Float[Tensor, "n d_model"],
    top_k_index: Int[Tensor, "n k"],
    top_k_weights: Float[Tensor, "n k"],
) -> Float[Tensor, "n d_model"]:
    routing, post = self.passages
    if not (routing.fwd_hooks or post.fwd_hooks):
        plainly: Callable[..., Tensor] = self.run_plainly
        return plainly(self, hidden_states, top_k_index, top_k_weights)
    n, n_experts = len(hidden_states), self.num_experts
    weights = top_k_weights.new_zeros(n, n_experts).scatter(1, top_k_index, top_k_weights)
    routing(weights)
    rows = {expert: (top_k_index == expert).any(dim=1).nonzero()[:, 0] for expert in top_k_index.unique().tolist()}
    d_mlp = w_out(self).shape[1]
    z = hidden_states.new_zeros(n, n_experts, d_mlp)
    for expert, at in rows.items():
        z[at, expert] = self._apply_gate(_project(self, "gate_up_proj", expert, hidden_states[at]))
    z = post(z.flatten(1)).view(n, n_experts, d_mlp)
    out = torch.zeros_like(hidden_states)
    for expert, at in rows.items():
        written = _project(self, "down_proj", expert, z[at, expert])
        out[at] += (weights[at, expert, None] * written).to(out.dtype)
    return out


def _project(experts: Any, name: str, expert: int, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n d_out"]:
    weight = getattr(experts, name)[expert]
    bias = getattr(experts, f"{name}_bias")[expert] if experts.has_bias else None
    return torch.nn.functional.linear(x, weight.T if experts.is_transposed else weight, bias)
