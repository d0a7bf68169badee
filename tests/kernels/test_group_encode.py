"""Group top-k against its definition written out."""

import pytest
import torch

from kernels import group_encode as module
from kernels.group_encode import group_encode, group_encode_reference
from kernels.topk import topk


def problem(rows, d_in, d_sae, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=draw) for shape in ((rows, d_in), (d_in, d_sae), (d_sae,)))


def written_out(codes, d_sae):
    return torch.zeros(len(codes.values), d_sae).scatter_add(1, codes.indices, codes.values)


@pytest.mark.parametrize(("rows", "d_in", "d_sae", "k"), [(300, 8, 60, 5), (3, 5, 7, 7), (9, 4, 31, 1), (1, 1, 1, 1)])
def test_each_group_keeps_its_largest_latent(rows, d_in, d_sae, k, monkeypatch):
    # Tiles of two groups each, so that groups of several tiles come together.
    monkeypatch.setattr(module, "TILE", max(1, 2 * d_sae // k))
    x, W_enc, b_enc = problem(rows, d_in, d_sae)
    codes = group_encode(x, W_enc, b_enc, k)
    assert codes.values.shape == (rows, k)
    torch.testing.assert_close(written_out(codes, d_sae), group_encode_reference(x, W_enc, b_enc, k))


def test_values_fall_and_equal_ones_go_to_the_lower_index():
    codes = group_encode(torch.ones(1, 1), torch.tensor([[1.0, 1.0, 3.0, 3.0, -1.0, -2.0]]), torch.zeros(6), 3)
    assert (codes.values.tolist(), codes.indices.tolist()) == ([[3.0, 1.0, 0.0]], [[2, 0, 0]])


def test_one_group_for_each_latent_is_a_top_k_of_all():
    x, W_enc, b_enc = problem(20, 6, 24)
    codes = group_encode(x, W_enc, b_enc, 24)
    torch.testing.assert_close(codes.values, topk((x @ W_enc + b_enc).relu(), 24).values)


def test_gradients_are_those_of_the_definition():
    given = [one.requires_grad_() for one in problem(12, 6, 40)]
    codes = group_encode(*given, 4)
    sparse = torch.autograd.grad((codes.values**2).sum(), given)
    dense = torch.autograd.grad((group_encode_reference(*given, 4) ** 2).sum(), given)
    for one, other in zip(sparse, dense, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


def test_groups_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="must divide d_sae = 40"):
        group_encode(*problem(2, 3, 40), 7)
