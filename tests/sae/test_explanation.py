"""Token patterns: the self-test semantics of Gao et al.'s code, the steps one by one, precision and recall."""

import numpy as np
import pytest

from sae.explanation import Agreement, Example, Explanation, Pattern, agreement, explain

A, B, C, D, E = range(5)
FILLER = 99


def fires_on(rule):
    """A made-up latent: `rule(tokens, pos)` at the last token."""
    return lambda rows: np.array([float(rule(row, len(row) - 1)) for row in rows])


on_c = fires_on(lambda row, pos: row[pos] == C)
on_c_after_a = fires_on(lambda row, pos: row[pos] == C and A in row[:pos])
at_the_start = fires_on(lambda row, pos: pos == 0)


def explained(rule, *examples):
    return explain([Example(tokens, pos, 1.0) for tokens, pos in examples], rule, FILLER)


def test_c_fires_on_every_c():
    found = explained(on_c, ((A, B, C), 2), ((B, C, D), 1))
    assert found.patterns == (Pattern((C,), 1.0),)
    assert found.predict([C, B, C]).tolist() == [1, 0, 1]
    assert found.predict([A, A, A]).tolist() == [0, 0, 0]


def test_a_wildcard_needs_exactly_one_token():
    found = explained(on_c_after_a, ((A, B, C), 2), ((B, A, C), 2), ((A, C, D), 1))
    assert {one.tokens for one in found.patterns} == {(A, None, C), (A, C)}
    assert found.predict([A, E, C, A, C]).tolist() == [0, 0, 1, 0, 1]
    assert found.predict([B, C]).tolist() == [0, 0]
    assert found.predict([A, B, B, C]).tolist() == [0, 0, 0, 0]


def test_a_latent_of_the_first_token_is_predicted_at_the_start_alone():
    found = explained(at_the_start, ((A, B, C), 0), ((B, C, D), 0))
    assert all(one.is_at_start for one in found.patterns)
    assert found.predict([A, B, C]).tolist() == [1, 0, 0]
    assert found.predict([C, B, A]).tolist() == [1, 0, 0]


def test_no_example_predicts_nothing():
    assert explained(on_c).predict([B, C]).tolist() == [0, 0]


def test_the_very_token_is_preferred_to_the_wildcard_and_there_is_no_turning_back():
    found = Explanation([Pattern((A, None), 1.0), Pattern((B, C), 2.0)])
    assert found.predict([B, C]).tolist() == [0, 2]
    assert found.predict([A, C]).tolist() == [0, 0]
    assert found.predict([A, D]).tolist() == [0, 1]


def test_the_shortest_ending_that_keeps_half_is_taken_and_its_own_activation_kept():
    strengths = {1: 0.4, 2: 0.6, 3: 1.0}
    growing = fires_on(lambda row, pos: strengths[min(3, pos + 1)] if row[pos] == C else 0)
    (pattern,) = explain([Example((A, B, C), 2, 1.0)], growing, FILLER).patterns
    assert (pattern.tokens, pattern.value) == ((None, C), 0.6)


@pytest.mark.parametrize("n", [9, 20])
def test_a_long_ending_is_found_in_its_batch_of_lengths(n):
    row = (A, *[B] * (n - 2), C)
    (pattern,) = explained(on_c_after_a, (row, n - 1)).patterns
    assert pattern.tokens == (A, *[None] * (n - 2), C)


def test_precision_and_recall_are_counted_by_token():
    found = Explanation([Pattern((C,), 1.0)])
    counted = agreement(found, [(C, B, C), (C, A)], [np.array([0, 3.0, 2.0]), np.array([1.0, 1.0])])
    assert counted == Agreement(n_predicted=3, n_active=4, n_both=2, n_tokens=5)
    assert (counted.precision, counted.recall) == (2 / 3, 0.5)
    nothing = agreement(found, [(A,)], [np.zeros(1)])
    assert (nothing.precision, nothing.recall) == (None, None)
