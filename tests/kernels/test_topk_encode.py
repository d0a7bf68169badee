"""`topk_encode` against the float32 reference: sets, values, ties, certificates, gradients; the Triton path too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels import backend, encoder_pack
from kernels.backend import OVERRIDE
from kernels.certificate import RESULT_ROUNDING, product_error, row_norms
from kernels.encoder_pack import CPU_CHUNK, pack_encoder
from kernels.topk_encode import topk_encode, topk_encode_reference

SHAPES = [
    (1, 1, 1, 1),
    (3, 5, 64, 64),
    (7, 33, 65, 31),
    (5, 768, 200, 17),
    (513, 16, 130, 3),
    (4, 24, 9000, 32),
    (3, 8, 700, 150),
]
"""Rows, d_in, d_sae, k: k at both ends and no power of two, d = 768, a row more than a block, several tiles."""
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _bfloat16_for_every_shape(monkeypatch):
    """The small shapes of tests would be multiplied in float32."""
    monkeypatch.setattr(backend, "LATENTS_PER_K", 0)
    monkeypatch.setattr(backend, "ROWS_WORTH_PACKING", 0)


def problem(rows, d_in, d_sae, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(*shape, generator=draw) for shape in ((rows, d_in), (d_in, d_sae), (d_sae,)))


def assert_same(found, expected, W_enc, x):
    """Equal sets; float32 values up to the rounding of sums taken in another order."""
    scale = float(x.norm(dim=1).max() * W_enc.norm(dim=0).max()) + 1
    torch.testing.assert_close(found.values, expected.values, atol=4e-7 * scale, rtol=1e-5)
    assert torch.equal(found.indices, expected.indices)


@pytest.mark.parametrize(("rows", "d_in", "d_sae", "k"), SHAPES)
@pytest.mark.parametrize("in_bf16", [True, False], ids=["bf16 tiles", "float32 tiles"])
def test_the_codes_are_those_of_the_reference(rows, d_in, d_sae, k, in_bf16, monkeypatch):
    for module in (backend, encoder_pack):
        monkeypatch.setattr(module, "has_fast_bf16", lambda: in_bf16)
    monkeypatch.setattr(encoder_pack, "TILE", 4096)
    x, W_enc, b_enc = problem(rows, d_in, d_sae)
    found = topk_encode(x, W_enc, b_enc, k)
    assert found.choice.backend == "cpu"
    assert_same(found.codes, topk_encode_reference(x, W_enc, b_enc, k), W_enc, x)


def test_the_closed_form_of_three_latents():
    W_enc = torch.tensor([[1.0, 0.0, 0.6], [0.0, 1.0, 0.8]])
    x, b_enc = torch.tensor([[3.0, 4.0]]), torch.zeros(3)
    codes = topk_encode(x, W_enc, b_enc, 2).codes
    torch.testing.assert_close(codes.values, torch.tensor([[5.0, 4.0]]))
    assert codes.indices.tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("pre", "k", "expected"), [((0.5, -0.2, 1.5, 0.1), 3, [1.5, 0.5, 0.1]), ((-1.0, -2.0, -3.0), 2, [0.0, 0.0])]
)
def test_a_row_without_enough_positive_pre_activations_ends_in_zeros(pre, k, expected):
    codes = topk_encode(torch.ones(1, 1), torch.tensor([pre]), torch.zeros(len(pre)), k).codes
    torch.testing.assert_close(codes.values, torch.tensor([expected]))
    assert codes.indices[codes.values == 0].tolist() == [0] * expected.count(0.0)


def test_equal_pre_activations_go_to_the_lower_index():
    W_enc = torch.ones(4, 300)
    codes = topk_encode(torch.ones(2, 4), W_enc, torch.zeros(300), 5).codes
    assert codes.indices.tolist() == [[0, 1, 2, 3, 4]] * 2


def test_a_row_with_too_many_candidates_is_redone_and_counted():
    x, W_enc, _ = problem(6, 32, 2000)
    x[2] = 0
    found = topk_encode(x, W_enc, torch.ones(2000), 4)
    assert found.n_redone == 1
    assert_same(found.codes, topk_encode_reference(x, W_enc, torch.ones(2000), 4), W_enc, x)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
def test_a_row_that_is_not_finite_gets_the_references_answer_and_the_others_their_own(bad):
    x, W_enc, b_enc = problem(4, 24, 300)
    x[1, 3] = bad
    found, expected = topk_encode(x, W_enc, b_enc, 6), topk_encode_reference(x, W_enc, b_enc, 6)
    assert found.n_redone == 1
    torch.testing.assert_close(found.codes.values, expected.values, equal_nan=True, atol=1e-5, rtol=1e-5)
    assert torch.equal(found.codes.indices, expected.indices)


def test_no_row_at_all_gives_no_codes():
    codes = topk_encode(torch.zeros(0, 8), torch.ones(8, 70), torch.zeros(70), 3).codes
    assert codes.values.shape == codes.indices.shape == (0, 3)


def test_strided_inputs_are_read_as_they_lie():
    x, W_enc, b_enc = problem(20, 24, 300)
    strided = topk_encode(x[::2], W_enc[:, ::3], b_enc[::3], 5).codes
    assert_same(strided, topk_encode_reference(x[::2], W_enc[:, ::3], b_enc[::3], 5), W_enc, x)


def test_a_stale_pack_is_refused():
    x, W_enc, b_enc = problem(2, 8, 70)
    pack = pack_encoder(W_enc, b_enc)
    topk_encode(x, W_enc, b_enc, 2, pack=pack)
    W_enc.mul_(2)
    with pytest.raises(ValueError, match="changed since"):
        topk_encode(x, W_enc, b_enc, 2, pack=pack)


@pytest.mark.parametrize("k", [0, 71, -1])
def test_a_k_outside_the_dictionary_is_refused(k):
    with pytest.raises(ValueError, match="k must be from 1 to d_sae = 70"):
        topk_encode(*problem(2, 8, 70), k)


def test_without_rescoring_the_values_are_those_of_bfloat16():
    x, W_enc, b_enc = problem(8, 256, 1000)
    rough = topk_encode(x, W_enc, b_enc, 4, exact=False).codes.values
    exact = topk_encode_reference(x, W_enc, b_enc, 4).values
    assert 0 < (rough - exact).abs().max() < 2**-6 * exact.max()


@settings(max_examples=60)
@given(st.integers(0, 10**6), st.sampled_from([1e-20, 1e-3, 1.0, 1e6]), st.sampled_from([0.0, 1e-2, 10.0]))
def test_the_certificate_covers_every_product(seed, scale, bias_scale):
    x, W_enc, b_enc = problem(9, 40, 128, seed)
    x, b_enc = x * scale, b_enc * bias_scale
    pack = pack_encoder(W_enc, b_enc)
    (tile,) = pack.tiles
    low = tile.multiply(x.bfloat16()).double()
    true = x.double() @ W_enc.double() + b_enc.double()
    error = product_error(row_norms(x, x.bfloat16(), pack), tile.bounds).double().repeat(1, CPU_CHUNK)
    assert ((low - true).abs() <= error + RESULT_ROUNDING * low.abs()).all()


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(40, 400), st.booleans())
def test_codes_do_not_depend_on_how_rows_are_batched(seed, k, d_sae, has_ties):
    x, W_enc, _ = problem(11, 12, d_sae, seed)
    W_enc = W_enc.round() if has_ties else W_enc
    x = x.round() if has_ties else x
    whole = topk_encode(x, W_enc, torch.zeros(d_sae), k).codes
    alone = [topk_encode(row[None], W_enc, torch.zeros(d_sae), k).codes for row in x]
    assert torch.equal(whole.indices, torch.cat([one.indices for one in alone]))
    torch.testing.assert_close(whole.values, torch.cat([one.values for one in alone]))


def test_gradients_are_those_of_the_dense_formula():
    leaves = [one.requires_grad_() for one in problem(6, 16, 150)]
    weight = torch.randn(6, 9, generator=torch.Generator().manual_seed(1))
    (topk_encode(*leaves, 9).codes.values * weight).sum().backward()
    found = [leaf.grad.clone() for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    (topk_encode_reference(*leaves, 9).values * weight).sum().backward()
    for leaf, grad in zip(leaves, found, strict=True):
        torch.testing.assert_close(grad, leaf.grad, atol=1e-4, rtol=1e-4)


def test_the_override_and_the_reason_are_told(monkeypatch):
    x, W_enc, b_enc = problem(2, 8, 70)
    monkeypatch.setenv(OVERRIDE, "reference")
    choice = topk_encode(x, W_enc, b_enc, 2).choice
    assert (choice.backend, OVERRIDE in choice.reason) == ("reference", True)
    monkeypatch.setenv(OVERRIDE, "magic")
    with pytest.raises(ValueError, match="must be one of reference, cpu, triton"):
        topk_encode(x, W_enc, b_enc, 2)


def test_the_triton_kernels_agree_in_their_interpreter():
    """In a process of its own: the interpreter is chosen when a kernel is defined, and for all kernels."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", OVERRIDE: "triton", "PYTHONPATH": str(ROOT)}
    script = ROOT / "tests" / "kernels" / "triton_cases.py"
    done = subprocess.run([sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split() == ["topk_encode", "5", "sparse_decode", "4", "scattered_product", "4"]


def test_a_pack_of_other_weights_at_the_same_place_or_written_behind_torchs_back_is_refused():
    x, W_enc, b_enc = problem(2, 8, 70)
    pack = pack_encoder(W_enc, b_enc)
    W_enc.data.mul_(2)
    with pytest.raises(ValueError, match="changed since"):
        topk_encode(x, W_enc, b_enc, 2, pack=pack)
    with pytest.raises(ValueError, match="of other weights"):
        topk_encode(x, W_enc.clone(), b_enc, 2, pack=pack)


def test_weights_made_in_inference_mode_are_encoded_and_not_packed():
    with torch.inference_mode():
        x, W_enc, b_enc = (one.clone() for one in problem(3, 8, 300))
        assert_same(topk_encode(x, W_enc, b_enc, 4).codes, topk_encode_reference(x, W_enc, b_enc, 4), W_enc, x)
        with pytest.raises(ValueError, match="inference mode cannot be packed"):
            pack_encoder(W_enc, b_enc)


@pytest.mark.parametrize("is_packed", [True, False])
@pytest.mark.parametrize("kind", ["near ties", "huge norms", "huge biases", "few positive", "all negative", "tiny"])
def test_hard_rows_get_the_references_set(kind, is_packed):
    x, W_enc, b_enc = problem(40, 48, 9000)
    if kind == "near ties":
        W_enc = W_enc[:, :90].repeat(1, 100) * (
            1 + 1e-4 * torch.randn(9000, generator=torch.Generator().manual_seed(1))
        )
    x = x * {"huge norms": 1e12, "tiny": 1e-30}.get(kind, 1.0)
    b_enc = b_enc * {"huge biases": 1e3, "tiny": 1e-30}.get(kind, 1.0)
    b_enc = b_enc - {"few positive": 22.0, "all negative": 1e3}.get(kind, 0.0)
    pack = pack_encoder(W_enc, b_enc) if is_packed else None
    found, expected = topk_encode(x, W_enc, b_enc, 16, pack=pack).codes, topk_encode_reference(x, W_enc, b_enc, 16)
    # Float32 rounds two nearly equal ones either way, so the float64 pre-activations of both sets are compared.
    true = (x.double() @ W_enc.double() + b_enc.double()).relu()
    scale = x.norm(dim=1).max().double() * W_enc.norm(dim=0).max() + b_enc.abs().max()
    kept = [true.gather(1, one.indices) * (one.values > 0) for one in (found, expected)]
    torch.testing.assert_close(*(one.sort(1).values for one in kept), atol=float(4e-7 * scale), rtol=0)
    assert (found.values > 0).sum() == (expected.values > 0).sum()


def test_a_row_that_float32_redoes_among_many_keeps_its_place():
    x, W_enc, b_enc = problem(1500, 16, 300)
    x[[3, 700, 1499]] = float("nan")
    found = topk_encode(x, W_enc, b_enc, 5)
    assert found.n_redone == 3
    sound = ~x.isnan().any(dim=1)
    expected = topk_encode_reference(x, W_enc, b_enc, 5)
    assert torch.equal(found.codes.indices[sound], expected.indices[sound])
    assert found.codes.values[~sound].isnan().all()
