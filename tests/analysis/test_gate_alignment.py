"""Gate alignment: cosines of a neuron's two reading vectors."""

import numpy as np
import pytest

from analysis.gate_alignment import amplification, gate_cosine


def test_equal_and_opposite_vectors_have_cosines_of_one_and_minus_one():
    w = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)
    np.testing.assert_allclose(gate_cosine(w, w), 1.0, rtol=1e-12)
    np.testing.assert_allclose(gate_cosine(w, -2 * w), -1.0, rtol=1e-6)


def test_random_vectors_have_cosines_of_mean_0_and_spread_one_over_root_d_model():
    draw = np.random.default_rng(0)
    cosine = gate_cosine(*draw.normal(size=(2, 64, 20_000)).astype(np.float32))
    # Standard errors are 0.0009 and 0.0006.
    assert cosine.mean() == pytest.approx(0, abs=0.003)
    assert cosine.std() == pytest.approx(1 / 8, abs=0.002)


def test_a_vector_of_zeros_has_no_cosine():
    w = np.ones((4, 2), np.float32)
    zero = np.array([[0, 1]] * 4, np.float32)
    np.testing.assert_array_equal(np.isnan(gate_cosine(w, zero)), [True, False])


def test_amplification_is_measured_against_the_median_neuron():
    np.testing.assert_allclose(amplification(np.array([1, 2, 8], np.float32)), [0.5, 1, 4])
    assert np.isnan(amplification(np.zeros(3, np.float32))).all()
