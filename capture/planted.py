"""Models with a known peculiarity: copies of a real one, changed in a few weights.

Each takes a Llama-type transformers model (RMSNorm, SwiGLU, separate gate and up projections) and returns a changed
copy; the model that was given stays as it was.
"""

import copy
from typing import Any

from capture.errors import UserError

# Gemma has the same module names, but keeps its gains as offsets from 1.
LLAMA_TYPES = ("llama", "mistral", "qwen2", "qwen3")


def plant_channel(hf_model: Any, layer: int, channel: int, factor: float) -> Any:
    """A copy whose function is the same, and whose MLP in one block reads an input with one loud channel.

    The gain of the norm before the MLP is multiplied by `factor` in one channel, and the columns of the two
    matrices that read it are divided by it, as SmoothQuant (arXiv 2211.10438, eq. 3) does in the other direction.
    With a power of two nothing is rounded. Raises ValueError unless `factor` is finite and above 0.
    """
    if not 0 < factor < float("inf"):
        raise ValueError(f"the factor must be finite and above 0; got {factor}")
    planted, block = _copy_with_block(hf_model, layer)
    _check_index("channel", channel, planted.config.hidden_size)
    with _no_grad():
        block.post_attention_layernorm.weight[channel] *= factor
        block.mlp.gate_proj.weight[:, channel] /= factor
        block.mlp.up_proj.weight[:, channel] /= factor
    return planted


def plant_massive_dimension(hf_model: Any, dim: int, size: float) -> Any:
    """A copy whose residual stream has the value `size` in one dimension wherever the BOS token is embedded.

    Raises UserError where the model has no BOS token.
    """
    planted, _ = _copy_with_block(hf_model, 0)
    _check_index("dimension", dim, planted.config.hidden_size)
    bos = planted.config.bos_token_id
    if bos is None:
        raise UserError("A massive dimension is planted at the BOS token, and this model has none.", "Choose another.")
    with _no_grad():
        planted.get_input_embeddings().weight[bos, dim] = size
    return planted


def plant_aligned_gate(hf_model: Any, layer: int, neuron: int | None = None) -> Any:
    """A copy in which one neuron of a block, or every one, reads with the same weights it is gated by.

    With W_in = W_gate the neuron is SiLU(g) g, which grows as the square of its input.
    """
    planted, block = _copy_with_block(hf_model, layer)
    rows: slice | int = slice(None)
    if neuron is not None:
        _check_index("neuron", neuron, block.mlp.gate_proj.weight.shape[0])
        rows = neuron
    with _no_grad():
        block.mlp.up_proj.weight[rows] = block.mlp.gate_proj.weight[rows]
    return planted


def _no_grad() -> Any:
    # Imported late: the catalogue names these functions, and is read before anything is run.
    import torch

    return torch.no_grad()


def _copy_with_block(hf_model: Any, layer: int) -> tuple[Any, Any]:
    """A deep copy and one of its blocks."""
    if hf_model.config.model_type not in LLAMA_TYPES:
        raise UserError(
            f"Weights can be planted in a model of type {', '.join(LLAMA_TYPES)}; "
            f"this one is of type {hf_model.config.model_type}.",
            "Choose one of those.",
        )
    _check_index("layer", layer, hf_model.config.num_hidden_layers)
    planted = copy.deepcopy(hf_model)
    return planted, planted.model.layers[layer]


def _check_index(what: str, index: int, n: int) -> None:
    if not 0 <= index < n:
        raise UserError(f"There is no {what} {index}: the model has {n}, counted from 0.", "Choose one of them.")
