"""How evenly channels share their size, and how a Hadamard rotation evens them out.

Flatness after Sun et al. 2024, FlatQuant (arXiv 2410.09426): the L2 distance between the channels' norms and norms that
are all equal; 0 is perfectly flat. The rotation is what Rotated Runtime Smooth (arXiv 2409.20361) spreads spikes with.
"""

from functools import cache

import numpy as np
from jaxtyping import Float, Shaped


def channel_norms(x: Shaped[np.ndarray, "n d"]) -> Float[np.ndarray, "d"]:
    """The L2 norm of each column."""
    return np.sqrt(np.einsum("nd,nd->d", x, x, dtype=np.float64))


def flatness(norms: Float[np.ndarray, "*sites d"]) -> Float[np.ndarray, "*sites"]:
    """||d - d'||, d the channel norms, d' = ||d|| / sqrt(N) in every channel; 0 where all are equal.

    Its square is 2 ||d||_2^2 - 2 ||d||_2 ||d||_1 / sqrt(N).
    """
    level = np.linalg.norm(norms, axis=-1, keepdims=True) / np.sqrt(norms.shape[-1])
    return np.asarray(np.linalg.norm(norms - level, axis=-1))


def relative_flatness(norms: Float[np.ndarray, "*sites d"]) -> Float[np.ndarray, "*sites"]:
    """flatness / ||d||, in [0, sqrt(2 - 2 / sqrt(N))]: free of scale and of the number of tokens; 0 where d is 0."""
    size = np.asarray(np.linalg.norm(norms, axis=-1))
    return np.divide(flatness(norms), size, out=np.zeros_like(size), where=size > 0)


def rotation_factors(d: int) -> tuple[Float[np.ndarray, "a a"], Float[np.ndarray, "b b"]]:
    """Orthogonal A [2**k] and B [odd] with 2**k * odd = d: a Hadamard matrix, and a discrete Hartley transform.

    Their Kronecker product mixes all d channels with entries of size about 1 / sqrt(d).
    """
    return _rotation_factors(d)


@cache
def _rotation_factors(d: int) -> tuple[Float[np.ndarray, "a a"], Float[np.ndarray, "b b"]]:
    from scipy.linalg import hadamard

    power = d & -d
    odd = d // power
    angles = 2 * np.pi * np.outer(np.arange(odd), np.arange(odd)) / odd
    hartley = (np.cos(angles) + np.sin(angles)) / np.sqrt(odd)
    return hadamard(power).astype(np.float64) / np.sqrt(power), hartley


def rotate(x: Shaped[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
    """x times the orthogonal A (x) B of `rotation_factors`: every row keeps its length."""
    a, b = rotation_factors(x.shape[-1])
    split = x.astype(np.float64).reshape(-1, len(a), len(b))
    return np.einsum("nij,ik,jl->nkl", split, a, b, optimize=True).reshape(x.shape)
