"""The alignment of two texts: complete, in order, as long as can be, the same both ways."""

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import token_alignment
from analysis.token_alignment import align
from capture.errors import UserError

few_tokens = st.lists(st.sampled_from([" a", " the", ".", "\n", "🙂", ""]), max_size=12)
any_tokens = st.lists(st.text(max_size=4), max_size=8)
sides = st.tuples(few_tokens, few_tokens) | st.tuples(any_tokens, any_tokens)


def common_pairs(left, right):
    found = align(left, right)
    return [pair for pair in zip(found.left, found.right, strict=True) if None not in pair]


@given(sides)
def test_every_token_stands_once_and_in_order(pair):
    found = align(*pair)
    for side, tokens in zip((found.left, found.right), pair, strict=True):
        assert [place for place in side if place is not None] == list(range(len(tokens)))


@given(sides)
def test_paired_tokens_have_the_same_text(pair):
    left, right = pair
    assert all(left[i] == right[j] for i, j in common_pairs(left, right))


@given(sides)
def test_no_alignment_has_more_common_tokens(pair):
    left, right = pair

    @cache
    def longest(i, j):
        if i == len(left) or j == len(right):
            return 0
        if left[i] == right[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    assert len(common_pairs(left, right)) == longest(0, 0)


@given(sides)
def test_exchanging_the_texts_pairs_the_same_tokens(pair):
    left, right = pair
    assert common_pairs(right, left) == [(j, i) for i, j in common_pairs(left, right)]


@given(any_tokens)
def test_a_text_is_aligned_with_itself(tokens):
    assert all(align(tokens, tokens).is_common)


def test_where_texts_part_the_left_stands_first():
    found = align(["The", " cat", " sat"], ["The", " dog", " sat", "."])
    assert found.left == (0, 1, None, 2, None)
    assert found.right == (0, None, 1, 2, 3)
    assert found.is_common == (True, False, False, True, False)


def test_texts_too_long_to_align_get_a_sentence(monkeypatch):
    monkeypatch.setattr(token_alignment, "MAX_CELLS", 8)
    assert all(align(["a"] * 50, ["a"] * 50).is_common)
    with pytest.raises(UserError, match="too long to be aligned"):
        align(["a", "b", "c"], ["x", "y", "z"])
