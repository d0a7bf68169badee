"""The laws over training: the published table's check values, refits of its rows, and what few points cannot tell."""

import numpy as np
import pytest

from analysis.sparsity_laws import PUBLISHED, Law, fit_law, fit_sentence, form_of
from capture.errors import UserError

# core-methods 1.3, in percent; computed from the table's rounded coefficients.
TOKENS_B = np.array([10.0, 50.0, 100.0, 300.0, 800.0])
CHECK = {
    "ReLU 0.1B": (7.877, 6.992, 6.744, 6.472, 6.323),
    "ReLU 0.8B": (10.021, 9.225, 8.534, 7.453, 7.213),
    "ReLU 1.2B": (9.825, 9.555, 9.173, 8.165, 7.823),
    "ReLU 2.4B": (9.606, 9.434, 9.108, 7.681, 6.522),
    "SiLU 0.1B": (37.515, 39.334, 39.776, 40.236),
    "SiLU 1.2B": (32.395, 36.976, 37.574, 37.984),
}
CHECKPOINTS_B = np.geomspace(5, 800, 14)
every_row = pytest.mark.parametrize("name", PUBLISHED)


@pytest.mark.parametrize("name", CHECK)
def test_the_published_laws_give_the_check_values(name):
    wanted = CHECK[name]
    np.testing.assert_allclose(100 * PUBLISHED[name].ratio(TOKENS_B[: len(wanted)]), wanted, atol=5.01e-4)


def test_relu_falls_and_silu_rises_towards_the_limit():
    far = np.array([1e9])
    for name, law in PUBLISHED.items():
        steps = np.diff(law.ratio(CHECKPOINTS_B))
        assert (steps < 0).all() if name.startswith("ReLU") else (steps > 0).all()
        assert law.ratio(far)[0] == pytest.approx(law.limit, abs=1e-4)


@every_row
def test_fact_12_a_refit_of_a_rows_points_recovers_its_predictions(name):
    law = PUBLISHED[name]
    found = fit_law(law.form, CHECKPOINTS_B, law.ratio(CHECKPOINTS_B)).law
    between = np.geomspace(5, 800, 101)
    np.testing.assert_allclose(found.ratio(between), law.ratio(between), atol=1e-3)


def test_noisy_points_give_a_band_that_holds_the_law():
    law, noise = PUBLISHED["SiLU 0.2B"], np.random.default_rng(0)
    held = []
    for _ in range(24):
        fit = fit_law("silu", CHECKPOINTS_B, law.ratio(CHECKPOINTS_B) + noise.normal(0, 0.002, len(CHECKPOINTS_B)))
        low, high = fit.band(np.array([400.0]))
        held.append(low[0] <= law.ratio(np.array([400.0]))[0] <= high[0])
    # 95 % in the long run; 24 draws of a fair interval fall below 19 once in a thousand times.
    assert sum(held) >= 19


def test_the_band_is_the_delta_method_of_numerical_derivatives():
    law = PUBLISHED["ReLU 0.8B"]
    noise = np.random.default_rng(1).normal(0, 1e-3, len(CHECKPOINTS_B))
    fit = fit_law("relu", CHECKPOINTS_B, law.ratio(CHECKPOINTS_B) + noise)
    low, high = fit.band(TOKENS_B)
    theta = np.array([np.log(fit.law.alpha), np.log(fit.law.c), fit.law.b, fit.law.limit])
    steps = [np.eye(4)[row] * 1e-6 for row in range(4)]
    moved = [[_ratio(theta + side * step) for step in steps] for side in (1, -1)]
    jacobian = (np.array(moved[0]) - np.array(moved[1])).T / 2e-6
    spread = np.sqrt(np.diag(jacobian @ fit.covariance @ jacobian.T))
    np.testing.assert_allclose((high - low) / 2, 2.228139 * spread, rtol=1e-4)


def _ratio(theta):
    return Law("relu", np.exp(theta[0]), np.exp(theta[1]), theta[3], theta[2]).ratio(TOKENS_B)


def test_five_points_of_a_flat_curve_do_not_identify_the_law():
    noise = np.random.default_rng(2).normal(0, 0.005, 5)
    fit = fit_law("relu", [0.001, 0.004, 0.012, 0.03, 0.036], 0.3 + noise)
    assert not fit.is_identified
    assert "5 points cannot identify all 4 parameters" in fit_sentence(fit)


def test_as_many_points_as_parameters_leave_nothing_to_judge_by():
    law = PUBLISHED["SiLU 0.1B"]
    fit = fit_law("silu", TOKENS_B[:3], law.ratio(TOKENS_B[:3]))
    assert fit.band(TOKENS_B) is None
    assert fit_sentence(fit).startswith("3 points fit 3 parameters exactly")


def test_a_law_that_is_identified_says_its_limit_and_interval():
    law = PUBLISHED["SiLU 1.2B"]
    noise = np.random.default_rng(3).normal(0, 1e-4, len(CHECKPOINTS_B))
    fit = fit_law("silu", CHECKPOINTS_B, law.ratio(CHECKPOINTS_B) + noise)
    low, high = fit.intervals["A0"]
    assert low < law.limit < high
    assert f"goes to {100 * fit.law.limit:.1f} %" in fit_sentence(fit)


@pytest.mark.parametrize("form", ["relu", "silu"])
@pytest.mark.parametrize("ratios", [[0.5, 0.1, 0.4, 0.2, 0.3], [0.0] * 5, [1.0, 0.0, 0.0, 0.0, 0.0]])
def test_points_of_no_law_are_fitted_without_a_warning_and_not_identified(form, ratios):
    fit = fit_law(form, [1e-6, 0.001, 0.002, 0.5, 800.0], ratios)
    assert np.isfinite(fit.residual)
    assert not fit.is_identified
    fit.band(TOKENS_B)


def test_too_few_checkpoints_are_refused_by_number():
    with pytest.raises(UserError, match=r"4 parameters .* 3 were given"):
        fit_law("relu", [1.0, 2.0, 3.0, 3.0], [0.3, 0.2, 0.1, 0.1])


@pytest.mark.parametrize(("tokens", "ratio"), [(0.0, 0.2), (-1.0, 0.2), (np.nan, 0.2), (4.0, np.nan), (4.0, 1.5)])
def test_values_outside_their_range_are_refused(tokens, ratio):
    with pytest.raises(UserError, match="token counts above 0"):
        fit_law("silu", [1.0, 2.0, 3.0, tokens], [0.3, 0.2, 0.1, ratio])


@pytest.mark.parametrize(
    ("activation", "form"),
    {"relu": "relu", "relu2": "relu", "ReLU": "relu", "silu": "silu", "gelu_new": "silu"}.items(),
)
def test_the_activation_decides_the_form(activation, form):
    assert form_of(activation) == form
