"""`kernels.explain`: what a call would do is what it does."""

import pytest
import torch

import kernels
from kernels import backend
from kernels.backend import OVERRIDE
from kernels.encoder_pack import pack_encoder
from kernels.explanation import KERNELS, explain
from kernels.row_counts import row_count
from kernels.topk_encode import topk_encode


@pytest.mark.parametrize(("rows", "d_sae", "k"), [(3, 200, 20), (3, 5000, 2), (80, 5000, 2)])
@pytest.mark.parametrize("is_fast", [True, False])
def test_what_is_explained_is_what_runs(rows, d_sae, k, is_fast, monkeypatch):
    monkeypatch.setattr(backend, "has_fast_bf16", lambda: is_fast)
    made = topk_encode(torch.ones(rows, 4), torch.rand(4, d_sae), torch.zeros(d_sae), k).choice
    told = explain("topk_encode", rows, 4, d_sae, k)
    assert (told.backend, told.reason) == (made.backend, made.reason)
    assert told.is_certified == (made.dtype == torch.bfloat16)
    assert ("bfloat16" in told.tiling) == told.is_certified


def test_a_small_dictionary_is_multiplied_in_float32_and_says_why(monkeypatch):
    monkeypatch.setattr(backend, "has_fast_bf16", lambda: True)
    assert "scoring again costs more" in explain("topk_encode", 512, 64, 1000, 32).reason
    assert "multiplied in bfloat16" in explain("topk_encode", 512, 64, 4096, 32).reason


def test_rows_that_are_redone_are_counted():
    before = row_count("topk_encode", "cpu")
    topk_encode(torch.zeros(5, 8), torch.ones(8, 900), torch.ones(900), 2)
    told = explain("topk_encode", 5, 8, 900, 2)
    assert (told.n_rows - before.n_rows, told.n_redone - before.n_redone) == (5, 5)


def test_the_memory_of_a_pack_is_told():
    pack = pack_encoder(torch.rand(4, 128), torch.zeros(128))
    assert explain("topk_encode", 5, 4, 128, 2, pack=pack).pack_bytes == pack.n_bytes > 0


def test_every_kernel_is_explained_by_the_package_itself(monkeypatch):
    monkeypatch.setenv(OVERRIDE, "reference")
    for kernel in KERNELS:
        assert kernels.explain(kernel).backend in {"reference", "torch"}
    with pytest.raises(ValueError, match="A kernel is one of topk, topk_encode"):
        kernels.explain("magic")
    with pytest.raises(AttributeError):
        _ = kernels.nothing
