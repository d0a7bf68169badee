"""Scores keep the facts of core-methods 4.4 and 4.5, and the strength is chosen without the half that is reported."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import UserError
from steering import evaluation
from steering.contrast_pairs import Example, contrast_of
from steering.evaluation import Prompts, Question, evaluate, neutral_prompts
from steering.fit_rows import FitText
from steering.fitted import Setting
from steering.fitting import fit_method
from steering.method import methods
from steering.null_vectors import as_long_as, exchanged, random_fits, shuffled_fits
from steering.scores import (
    anti_steerable,
    auroc,
    chosen_strength,
    concept,
    fluency,
    interval,
    kl,
    repeated_share,
)
from tests.steering.planted import AT, DOWN, planted_pairs, planted_session

SMALL = (-0.002, 0.002)
"""Strengths within the KL budget, one of which raises the concept score."""
SCORES = st.lists(st.integers(-20, 20), min_size=1, max_size=12).map(lambda some: torch.tensor(some).double())


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


def test_the_strength_with_the_most_concept_within_the_budget_is_chosen():
    assert chosen_strength([0.1, 0.2, 0.4], [0.1, 0.3, 0.9], [0.01, 0.09, 0.5]) == 0.2
    assert chosen_strength([0.1, 0.2], [-0.1, -0.3], [0.0, 0.0]) == 0.0


@pytest.fixture(scope="module")
def question():
    session, pairs = planted_session(), planted_pairs(8)
    fitting, held_out = pairs.halves()
    method = methods()["mean_difference"]

    def refit(contrast):
        return fit_method(method, session, contrast, [0], {"positions": "all"}, "resid_pre")

    setting = Setting(unit="relative", ranges=((1, None),))
    prompts = ("Once upon", "The bear", "A moon")
    return Question(session, method, refit(fitting), fitting, held_out, prompts, setting, refit, n_null=2)


@pytest.fixture(scope="module")
def found(question):
    return evaluate(question, (0.0, 0.5))


def test_at_strength_zero_nothing_changes(found):
    """Facts 4.5 (1), (14): C(0) = 0, KL(0) = 0, F(0) at its most."""
    zero, half = found.doses
    assert (zero.concept.mean, zero.kl, zero.perplexity_ratio, zero.repetition) == (0.0, 0.0, 1.0, 0.0)
    assert zero.fluency == 2.0
    assert (zero.null_random, zero.null_shuffled) == (0.0, 0.0)
    assert half.kl > 0
    assert half.concept.mean != 0


def test_a_planted_direction_tells_held_out_texts_apart(found):
    assert found.auroc == {str(AT): 1.0}
    assert found.facts["n_held_out"] == 4


def test_log_likelihoods_are_those_of_one_text_at_a_time(question):
    session = question.session
    texts = [FitText(session.tokens("ABC QR", True), 2), FitText(session.tokens("the moon was", True), 1)]
    plain = [-float(session.loss(text.tokens)[text.start - 1 :].mean()) for text in texts]
    assert evaluation.log_likelihoods(session, texts) == pytest.approx(plain, abs=1e-5)


def test_the_null_vectors_are_as_long_as_the_fitted_ones(question):
    length = float(question.fitted.vectors[AT].norm())
    nulls = random_fits(question.fitted, 2) + shuffled_fits(question.fitted_on, question.refit, 2)
    lengths = [float(as_long_as(question.fitted, one).vectors[AT].norm()) for one in nulls]
    assert lengths == pytest.approx([length] * 4, rel=1e-5)


def test_exchanging_by_lot_keeps_the_labels_in_their_places():
    pairs = planted_pairs(2)
    turned = exchanged(pairs, [0, 1])
    assert [one.label for one in turned.examples] == ["up", "down"] * 2
    texts = [one.text for one in pairs.examples]
    assert [one.text for one in turned.examples] == [texts[0], texts[1], texts[3], texts[2]]


def test_the_chosen_strength_never_sees_the_reported_half(question, monkeypatch):
    """Fact 4.5 (15): poison held-out pairs and every reporting prompt; the choice must not move."""
    poisoned = contrast_of("p", ("up", "down"), [Example("qq", "up"), Example("xx", "down")] * 4, True)
    honest, plain = evaluate(question, SMALL), evaluation.side_effect
    monkeypatch.setattr(
        evaluation, "side_effect", lambda *given: [k if n % 2 == 0 else 99.0 for n, k in enumerate(plain(*given))]
    )
    other = evaluate(Question(**{**vars(question), "held_out": poisoned}), SMALL)
    assert other.chosen == honest.chosen != 0
    assert other.doses[1].kl == 99.0
    assert other.doses[1].concept != honest.doses[1].concept


def test_neutral_prompts_are_continued_by_the_clean_model(question):
    session = question.session
    prompts = neutral_prompts(session, ("The bear",), True, 5)
    assert isinstance(prompts, Prompts)
    assert prompts.continued[0] == prompts.tokens[0] + session.generate(
        prompts.tokens[0], 5, seed=0, temperature=1.0, top_p=1.0
    )
    with pytest.raises(UserError, match="none was given"):
        neutral_prompts(session, (), True)


def test_shuffled_fits_exchange_exactly_half_of_the_pairs(question):
    """With more on one side a fit brought to full length would be the true direction again."""
    seen = []
    shuffled_fits(planted_pairs(8), lambda contrast: seen.append(contrast) or question.fitted, 5)
    turned = [sum(one.text[0] in DOWN for one in contrast.examples[::2]) for contrast in seen]
    assert turned == [4] * 5
    assert len({contrast.digest() for contrast in seen}) > 1
