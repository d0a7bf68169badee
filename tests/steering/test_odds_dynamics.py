"""The law of preference and utility odds: made curves are recovered, and what cannot be known is said."""

import math
from dataclasses import replace

import numpy as np
import pytest

from steering.dose import Dose
from steering.odds_curve import odds_curve, odds_words
from steering.odds_dynamics import Dynamics, OddsPoint, Side, fit_dynamics
from steering.scores import MOST_UTILITY, Interval, is_held, utility_odds

LAW = Dynamics(8.0, 3.0, 1.0, 40.0, -190.0, 0.05, Side(0.09, 1.5, True), Side(0.3, 0.8, True), 1.0, 1.0)
UP = replace(LAW, m0=0.02, below=None)
BOTH = (-2.0, -1.4, -1.0, -0.7, -0.4, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.4, 2.0)
TUNED = (0.0, 0.025, 0.05, 0.1, 0.13, 0.16, 0.2, 0.25, 0.32, 0.4, 0.8)
"""The strengths that an auto-tune tries."""


def made(law, strengths, noise=0.0):
    """Points of a law, with noise in shares of each curve's spread."""
    draw = np.random.default_rng(0)
    curves = [law.preference(strengths), law.utility(strengths)]
    curves = [one + noise * one.std() * draw.standard_normal(len(one)) for one in curves]
    return [OddsPoint(*map(float, one)) for one in zip(strengths, *curves, strict=True)]


def assert_same_curve(found, law, strengths, share=0.02):
    """Curves, and not numbers, are what a fit with noise must give back."""
    for name in ("preference", "utility"):
        ours, theirs = (getattr(one, name)(strengths) for one in (found, law))
        assert float(np.abs(ours - theirs).max()) < share * float(np.ptp(theirs))


def test_the_decay_is_one_at_m0_and_two_to_the_minus_p_at_the_root_of_lambda():
    """Check of 4.4, on either side."""
    below, above = LAW.below, LAW.above
    strengths = [LAW.m0, LAW.m0 - math.sqrt(below.scale), LAW.m0 + math.sqrt(above.scale)]
    assert LAW.decay(strengths).tolist() == pytest.approx([1.0, 2**-below.power, 2**-above.power])


def test_the_odds_are_the_formulas_of_the_law():
    """4.4, written out."""
    m, side = 0.7, LAW.above
    d = (1 + (m - 0.05) ** 2 / side.scale) ** -side.power
    assert LAW.preference([m])[0] == pytest.approx((8.0 * m + 3.0) * d + 1.0)
    assert LAW.utility([m])[0] == pytest.approx(40.0 * d - 190.0)


@pytest.mark.parametrize(("law", "strengths"), [(LAW, BOTH), (UP, TUNED)])
def test_a_made_curve_is_recovered(law, strengths):
    found = fit_dynamics(made(law, strengths))
    assert (found.r2_preference, found.r2_utility) == pytest.approx((1.0, 1.0), abs=1e-6)
    numbers = [found.alpha, found.beta, found.offset, found.beta_utility, found.offset_utility, found.m0]
    assert numbers == pytest.approx([8.0, 3.0, 1.0, 40.0, -190.0, law.m0], rel=1e-3, abs=1e-3)
    for side, wanted in ((found.below, law.below), (found.above, law.above)):
        assert (side is None) == (wanted is None)
        if side is not None:
            assert (side.scale, side.power, side.is_identified) == pytest.approx(
                (wanted.scale, wanted.power, True), rel=1e-3
            )


@pytest.mark.parametrize(("law", "strengths"), [(LAW, BOTH), (UP, TUNED)])
def test_a_made_curve_with_noise_is_recovered(law, strengths):
    assert_same_curve(fit_dynamics(made(law, strengths, 0.01)), law, strengths)


def test_one_wild_point_does_not_move_the_law():
    points = made(LAW, BOTH)
    points[11] = replace(points[11], utility=points[11].utility - 30.0)
    found = fit_dynamics(points)
    assert_same_curve(found, LAW, BOTH)
    assert found.r2_utility < 0.9


