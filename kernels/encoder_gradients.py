"""Gradients of `topk_encode`: only kept, positive pre-activations carry one, as with the ReLU and the top-k."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from kernels.scattered_product import scattered_product
from kernels.sparse_decode import sparse_decode
from kernels.topk import TopK


def attach(
    x: Float[Tensor, "rows d_in"], W_enc: Float[Tensor, "d_in d_sae"], b_enc: Float[Tensor, "d_sae"], codes: TopK
) -> TopK:
    """The same codes, with values that gradients flow through to x, W_enc and b_enc."""
    return TopK(_Encode.apply(x, W_enc, b_enc, *codes), codes.indices)


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, W_enc: Tensor, b_enc: Tensor, values: Tensor, indices: Tensor) -> Tensor:
        context.save_for_backward(x, W_enc, b_enc, values, indices)
        return values.clone()

    @staticmethod
    def backward(context: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        x, W_enc, b_enc, values, indices = context.saved_tensors
        grad = grads[0].float().masked_fill(values <= 0, 0)
        for_x = for_weight = for_bias = None
        if context.needs_input_grad[0]:
            nowhere = torch.zeros(W_enc.shape[0], device=x.device)
            for_x = sparse_decode(grad, indices, W_enc.t().float(), nowhere).to(x.dtype)
        if context.needs_input_grad[1]:
            for_weight = scattered_product(grad, indices, x, W_enc.shape[1]).t().to(W_enc.dtype)
        if context.needs_input_grad[2]:
            zeros = torch.zeros(len(b_enc), device=x.device)
            for_bias = zeros.index_add_(0, indices.flatten(), grad.flatten()).to(b_enc.dtype)
        return for_x, for_weight, for_bias, None, None
