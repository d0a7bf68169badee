"""Logistic regression: optimality, and the facts about the loss of a single latent (acceptance fact 12)."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from sae.logistic_regression import cross_entropy, fit_each, fit_penalised

DRAW = np.random.default_rng(0)
Y = np.arange(40) % 2 == 0


def losses(columns, y=Y):
    return fit_each(csr_matrix(np.asarray(columns, float).T), np.asarray(y, bool)).loss


def noisy(seed=0, n=40):
    draw = np.random.default_rng(seed)
    return (Y[:n] * 0.8 + draw.normal(size=n)) * (draw.random(n) < 0.7)


def test_a_constant_latent_on_balanced_classes_costs_ln_2():
    np.testing.assert_allclose(losses([np.zeros(40), np.full(40, 7.0)]), np.log(2), atol=1e-12)


def test_a_latent_that_separates_the_classes_costs_nearly_nothing():
    assert losses([Y * 3.0])[0] < 1e-3
    assert losses([np.where(Y, 1e-4, 0) + 5])[0] < 1e-3


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.floats(1e-3, 1e3), st.booleans())
def test_the_loss_of_a_latent_does_not_change_with_its_scale_or_sign(seed, scale, flips):
    latent = noisy(seed)
    np.testing.assert_allclose(losses([latent * (-scale if flips else scale)]), losses([latent]), rtol=1e-6)


def test_more_latents_can_only_lower_the_least_loss():
    columns = [noisy(seed) for seed in range(12)]
    least = [losses(columns[: n + 1]).min() for n in range(12)]
    assert least == sorted(least, reverse=True)
    np.testing.assert_allclose(losses(columns), [losses([one])[0] for one in columns], rtol=1e-9)


def test_one_input_is_where_no_other_slope_or_offset_is_better():
    """The equations written out: a fine grid around what was found, in the latent's own units."""
    latent = noisy(3)
    found = fit_each(csr_matrix(latent[:, None]), Y)
    w, b = np.meshgrid(found.slope[0] + np.linspace(-1, 1, 41), found.offset[0] + np.linspace(-1, 1, 41))
    odds = 1 / (1 + np.exp(-(w[..., None] * latent + b[..., None])))
    around = -(Y * np.log(odds) + ~Y * np.log(1 - odds)).mean(axis=-1)
    assert np.unravel_index(around.argmin(), around.shape) == (20, 20)
    assert found.loss[0] == pytest.approx(around.min(), abs=1e-9)


@pytest.mark.parametrize("make", [np.asarray, csr_matrix])
def test_the_penalised_fit_has_no_slope_left(make):
    x, y = DRAW.normal(size=(60, 7)) * (DRAW.random((60, 7)) < 0.6), DRAW.random(60) < 0.4
    w, b = fit_penalised(make(x), y, C=1.0)
    wrong = 1 / (1 + np.exp(-(x @ w + b))) - y
    np.testing.assert_allclose(w, -x.T @ wrong, atol=1e-3)
    assert wrong.sum() == pytest.approx(0, abs=1e-3)


def test_cross_entropy_is_its_formula_and_survives_large_logits():
    logits, y = np.array([0.0, 2.0, -800.0]), np.array([True, False, True])
    np.testing.assert_allclose(cross_entropy(logits, y), [np.log(2), np.log(1 + np.e**2), 800])