def test_the_fit_counts_alike_in_any_unit_of_strength():
    doubled = fit_dynamics([replace(one, strength=100 * one.strength) for one in made(UP, TUNED)])
    assert (doubled.alpha, doubled.above.scale) == pytest.approx((0.08, 3000.0), rel=1e-3)
    assert doubled.above.half == pytest.approx(2 + 100 * math.sqrt(0.3 * (2 ** (1 / 0.8) - 1)), rel=1e-3)


def test_a_side_with_too_few_strengths_is_not_known():
    """The three strengths below 0 are left out rather than fitted."""
    points = made(LAW, (-0.5, -0.2, -0.1, *TUNED))
    found = fit_dynamics([replace(one, utility=-1e3) if one.strength < 0 else one for one in points])
    assert found.below is None
    assert found.decay([-0.2]) == pytest.approx(found.decay([2 * found.m0 + 0.2]))


def test_a_curve_that_has_hardly_begun_to_fall_has_no_lambda():
    """(1 + m² / Λ)^−p is 1 − p m² / Λ there: p / Λ alone is known, whatever the noise."""
    for noise in (0.0, 0.01):
        found = fit_dynamics(made(replace(UP, above=Side(300.0, 2.0, True)), TUNED, noise))
        assert (found.above.is_identified, found.above.half) == (False, None)
        assert found.r2_utility > 0.99


@pytest.mark.parametrize("points", [made(UP, TUNED[:4]), [OddsPoint(m, 1.0, -5.0) for m in TUNED], []])
def test_too_few_strengths_and_odds_that_do_not_move_have_no_law(points):
    assert fit_dynamics(points) is None


def dose(strength, preference, utility, n_held=0):
    """A dose with these odds; nothing else of it is looked at."""
    one = Interval(0.0, 0.0, 0.0)
    rest = (one, 0.0, one, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, None)
    return Dose(strength, 2, one, 0.0, preference, utility, *rest, n_held)


def doses(law, strengths, n_held=0):
    return [dose(one.strength, one.preference, one.utility, n_held) for one in made(law, strengths)]


def test_the_clean_model_is_the_point_at_strength_0_where_it_is_known():
    start = made(UP, [0.0])[0]
    known = odds_curve(doses(UP, TUNED[1:]), (start.preference, start.utility))
    assert (known.layer, known.start, len(known.points)) == (2, start, len(TUNED))
    unknown = odds_curve(doses(UP, TUNED[1:]), None)
    assert unknown.start.strength == 0.025
    assert_same_curve(unknown.law, UP, TUNED[1:])


def test_the_law_is_said_in_one_sentence_with_what_is_not_known():
    start = made(UP, [0.0])[0]
    (words,) = odds_words(odds_curve(doses(UP, TUNED[1:]), (start.preference, start.utility)), "mean norms")
    assert words == (
        "Law of the odds: R² 1.00 for preference, R² 1.00 for utility, m0 0.02. "
        "Above it D is ½ at 0.663 (mean norms); Λ 0.3, p 0.8. "
        "Below it D is mirrored, for fewer than 4 strengths of that sign were tried."
    )
    few = odds_words(odds_curve(doses(UP, (0.1, 0.2)), None), "mean norms")
    assert few == [
        "The law of the odds is not identifiable: at least 4 strengths of one sign must be tried beside 0, and 2 were."
    ]


def test_a_poor_fit_is_said_to_be_one():
    wild = doses(UP, TUNED[1:])
    wild = [replace(one, utility=one.utility + (60 if n % 2 else -60)) for n, one in enumerate(wild)]
    (words,) = odds_words(odds_curve(wild, None), "as stored")
    assert "It does not describe the utility odds." in words


def test_masses_that_add_up_to_more_than_one_are_held_and_counted():
    """4.4: a text that begins with the other one is no event apart from it."""
    assert utility_odds(0.1, 0.2) == MOST_UTILITY
    assert (is_held(utility_odds(0.1, 0.2)), is_held(utility_odds(2.0, 3.0))) == (True, False)
    words = odds_words(odds_curve(doses(UP, TUNED[1:], n_held=2), None), "as stored")
    assert words[1].startswith("20 utility odds are held at their largest")
