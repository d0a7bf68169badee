"""The Triton kernels against their references: interpreted where TRITON_INTERPRET=1, else compiled on a GPU.

Run: TRITON_INTERPRET=1 STEERSCOPE_KERNELS=triton python tests/kernels/triton_cases.py
"""

import sys

import torch

from kernels.scattered_product import scattered_product, scattered_product_reference
from kernels.sparse_decode import sparse_decode, sparse_decode_reference
from kernels.topk_encode import topk_encode, topk_encode_reference

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
ENCODE = [(3, 40, 64, 3), (5, 96, 200, 7), (66, 20, 70, 31), (2, 768, 65, 64), (1, 1, 1, 1)]
"""Rows, d_in, d_sae, k: tile edges, d = 768, k no power of two and a whole dictionary."""
DECODE = [(3, 4, 10, 768), (2, 31, 40, 33), (129, 1, 3, 8), (1, 5, 300, 257)]
"""Rows, k, d_sae, d: a d that no power of two divides, more latents than fire, one slot."""


def drawn(*shape: int, seed: int) -> torch.Tensor:
    """Normal entries on the device under test."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def check_encode() -> int:
    """Sets are equal; values to the rounding of a sum in another order."""
    for rows, d_in, d_sae, k in ENCODE:
        x, W_enc, b_enc = drawn(rows, d_in, seed=0), drawn(d_in, d_sae, seed=1), drawn(d_sae, seed=2)
        x[0] *= 0
        found, expected = topk_encode(x, W_enc, b_enc, k), topk_encode_reference(x, W_enc, b_enc, k)
        assert found.choice.backend == "triton", found.choice
        torch.testing.assert_close(found.codes.values, expected.values, atol=1e-4, rtol=1e-4)
        assert torch.equal(found.codes.indices, expected.indices), (rows, d_in, d_sae, k)
    return len(ENCODE)


def codes(rows: int, k: int, d_sae: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Codes with duplicate indices, unsorted, some of them zero, and an empty row."""
    values = drawn(rows, k, seed=3).abs()
    values[:, ::3] = 0
    values[-1] = 0
    return values, torch.randint(0, d_sae, (rows, k), generator=torch.Generator().manual_seed(4)).to(DEVICE)


def check_decode() -> int:
    """Reconstructions and their gradients by values."""
    for rows, k, d_sae, d in DECODE:
        values, indices = codes(rows, k, d_sae)
        W_dec, b_dec = drawn(d_sae, d, seed=5), drawn(d, seed=6)
        expected = sparse_decode_reference(values, indices, W_dec, b_dec)
        torch.testing.assert_close(sparse_decode(values, indices, W_dec, b_dec), expected, atol=1e-4, rtol=1e-4)
    return len(DECODE)


def check_scatter() -> int:
    """What each latent gathers, with latents that never fire."""
    for rows, k, d_sae, d in DECODE:
        values, indices = codes(rows, k, d_sae)
        dense = drawn(rows, d, seed=7)
        expected = scattered_product_reference(values, indices, dense, d_sae)
        torch.testing.assert_close(scattered_product(values, indices, dense, d_sae), expected, atol=1e-4, rtol=1e-4)
    return len(DECODE)


if __name__ == "__main__":
    counted = {
        "topk_encode": check_encode(),
        "sparse_decode": check_decode(),
        "scattered_product": check_scatter(),
    }
    sys.stdout.write("".join(f"{name} {n}\n" for name, n in counted.items()))
