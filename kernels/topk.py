"""The k largest entries of each row, largest first, equal ones by the lower index first."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class TopK(NamedTuple):
    """The kept entries of each row, largest first, and where they were."""

    values: Float[Tensor, "*rows k"]
    indices: Int[Tensor, "*rows k"]


def topk_reference(x: Float[Tensor, "*rows n"], k: int) -> TopK:
    """What `topk` is: a stable descending sort, cut after k."""
    values, indices = x.sort(dim=-1, descending=True, stable=True)
    return TopK(values[..., :k], indices[..., :k])


def topk(x: Float[Tensor, "*rows n"], k: int) -> TopK:
    """The k largest entries of each row; NaN counts as larger than everything, as in torch.

    torch.topk chooses freely among equal entries, so only rows whose k-th value also stands outside the chosen ones
    are sorted whole. Raises ValueError unless 1 <= k <= n.
    """
    if not 1 <= k <= x.shape[-1]:
        raise ValueError(f"k must be from 1 to {x.shape[-1]}; it is {k}.")
    rows = x.reshape(-1, x.shape[-1])
    if k == x.shape[-1]:
        return topk_reference(x, k)
    values, indices = rows.topk(k + 1, dim=1)
    # Neighbours that are equal (or both NaN) make the order, or the choice at the end, torch's own.
    here, after = values[:, :-1], values[:, 1:]
    is_tied = ((here == after) | (here.isnan() & after.isnan())).any(dim=1)
    values, indices = values[:, :k].clone(), indices[:, :k].clone()
    if is_tied.any():
        values[is_tied], indices[is_tied] = topk_reference(rows[is_tied], k)
    shape = (*x.shape[:-1], k)
    return TopK(values.reshape(shape), indices.reshape(shape))
