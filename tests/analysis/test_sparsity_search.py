"""The search within a perplexity budget: bisection's own answer, in few passes."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.sparsity_search import MAX_PASSES, STEPS, budget_nats, search
from capture.errors import UserError


def square(target):
    return (target / STEPS) ** 2 * 0.3


def power(target):
    return 2 * (target / STEPS) ** 1.5 + 9 * (target / STEPS) ** 4


def rough(target):
    """Far from monotone: noise as large as the budget, in steps of 50."""
    return random.Random(target // 50).gauss(0, 0.02) + (target / STEPS) ** 3


def free(target):
    return 0.0


def ruinous(target):
    return 1000.0


LOSSES = (square, power, rough, free, ruinous)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def found(loss, p, known=None):
    return search(lambda targets: [loss(one) for one in targets], budget_nats(p), {} if known is None else known)


def bisected(loss, budget):
    """The published outer loop, on whole steps."""
    low, high = 0, STEPS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if loss(middle) < budget else (low, middle)
    return low


@every_loss
@pytest.mark.parametrize("p", [0.1, 1, 5, 20])
def test_it_ends_where_bisection_ends_in_at_most_eleven_passes(loss, p):
    bracket = found(loss, p)
    assert bracket.low == bisected(loss, budget_nats(p))
    assert bracket.high == bracket.low + 1
    assert bracket.n_passes <= MAX_PASSES


@every_loss
@pytest.mark.parametrize("p", [0.1, 1, 20])
def test_fact_8_the_target_was_tried_and_is_within_the_budget(loss, p):
    known = {}
    bracket = found(loss, p, known)
    assert bracket.low == 0 or math.exp(known[bracket.low]) < 1 + p / 100
    assert bracket.high == STEPS or known[bracket.high] >= math.log(1 + p / 100)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(LOSSES), st.floats(0.1, 20), st.floats(0.1, 20), st.booleans())
def test_fact_8_a_larger_budget_never_gives_a_smaller_target(loss, one, other, share):
    known = {} if share else None
    small, large = sorted((one, other))
    assert found(loss, small, known).low <= found(loss, large, known).low


def test_a_smooth_loss_takes_seven_passes_and_a_known_one_none():
    known = {}
    first = found(square, 1, known)
    assert first.n_passes <= 7
    again = found(square, 1, known)
    assert (again.low, again.n_passes, again.n_rows) == (first.low, 0, 0)


def test_it_stops_where_both_ends_give_the_same_thresholds():
    bracket = search(
        lambda targets: [square(one) for one in targets], budget_nats(1), {}, lambda low, high: high - low <= 64
    )
    assert 32 < bracket.high - bracket.low <= 64
    assert square(bracket.low) < budget_nats(1) <= square(bracket.high)


@pytest.mark.parametrize("p", [0.0, 0.05, -1.0, 20.1, math.nan, math.inf])
def test_a_budget_outside_its_range_is_refused(p):
    with pytest.raises(UserError, match=r"must be 0\.1 to 20 percent"):
        budget_nats(p)


@pytest.mark.parametrize(("p", "nats"), [(1, 0.009950), (5, 0.048790), (10, 0.095310)])
def test_the_budgets_in_nats(p, nats):
    assert budget_nats(p) == pytest.approx(nats, abs=1e-6)


def test_a_loss_that_is_no_number_is_refused():
    with pytest.raises(UserError, match="this model gives NaN"):
        found(lambda target: math.nan, 1)


def test_a_loss_that_is_infinite_is_beyond_the_budget():
    assert found(lambda target: 0.0 if target < 1000 else math.inf, 1).low == 999
