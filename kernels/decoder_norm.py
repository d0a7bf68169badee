"""The decoder's unit norms: each latent's direction has length 1, and a gradient step does not change that."""

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def normalise_directions(W_dec: Float[Tensor, "d_sae d_in"]) -> None:
    """Divide each direction by its length, in place; a zero direction stays zero."""
    W_dec.div_(W_dec.norm(dim=1, keepdim=True).clamp_min(torch.finfo(W_dec.dtype).tiny))


@torch.no_grad()
def project_gradient(W_dec: Float[Tensor, "d_sae d_in"], grad: Float[Tensor, "d_sae d_in"]) -> None:
    """Take from each direction's gradient, in place, what points along the direction: g − (g·w) w, for unit w.

    Gao et al. 2024 (arXiv 2406.04093), appendix A.
    """
    along = torch.einsum("nd,nd->n", grad.float(), W_dec.float()).to(grad.dtype)
    grad.addcmul_(along[:, None], W_dec.to(grad.dtype), value=-1)
