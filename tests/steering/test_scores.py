"""Scores keep the facts of core-methods 4.3 to 4.5, each computed as written out here."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import UserError
from steering.dose import Half, budget_strength, dose, halves, knee
from steering.scores import (
    anti_steerable,
    auroc,
    bootstrap,
    concept,
    concept_map,
    distinct,
    fluency,
    harmonic_mean,
    instruct,
    interval,
    kl,
    perplexity_ratio,
    preference_odds,
    repeated_share,
    slope,
    utility_odds,
)
from steering.scoring import Values, Written

SCORES = st.lists(st.integers(-20, 20), min_size=1, max_size=12).map(lambda some: torch.tensor(some).double())
MARKS = st.lists(st.floats(0, 2), min_size=1, max_size=4)


@given(SCORES, SCORES)
def test_auroc_ignores_increasing_transforms_and_turns_round_with_the_sign(up, down):
    """Fact 4.5 (13)."""
    area = auroc(up, down)
    assert math.isclose(auroc(up**3 + up, down**3 + down), area)
    assert math.isclose(auroc(-up, -down), 1 - area, abs_tol=1e-12)
    assert auroc(torch.ones(3), torch.ones(4)) == 0.5


@given(st.lists(st.tuples(*[st.floats(-9, 0)] * 4), min_size=1, max_size=8))
def test_concept_is_zero_without_a_change_and_negated_by_swapping_the_texts(rows):
    """Fact 4.5 (14): C(0) = 0."""
    up, up_clean, down, down_clean = (list(column) for column in zip(*rows, strict=True))
    assert concept(up, up, down, down) == [0.0] * len(rows)
    one, other = concept(up, up_clean, down, down_clean), concept(down, down_clean, up, up_clean)
    assert all(math.isclose(a, -b, abs_tol=1e-9) for a, b in zip(one, other, strict=True))


def test_kl_of_known_odds():
    """Fact 4.5 (14)."""
    half, skew = torch.tensor([[0.5, 0.5]]).double().log(), torch.tensor([[0.9, 0.1]]).double().log()
    assert math.isclose(kl(half, skew), 0.5108, abs_tol=1e-4)
    assert kl(half, half) == 0.0
    assert kl(torch.tensor([[0.0, -math.inf]]), torch.tensor([[0.0, -math.inf]])) == 0.0


def test_fluency_is_highest_at_a_ratio_of_one_and_gone_at_four():
    """Fact 4.5 (14)."""
    assert [fluency(ratio) for ratio in (0.5, 1.0, 2.0, 4.0, 50.0)] == [2.0, 2.0, 1.0, 0.0, 0.0]
    assert fluency(1.0, 0.25) == 1.5


def test_repetition_counts_what_was_there_before():
    assert math.isclose(repeated_share([1, 2, 3, 4, 1, 2, 3, 4]), 0.2)
    assert math.isclose(repeated_share([7] * 14), 10 / 11)
    assert repeated_share([1, 2]) == 0.0


def test_anti_steerable_is_the_share_moved_the_wrong_way():
    assert anti_steerable([0.5, -0.1, 0.0, -2.0]) == 0.5


def test_an_interval_holds_its_mean_and_narrows_with_more_values():
    few, many = interval([0.0, 1.0] * 4), interval([0.0, 1.0] * 200)
    assert few.mean == many.mean == 0.5
    assert few.low < many.low < 0.5 < many.high < few.high
    assert interval([3.0] * 5).low == interval([3.0] * 5).high == 3.0


@given(MARKS, st.floats(0, 1))
def test_the_harmonic_mean_is_symmetric_bounded_monotone_and_zero_with_any_zero(marks, more):
    """Fact 4.5 (12), and the checks of 4.3."""
    mean = harmonic_mean(marks)
    assert math.isclose(harmonic_mean(marks[::-1]), mean, rel_tol=1e-12)
    assert harmonic_mean([*marks, 0.0]) == 0.0
    assert mean == 0.0 if 0.0 in marks else min(marks) * (1 - 1e-12) <= mean <= max(marks) * (1 + 1e-12)
    assert harmonic_mean([marks[0] + more, *marks[1:]]) >= mean * (1 - 1e-12)


@pytest.mark.parametrize(
    ("marks", "mean"), [((2.0, 1.0, 2.0), 1.5), ((1.0, 1.0, 2.0), 1.2), ((2.0, 2.0, 2.0), 2), ((0.0, 2.0, 2.0), 0)]
)
def test_the_harmonic_means_of_axbench(marks, mean):
    assert harmonic_mean(marks) == pytest.approx(mean)


@pytest.mark.parametrize(("losses", "odds"), [((2.0, 3.0), (1, -1.482)), ((2.5, 2.5), (0, -1.6275))])
def test_preference_and_utility_odds_of_known_losses(losses, odds):
    """The checks of 4.4."""
    assert (preference_odds(*losses), utility_odds(*losses)) == pytest.approx(odds, abs=5e-4)


def test_utility_odds_stay_finite_for_long_texts_and_where_two_masses_reach_one():
    assert utility_odds(4000.0, 4001.0) == pytest.approx(-4000 + math.log1p(math.exp(-1)))
    assert math.isfinite(utility_odds(0.0, 0.0))


def test_the_slope_near_zero_is_that_of_the_two_smallest_strengths():
    assert slope([0.4, -0.1, 0.2], [9.0, -0.3, 0.4]) == pytest.approx((0.03 + 0.08) / 0.05)
    assert slope([0.0, 0.5], [0.0, 1.0]) == 2.0


def test_the_maps_reach_from_nothing_to_two():
    assert [concept_map(one) for one in (-1.0, 0.0, math.log(2) / 2, 5.0)] == pytest.approx([0, 0, 1, 2])
    assert [instruct(one) for one in (0.0, 0.1, 0.2, 9.0)] == pytest.approx([2, 1, 0, 0])
    assert instruct(0.1, -math.log(2) / 2) == pytest.approx(0.5)
    assert instruct(0.0, 3.0) == 2.0


def test_distinct_counts_different_grams():
    assert distinct([1, 2, 1, 2, 1], 2) == 0.5
    assert (distinct([], 2), distinct([5], 2)) == (1.0, 1.0)


def test_a_perplexity_ratio_weighs_texts_by_their_tokens():
    found = perplexity_ratio([2.0, 1.0], [1, 3], [1.0, 1.0], [2, 2])
    assert found.mean == pytest.approx(math.exp(1.25 - 1.0))
    assert found.low == pytest.approx(1.0)
    assert found.high == pytest.approx(math.e)


def test_a_bootstrap_draws_places_again_and_again():
    seen = []
    bootstrap(lambda draws: seen.append(draws) or draws.mean(axis=1), 5)
    assert seen[0].shape == (1000, 5)
    assert set(np.unique(seen[0])) == set(range(5))
    assert seen[1].tolist() == [[0, 1, 2, 3, 4]]


DOSE_WRITTEN = Written((1.0, 1.0), (4, 4), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0))
BOTH = Half((0, 1), (0, 1))


def dose_at(strength, concept_score, kl_nats):
    values = Values((concept_score,) * 2, (0.0,) * 2, (0.0,) * 2, (kl_nats,) * 2, (0.0,) * 2, DOSE_WRITTEN)
    return dose(strength, None, values, DOSE_WRITTEN, BOTH)


def test_the_knee_is_the_best_overall_score_within_the_budget():
    doses = [dose_at(0.1, 0.1, 0.01), dose_at(0.2, 0.3, 0.05), dose_at(0.3, 0.35, 0.099), dose_at(0.4, 9.0, 0.101)]
    assert knee(doses).strength == 0.2
    assert doses[1].overall == pytest.approx(harmonic_mean([2 * 0.3 / math.log(2), 2.0, 1.5]))
    assert knee(doses[3:]) is None
    assert knee([dose_at(0.1, -0.1, 0.0)]) is None


def test_without_pairs_the_knee_is_the_strongest_within_the_budget():
    doses = [replace(dose_at(one, 0.0, one / 2), overall=None, concept=None) for one in (0.1, 0.2, 0.4)]
    assert knee(doses).strength == 0.2


def test_the_strength_at_the_budget_lies_on_the_line_between_two_doses():
    doses = [dose_at(0.1, 0.1, 0.02), dose_at(0.2, 0.1, 0.22)]
    assert budget_strength(doses) == pytest.approx(0.14)
    assert budget_strength(doses[:1]) is None
    assert budget_strength(doses[1:]) == pytest.approx(0.2 * 0.1 / 0.22)


def test_halves_take_every_second_pair_and_prompt():
    assert halves(3, 4) == (Half((0, 2), (0, 2)), Half((1,), (1, 3)))
    assert halves(0, 2) == (Half((), (0,)), Half((), (1,)))
    with pytest.raises(UserError, match="two pairs are needed; 1 was given"):
        halves(1, 4)


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=2))
def test_a_dose_looks_at_nothing_of_the_other_half(poison):
    """Fact 4.5 (15), for every score at once."""
    clean = Values((0.1, 0.2), (1.0, 2.0), (3.0, 4.0), (0.5, 0.6), (0.7, 0.8), DOSE_WRITTEN)
    spoilt = {name: (some[0], poison[0]) for name, some in vars(clean).items() if name != "written"}
    written = Written(**{name: (some[0], type(some[1])(poison[1])) for name, some in vars(DOSE_WRITTEN).items()})
    half = Half((0,), (0,))
    assert dose(1.0, None, Values(**spoilt, written=written), written, half) == dose(
        1.0, None, clean, DOSE_WRITTEN, half
    )
