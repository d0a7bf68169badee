"""Codesᵀ times a dense matrix: what each latent gathers from the rows it fired on; both weight gradients are this."""

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor
from torch.nn.functional import embedding_bag

from kernels.backend import choose


def scattered_product_reference(
    values: Float[Tensor, "rows k"], indices: Int64[Tensor, "rows k"], dense: Float[Tensor, "rows d"], n: int
) -> Float32[Tensor, "n d"]:
    """What `scattered_product` is: Zᵀ dense, with Z [rows n] the codes written out (equal indices add up)."""
    z = torch.zeros(len(values), n, device=values.device).scatter_add_(1, indices, values.float())
    return z.t() @ dense.float()


def scattered_product(
    values: Float[Tensor, "rows k"], indices: Int64[Tensor, "rows k"], dense: Float[Tensor, "rows d"], n: int
) -> Float32[Tensor, "n d"]:
    """Σ over rows r and slots j with indices[r, j] = i of values[r, j] dense[r], for every latent i, in float32."""
    choice = choose(values)
    if choice.backend == "reference":
        return scattered_product_reference(values, indices, dense, n)
    latent = indices.flatten()
    order = latent.argsort(stable=True)
    starts = torch.zeros(n + 1, dtype=torch.int64, device=latent.device)
    torch.cumsum(torch.bincount(latent, minlength=n), 0, out=starts[1:])
    row = order // indices.shape[1]
    if choice.backend == "triton":
        from kernels.scattered_product_triton import gather_rows

        return gather_rows(values.flatten()[order].float(), row, starts, dense)
    # One bag a latent: the sum is written once, where index_add would first make [rows k d].
    return embedding_bag(
        row,
        dense.float(),
        starts,
        per_sample_weights=values.flatten()[order].float(),
        mode="sum",
        include_last_offset=True,
    )
