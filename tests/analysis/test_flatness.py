"""Flatness and rotation: closed forms of the FlatQuant paper's definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.flatness import channel_norms, flatness, relative_flatness, rotate, rotation_factors
from analysis.magnitudes import token_smoothness

norms = arrays(np.float64, st.integers(1, 12), elements=st.floats(0, 100))


@pytest.mark.parametrize(("d", "expected"), [((1, 0, 0, 0), 1.0), ((3, 4), 0.70889), ((2, 2, 2), 0.0)])
def test_flatness_has_its_closed_forms(d, expected):
    assert float(flatness(np.array(d, float))) == pytest.approx(expected, abs=5e-6)


@given(norms)
def test_flatness_squared_is_twice_n2_squared_less_twice_n2_n1_over_root_n(d):
    n1, n2 = d.sum(), np.sqrt((d**2).sum())
    expected = max(2 * n2**2 - 2 * n2 * n1 / np.sqrt(len(d)), 0.0)
    assert float(flatness(d)) ** 2 == pytest.approx(expected, abs=1e-9 * (1 + n2**2))


@given(norms, st.floats(0.1, 10))
def test_scaling_scales_flatness_and_leaves_its_relative_form(d, scale):
    assert float(flatness(scale * d)) == pytest.approx(scale * float(flatness(d)), rel=1e-9, abs=1e-9)
    assert float(relative_flatness(scale * d)) == pytest.approx(float(relative_flatness(d)), rel=1e-6, abs=1e-7)


@given(norms)
def test_relative_flatness_stays_in_its_range(d):
    assert 0 <= float(relative_flatness(d)) <= np.sqrt(2 - 2 / np.sqrt(len(d))) + 1e-7


@given(norms, st.randoms(use_true_random=False))
def test_permuting_channels_changes_no_flatness(d, random):
    order = random.sample(range(len(d)), len(d))
    assert float(flatness(d[order])) == pytest.approx(float(flatness(d)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("d", [1, 2, 3, 8, 12, 48, 96, 256, 7])
def test_rotation_is_orthogonal_and_is_the_explicit_kronecker_product(d):
    a, b = rotation_factors(d)
    explicit = np.kron(a, b)
    np.testing.assert_allclose(explicit @ explicit.T, np.eye(d), atol=1e-12)
    x = np.random.default_rng(d).normal(size=(5, d)).astype(np.float32)
    np.testing.assert_allclose(rotate(x), x.astype(float) @ explicit, atol=1e-12)


def test_rotation_spreads_a_one_hot_evenly():
    one_hot = np.eye(64, dtype=np.float32)[:1] * 5
    rotated = rotate(one_hot).astype(np.float32)
    assert token_smoothness(rotated, np.abs(rotated).max(axis=1))[0] == pytest.approx(1.0, abs=1e-6)


def test_rotation_flattens_a_loud_channel():
    x = np.random.default_rng(0).normal(size=(256, 128)).astype(np.float32)
    x[:, 9] *= 50
    raw, rotated = flatness(channel_norms(x)), flatness(channel_norms(rotate(x)))
    assert float(rotated) < 0.2 * float(raw)


def test_channel_norms_are_those_of_numpy():
    x = np.random.default_rng(1).normal(size=(9, 5)).astype(np.float32)
    np.testing.assert_allclose(channel_norms(x), np.linalg.norm(x.astype(float), axis=0), rtol=1e-12)
