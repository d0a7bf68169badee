"""Decoding sparse codes: x̂ = Σ_j values_j W_dec[indices_j] + b_dec, with its two gradients.

Neither the codes written out [rows d_sae] nor the gathered directions [rows k d_in] are made.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import embedding_bag

from kernels.backend import choose
from kernels.sampled_product import sampled_product
from kernels.scattered_product import scattered_product


def sparse_decode_reference(
    values: Float[Tensor, "rows k"],
    indices: Int64[Tensor, "rows k"],
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, "d_in"],
) -> Float[Tensor, "rows d_in"]:
    """What `sparse_decode` is: Z W_dec + b_dec, with Z [rows d_sae] the codes written out (equal indices add up)."""
    z = torch.zeros(len(values), len(W_dec), dtype=values.dtype, device=values.device).scatter_add(1, indices, values)
    return z @ W_dec.to(values.dtype) + b_dec


def sparse_decode(
    values: Float[Tensor, "rows k"],
    indices: Int64[Tensor, "rows k"],
    W_dec: Float[Tensor, "d_sae d_in"],
    b_dec: Float[Tensor, "d_in"],
) -> Float[Tensor, "rows d_in"]:
    """The reconstruction of each row; summed in float32, given in the dtype of the values.

    Gradients reach values, W_dec and b_dec. Raises ValueError where shapes do not fit. An index outside
    0 to d_sae − 1 is a programmer's mistake and raises where the backend notices it.
    """
    check_shapes(values, indices, W_dec, b_dec)
    if choose(values).backend == "reference":
        return sparse_decode_reference(values, indices, W_dec, b_dec)
    decoded: Tensor = _Decode.apply(values, indices, W_dec)
    return decoded + b_dec.to(values.dtype)


def check_shapes(values: Tensor, indices: Tensor, W_dec: Tensor, b_dec: Tensor) -> None:
    """Raises ValueError unless they are [rows k], [rows k], [d_sae d_in], [d_in]."""
    if values.shape != indices.shape or values.ndim != 2 or b_dec.shape != W_dec.shape[1:]:
        shapes = ", ".join(str(tuple(one.shape)) for one in (values, indices, W_dec, b_dec))
        raise ValueError(f"Shapes must be [rows k], [rows k], [d_sae d_in], [d_in]; they are {shapes}.")


def _gathered_sum(values: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
    if choose(values).backend == "triton":
        from kernels.sparse_decode_triton import gathered_sum

        return gathered_sum(values, indices, W_dec)
    return embedding_bag(indices, W_dec.float(), per_sample_weights=values.float(), mode="sum").to(values.dtype)


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, values: Tensor, indices: Tensor, W_dec: Tensor) -> Tensor:
        context.save_for_backward(values, indices, W_dec)
        return _gathered_sum(values, indices, W_dec)

    @staticmethod
    def backward(context: Any, *grads: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        (grad,) = grads
        values, indices, W_dec = context.saved_tensors
        for_values = for_weight = None
        if context.needs_input_grad[0]:
            starts = torch.arange(0, indices.numel() + 1, indices.shape[1], device=indices.device)
            found = sampled_product(grad.float().contiguous(), W_dec.float(), starts, indices.flatten())
            for_values = found.view(values.shape).to(values.dtype)
        if context.needs_input_grad[2]:
            for_weight = scattered_product(values, indices, grad, len(W_dec)).to(W_dec.dtype)
        return for_values, None, for_weight
