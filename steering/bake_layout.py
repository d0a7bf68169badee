"""Where the models of a family write to the residual stream, and which switch of their config adds a bias there."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError

HAS_BIAS = "has one"
"""In the place of a switch: the family's output projections have biases anyway."""


@dataclass(frozen=True)
class Layout:
    """Names of modules; `attn_bias` and `mlp_bias` are the config's switches, "" where there can be no bias."""

    blocks: str
    attn: str
    mlp: str
    embeddings: tuple[str, ...]
    """Tables whose rows are added up to the input of block 0; an addition goes to the last, which no head is tied to
    where there are two."""
    attn_bias: str = ""
    mlp_bias: str = ""


_LLAMA = ("model.layers", "self_attn.o_proj", "mlp.down_proj", ("model.embed_tokens",))
LAYOUTS = {
    "llama": Layout(*_LLAMA, "attention_bias", "mlp_bias"),
    "mistral": Layout(*_LLAMA),
    "qwen2": Layout(*_LLAMA),
    "qwen3": Layout(*_LLAMA, "attention_bias"),
    "phi3": Layout(*_LLAMA),
    "gpt2": Layout(
        "transformer.h", "attn.c_proj", "mlp.c_proj", ("transformer.wte", "transformer.wpe"), HAS_BIAS, HAS_BIAS
    ),
    "gpt_neox": Layout(
        "gpt_neox.layers", "attention.dense", "mlp.dense_4h_to_h", ("gpt_neox.embed_in",), HAS_BIAS, HAS_BIAS
    ),
    "opt": Layout(
        "model.decoder.layers",
        "self_attn.out_proj",
        "fc2",
        ("model.decoder.embed_tokens", "model.decoder.embed_positions"),
        HAS_BIAS,
        HAS_BIAS,
    ),
}
"""Families without a norm behind attention or MLP, and without experts: what weights write there is what is added."""


def layout_of(config: Any) -> Layout:
    """The layout of a model; raises UserError for a family whose weights cannot be folded into."""
    is_post_norm = not getattr(config, "do_layer_norm_before", True)
    if config.model_type not in LAYOUTS or is_post_norm:
        raise UserError(
            f"Weights are folded into models of {', '.join(LAYOUTS)}, which have no norm behind attention and MLP, and "
            f"no experts; this one is {config.model_type}{' with norms behind them' if is_post_norm else ''}.",
            "Export a bundle: its script steers any of them by hooks.",
        )
    return LAYOUTS[config.model_type]


def module_at(module: Any, name: str) -> Any:
    """The module of a dotted name."""
    for part in name.split("."):
        module = getattr(module, part)
    return module


def writers(model: Any, layout: Layout) -> Iterator[Any]:
    """Every output projection of attention and MLP."""
    for block in module_at(model, layout.blocks):
        yield module_at(block, layout.attn)
        yield module_at(block, layout.mlp)


def through(projection: Any, vector: Float[Tensor, "d_in"]) -> Float[Tensor, "d_out"]:
    """What an output projection makes of an addition to its input; the weights of GPT-2's lie the other way round."""
    weight: Tensor = projection.weight.detach().float()
    return vector @ weight if type(projection).__name__ == "Conv1D" else weight @ vector


def project_out_of(projection: Any, direction: Float[Tensor, "d_out"]) -> None:
    """W ← W − r̂ r̂ᵀ W, and the same of its bias: nothing that it writes lies along the direction."""
    with torch.no_grad():
        weight, r = projection.weight, direction.to(projection.weight.dtype)
        if type(projection).__name__ == "Conv1D":
            weight -= torch.outer(weight @ r, r)
        else:
            weight -= torch.outer(r, r @ weight)
        if projection.bias is not None:
            projection.bias -= (projection.bias @ r) * r


def project_rows(table: Any, direction: Float[Tensor, "d"]) -> None:
    """The same of every row of an embedding."""
    with torch.no_grad():
        r = direction.to(table.weight.dtype)
        table.weight -= torch.outer(table.weight @ r, r)
