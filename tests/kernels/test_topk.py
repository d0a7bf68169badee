"""`topk` against a stable sort: ties, NaN, infinity, k at both ends, strides."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kernels.topk import topk, topk_reference

odd = st.sampled_from([0.0, -0.0, 1.0, 1.0, -2.5, float("inf"), -float("inf"), float("nan"), 3e38, 1e-45])


@given(st.lists(odd, min_size=1, max_size=40), st.data())
def test_values_and_indices_are_those_of_a_stable_sort(row, data):
    k = data.draw(st.integers(1, len(row)))
    x = torch.tensor([row, row[::-1]])
    found, expected = topk(x, k), topk_reference(x, k)
    torch.testing.assert_close(found.values, expected.values, equal_nan=True, rtol=0, atol=0)
    assert torch.equal(found.indices, expected.indices)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 257), (2, 5, 64), (0, 9)])
def test_any_shape_and_dtype(shape, dtype):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    for k in {1, shape[-1] // 2 or 1, shape[-1]}:
        assert torch.equal(topk(x, k).indices, topk_reference(x, k).indices)
        assert torch.equal(topk(x.transpose(0, -1).contiguous().transpose(0, -1), k).values, topk(x, k).values)


@pytest.mark.parametrize("k", [0, 10])
def test_a_k_outside_the_row_is_refused(k):
    with pytest.raises(ValueError, match="from 1 to 9"):
        topk(torch.zeros(2, 9), k)
