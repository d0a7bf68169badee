"""Decoding and its gradients against the dense formula, and the decoder's unit norms."""

import pytest
import torch

from kernels.decoder_norm import normalise_directions, project_gradient
from kernels.sampled_product import sampled_product, sampled_product_reference
from kernels.scattered_product import scattered_product, scattered_product_reference
from kernels.sparse_decode import check_shapes, sparse_decode, sparse_decode_reference

SHAPES = [(1, 1, 1, 1), (5, 31, 40, 33), (129, 3, 10, 768), (4, 7, 1000, 16)]
"""Rows, k, d_sae, d_in: more entries than 128 and no multiple of it, d = 768, k no power of two."""


def codes(rows, k, d_sae, dtype=torch.float32):
    """Unsorted, with duplicates where k is near d_sae, zero values, and an empty row at the end."""
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(rows, k, generator=draw).abs()
    values[:, ::3] = 0
    values[-1] = 0
    return values.to(dtype), torch.randint(0, d_sae, (rows, k), generator=draw)


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("rows", "k", "d_sae", "d_in"), SHAPES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
def test_the_reconstruction_is_that_of_the_codes_written_out(rows, k, d_sae, d_in, dtype, tolerance):
    values, indices = codes(rows, k, d_sae, dtype)
    W_dec, b_dec = normal(d_sae, d_in), normal(d_in, seed=2)
    expected = sparse_decode_reference(values.float(), indices, W_dec, b_dec)
    found = sparse_decode(values, indices, W_dec, b_dec)
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, atol=tolerance * float(expected.abs().max()), rtol=tolerance)


@pytest.mark.parametrize(("rows", "k", "d_sae", "d_in"), SHAPES)
def test_gradients_are_those_of_the_dense_formula(rows, k, d_sae, d_in):
    values, indices = codes(rows, k, d_sae)
    weight = normal(rows, d_in, seed=3)
    found, expected = [], []
    for decode, kept in ((sparse_decode, found), (sparse_decode_reference, expected)):
        leaves = [values.clone().requires_grad_(), normal(d_sae, d_in).requires_grad_(), normal(d_in, seed=2)]
        leaves[2].requires_grad_()
        (decode(leaves[0], indices, leaves[1], leaves[2]) * weight).sum().backward()
        kept.extend(leaf.grad for leaf in leaves)
    for mine, its in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, its, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("rows", "k", "d_sae", "d_in"), SHAPES)
def test_what_each_latent_gathers_is_the_transposed_product(rows, k, d_sae, d_in):
    values, indices = codes(rows, k, d_sae)
    dense = normal(rows, d_in)
    expected = scattered_product_reference(values, indices, dense, d_sae)
    torch.testing.assert_close(scattered_product(values, indices, dense, d_sae), expected, atol=1e-5, rtol=1e-5)


def test_single_entries_of_a_product_in_any_order_and_twice():
    a, b = normal(3, 20), normal(9, 20, seed=2)
    starts, columns = torch.tensor([0, 3, 3, 5]), torch.tensor([8, 0, 8, 4, 1])
    expected = sampled_product_reference(a, b, torch.tensor([0, 0, 0, 2, 2]), columns)
    torch.testing.assert_close(sampled_product(a, b, starts, columns), expected)


def test_shapes_that_do_not_fit_are_refused():
    values, indices = codes(2, 3, 5)
    with pytest.raises(ValueError, match=r"must be \[rows k\]"):
        check_shapes(values, indices[:1], normal(5, 4), normal(4))


def test_an_index_outside_the_dictionary_is_refused():
    with pytest.raises(RuntimeError, match="valid range"):
        sparse_decode(torch.ones(1, 1), torch.tensor([[5]]), normal(5, 4), normal(4))


def test_a_projected_gradient_keeps_unit_norms_to_second_order():
    W_dec, grad = torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]])
    project_gradient(W_dec, grad)
    torch.testing.assert_close(grad, torch.tensor([[0.64, -0.48]]))
    for step in (1e-1, 1e-2):
        assert abs((W_dec - step * grad).norm().item() - 1) < step**2


def test_directions_get_unit_length_and_a_zero_one_stays_zero():
    W_dec = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    normalise_directions(W_dec)
    torch.testing.assert_close(W_dec, torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
