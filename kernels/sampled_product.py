"""Single entries of a matrix product: the rows and columns that are asked for, and no others."""

import warnings

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor


def sampled_product_reference(
    a: Float[Tensor, "rows d"], b: Float[Tensor, "n d"], row: Int64[Tensor, "nnz"], column: Int64[Tensor, "nnz"]
) -> Float32[Tensor, "nnz"]:
    """What `sampled_product` is: (a bᵀ)[row, column]."""
    return (a.float() @ b.float().t())[row, column]


def sampled_product(
    a: Float32[Tensor, "rows d"],
    b: Float32[Tensor, "n d"],
    starts: Int64[Tensor, "starts"],
    columns: Int64[Tensor, "nnz"],
) -> Float32[Tensor, "nnz"]:
    """(a bᵀ) at the columns of each row, compressed by rows: row r has columns[starts[r] : starts[r + 1]].

    Columns of a row may come in any order and twice. torch's sampled matrix product reads the rows of `b` where they
    lie; gathering them first was measured to take six times as long.
    """
    values = torch.zeros(len(columns), device=a.device)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        pattern = torch.sparse_csr_tensor(starts, columns, values, size=(len(a), len(b)), check_invariants=False)
        return torch.sparse.sampled_addmm(pattern, a, b.t(), beta=0.0).values()
