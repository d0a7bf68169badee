"""BatchTopK and thresholds against their definitions written out."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.encoder_pack import pack_encoder
from kernels.selective_encode import (
    batch_topk_encode,
    batch_topk_encode_reference,
    threshold_encode,
    threshold_encode_reference,
)


def problem(rows, d_in, d_sae, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=draw) for shape in ((rows, d_in), (d_in, d_sae), (d_sae,)))


def written_out(codes, d_sae):
    return torch.zeros(len(codes.values), d_sae).scatter_add(1, codes.indices, codes.values)


def pre_activations(rows):
    """Inputs whose pre-activations are these rows."""
    return torch.eye(len(rows)), torch.tensor(rows), torch.zeros(len(rows[0]))


def test_the_largest_of_the_whole_batch_are_kept():
    x, W_enc, b_enc = pre_activations([[3.0, 2.5, 0.5], [0.2, 0.1, 2.0]])
    codes = batch_topk_encode(x, W_enc, b_enc, 1)
    torch.testing.assert_close(written_out(codes, 3), torch.tensor([[3.0, 2.5, 0.0], [0.0, 0.0, 0.0]]))


def test_a_row_that_fires_on_more_than_was_asked_first_gets_them_all():
    x, W_enc, b_enc = problem(40, 8, 300)
    x[7] *= 100
    expected = batch_topk_encode_reference(x, W_enc, b_enc, 2)
    assert (expected[7] > 0).sum() > 40
    torch.testing.assert_close(written_out(batch_topk_encode(x, W_enc, b_enc, 2), 300), expected, atol=1e-3, rtol=1e-5)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(6, 150))
def test_batch_topk_is_its_definition(seed, k, d_sae):
    x, W_enc, b_enc = problem(5, 7, d_sae, seed)
    found = written_out(batch_topk_encode(x, W_enc, b_enc, k), d_sae)
    torch.testing.assert_close(found, batch_topk_encode_reference(x, W_enc, b_enc, k), atol=1e-4, rtol=1e-4)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.floats(0, 4), st.integers(1, 150), st.integers(1, 8))
def test_thresholds_are_their_definition(seed, level, d_sae, expected):
    x, W_enc, b_enc = problem(5, 7, d_sae, seed)
    threshold = level * torch.rand(d_sae, generator=torch.Generator().manual_seed(seed))
    found = written_out(threshold_encode(x, W_enc, b_enc, threshold, expected), d_sae)
    torch.testing.assert_close(found, threshold_encode_reference(x, W_enc, b_enc, threshold), atol=1e-4, rtol=1e-4)


def test_a_threshold_does_not_depend_on_the_batch():
    x, W_enc, b_enc = problem(6, 9, 120)
    threshold = torch.full((120,), 1.5)
    whole = written_out(threshold_encode(x, W_enc, b_enc, threshold), 120)
    alone = torch.cat([written_out(threshold_encode(row[None], W_enc, b_enc, threshold), 120) for row in x])
    torch.testing.assert_close(whole, alone)


def test_a_negative_threshold_is_refused():
    with pytest.raises(ValueError, match="0 or more"):
        threshold_encode(*problem(2, 3, 4), torch.full((4,), -0.1))


def test_gradients_of_batch_topk_are_those_of_its_definition():
    leaves = [one.requires_grad_() for one in problem(6, 8, 90)]
    weight = torch.randn(6, 90, generator=torch.Generator().manual_seed(1))
    (written_out(batch_topk_encode(*leaves, 3), 90) * weight).sum().backward()
    found = [leaf.grad.clone() for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    (batch_topk_encode_reference(*leaves, 3) * weight).sum().backward()
    for leaf, grad in zip(leaves, found, strict=True):
        torch.testing.assert_close(grad, leaf.grad, atol=1e-4, rtol=1e-4)


def test_thresholds_with_a_pack_are_their_definition_and_a_stale_one_is_refused():
    x, W_enc, b_enc = problem(90, 16, 3000)
    threshold = torch.rand(3000, generator=torch.Generator().manual_seed(2))
    pack = pack_encoder(W_enc, b_enc, threshold)
    found = written_out(threshold_encode(x, W_enc, b_enc, threshold, pack=pack), 3000)
    torch.testing.assert_close(found, threshold_encode_reference(x, W_enc, b_enc, threshold), atol=1e-4, rtol=1e-4)
    threshold.mul_(2)
    with pytest.raises(ValueError, match="changed since"):
        threshold_encode(x, W_enc, b_enc, threshold, pack=pack)
