"""An even hash of where a row stands."""

import numpy as np
from jaxtyping import Int, Shaped


def place_hash(text: Int[np.ndarray, "n"], pos: Int[np.ndarray, "n"]) -> Shaped[np.ndarray, "n"]:
    """An even 64-bit hash of where a row stands (SplitMix64), so that a draw of rows does not hang on their order."""
    mixed = (text.astype(np.uint64) << np.uint64(32)) + pos.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))
