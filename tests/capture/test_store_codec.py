import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capture.hook_point import HookPoint
from capture.intervention import AddVector, Entry, ReplaceEntries
from capture.store_codec import DTYPES, capture_key, from_bytes, to_bytes

POINT = HookPoint(0, "resid_post")


@st.composite
def tensors(draw):
    """Tensors of any kept dtype and any rank, of random bits: NaN payloads, infinities and -0.0 included."""
    dtype = DTYPES[draw(st.sampled_from(sorted(DTYPES)))]
    shape = draw(st.lists(st.integers(0, 4), max_size=4))
    n_bytes = math.prod(shape) * dtype.itemsize
    raw = draw(st.binary(min_size=n_bytes, max_size=n_bytes))
    if dtype is torch.bool:
        raw = bytes(byte & 1 for byte in raw)
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape) if raw else torch.empty(shape, dtype=dtype)


@given(tensors())
def test_a_tensor_comes_back_bit_for_bit(tensor):
    header, data = to_bytes(tensor)
    again = from_bytes(header, data)
    assert (again.dtype, again.shape) == (tensor.dtype, tensor.shape)
    assert to_bytes(again) == (header, data)


def test_bfloat16_values_are_not_rounded():
    values = torch.tensor([1.0078125, -3.4e38, 1e-40, float("inf")], dtype=torch.bfloat16)
    assert torch.equal(from_bytes(*to_bytes(values)), values)


def test_a_view_that_is_not_contiguous_comes_back_in_its_own_order():
    values = torch.arange(12.0).reshape(3, 4).T[::2]
    assert torch.equal(from_bytes(*to_bytes(values)), values)


def test_a_tensor_that_was_read_can_be_written_to():
    again = from_bytes(*to_bytes(torch.zeros(3)))
    again += 1
    assert again.tolist() == [1.0, 1.0, 1.0]


def test_bytes_that_do_not_fill_the_shape_are_refused():
    header, data = to_bytes(torch.zeros(3))
    with pytest.raises(ValueError, match="11 bytes do not fill"):
        from_bytes(header, data[:-1])


def test_a_complex_tensor_is_refused():
    with pytest.raises(ValueError, match="complex64"):
        to_bytes(torch.zeros(2, dtype=torch.complex64))


recipes = st.tuples(
    st.text(max_size=6),
    st.sampled_from(["float32", "bfloat16"]),
    st.sampled_from(["raw", "folded"]),
    st.lists(st.integers(0, 12), max_size=4),
    st.sampled_from([HookPoint(layer, site) for layer in range(3) for site in ("resid_post", "mlp_post")]),
    st.lists(st.floats(-2, 2), max_size=2),
)


def key_of(recipe):
    return capture_key(*recipe[:5], [AddVector(POINT, (1.0, 2.0), strength) for strength in recipe[5]])


@given(recipes, recipes)
def test_two_captures_share_a_key_only_if_their_recipes_are_equal(one, other):
    # repr tells -0.0 from 0.0, as the written recipe does.
    assert (key_of(one) == key_of(other)) == (repr(one) == repr(other))


@given(recipes)
def test_a_key_is_32_hex_digits_and_the_same_each_time(recipe):
    assert key_of(recipe) == key_of(recipe)
    assert len(bytes.fromhex(key_of(recipe))) == 16


def test_the_kind_of_token_sequence_does_not_change_the_key():
    assert capture_key("m", "float32", "raw", (1, 2), POINT) == capture_key("m", "float32", "raw", [1, 2], POINT)


def test_another_intervention_gives_another_key():
    edits = [ReplaceEntries(POINT, (Entry(0, 1, value),)) for value in (0.0, 0.5)]
    assert len({capture_key("m", "float32", "raw", (1,), POINT, [edit]) for edit in edits}) == 2


def test_the_key_of_a_recipe_stays_what_it_was():
    assert capture_key("m", "float32", "raw", (0, 7), POINT) == "2bdeda0709f93ea8459c2d98a0fd2feb"
