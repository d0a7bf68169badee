"""Gate alignment: neurons of a gated MLP whose two reading vectors have come to agree.

Such a neuron, (x.w1) * act(x.w2) with w1 along w2, is quadratic in x and makes outliers larger: Fishman et al. 2024,
Scaling FP8 training to trillion-token LLMs (arXiv 2409.12517).
"""

import numpy as np
from jaxtyping import Float, Shaped

ALIGNED = 0.5


def gate_cosine(
    w_gate: Shaped[np.ndarray, "d_model d_mlp"], w_in: Shaped[np.ndarray, "d_model d_mlp"]
) -> Float[np.ndarray, "d_mlp"]:
    """cos(W_gate[:, i], W_in[:, i]) of each neuron; at random its mean is 0 and its spread 1 / sqrt(d_model).

    NaN for a neuron one of whose vectors is zero.
    """
    squares = [np.einsum("dn,dn->n", w, w, dtype=np.float64) for w in (w_gate, w_in)]
    sizes = np.sqrt(squares[0] * squares[1])
    dots = np.einsum("dn,dn->n", w_gate, w_in, dtype=np.float64)
    return np.divide(dots, sizes, out=np.full_like(dots, np.nan), where=sizes > 0)


def amplification(abs_max: Shaped[np.ndarray, "d_mlp"]) -> Float[np.ndarray, "d_mlp"]:
    """Each neuron's largest magnitude over the tokens, as a multiple of the median over neurons.

    NaN where that median is 0.
    """
    median = float(np.median(abs_max))
    return abs_max.astype(np.float64) / median if median > 0 else np.full(len(abs_max), np.nan)
