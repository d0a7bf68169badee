"""Log-spaced bins and their quantiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.log_histogram import LogBins, quantile

BINS = LogBins(-8, 8, 4)
magnitudes = arrays(np.float32, st.integers(1, 40), elements=st.floats(0.0, 300.0, width=32))


@given(magnitudes)
def test_each_magnitude_lies_between_the_edges_of_its_bin(x):
    index, edges = BINS.index(x), BINS.edges()
    inside = np.clip(x, 0, np.float32(255.9))
    assert (edges[index] <= inside).all()
    assert (inside < edges[index + 1]).all()


@given(magnitudes, magnitudes)
def test_counts_of_two_batches_add_up_to_the_counts_of_both(a, b):
    np.testing.assert_array_equal(BINS.count(a) + BINS.count(b), BINS.count(np.concatenate([a, b])))


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(-300, 300, width=32)))
def test_signed_counts_are_those_of_either_sign_end_to_end(x):
    signed = BINS.count_signed(x)
    np.testing.assert_array_equal(signed[BINS.n_bins :], BINS.count(x[~np.signbit(x)]))
    np.testing.assert_array_equal(signed[: BINS.n_bins][::-1], BINS.count(np.abs(x[np.signbit(x)])))


def test_signed_edges_grow_and_mirror_each_other():
    edges = BINS.signed_edges()
    assert len(edges) == 2 * BINS.n_bins + 1
    assert (np.diff(edges) > 0).all()
    np.testing.assert_array_equal(edges, -edges[::-1])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_quantile_is_within_one_bin_of_the_sorted_value(share):
    x = np.abs(np.random.default_rng(0).normal(size=5001)).astype(np.float32)
    exact = np.quantile(x, share)
    assert quantile(BINS.count(x), BINS.edges(), share) == pytest.approx(exact, rel=2**-4, abs=2**-8)


def test_columns_are_counted_apart():
    x = np.array([[1.0, 4.0], [1.0, 5.0], [2.0, 4.0]], np.float32)
    counts = BINS.count_by_column(x)
    np.testing.assert_array_equal(counts[0], BINS.count(x[:, 0].copy()))
    np.testing.assert_array_equal(counts[1], BINS.count(x[:, 1].copy()))


def test_the_quantile_of_nothing_is_not_a_number():
    assert np.isnan(quantile(np.zeros(BINS.n_bins, np.int64), BINS.edges(), 0.5))
