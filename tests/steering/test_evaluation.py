"""An evaluation tells a planted direction from chance, and its choice does not see what it reports."""

import pytest

from steering.contrast_pairs import Example, contrast_of
from steering.evaluation import Question, evaluate
from steering.fitted import Setting
from steering.fitting import fit_method
from steering.method import methods
from steering.null_vectors import as_long_as, exchanged, random_fits, shuffled_fits
from tests.steering.planted import AT, DOWN, planted_pairs, planted_session

SMALL = (-0.002, 0.002)
"""Strengths within the KL budget, one of which raises the concept score."""
PROMPTS = ("Once upon", "The bear", "A moon")


@pytest.fixture(scope="module")
def question():
    session, pairs = planted_session(), planted_pairs(8)
    fitting, held_out = pairs.halves()
    method = methods()["mean_difference"]

    def refit(contrast):
        return fit_method(method, session, contrast, [0], {"positions": "all"}, "resid_pre")

    setting = Setting(unit="relative", ranges=((1, None),))
    return Question(session, method, refit(fitting), fitting, held_out, PROMPTS, setting, refit, n_null=2)


@pytest.fixture(scope="module")
def found(question):
    return evaluate(question, (0.0, 0.5))


def test_at_strength_zero_nothing_changes(found):
    """Facts 4.5 (1), (14): C(0) = 0, KL(0) = 0, F(0) at its most."""
    zero, half = found.doses
    assert (zero.concept.mean, zero.kl.mean, zero.perplexity_ratio.mean, zero.repetition) == (0.0, 0.0, 1.0, 0.0)
    assert zero.fluency == 2.0
    assert (found.nulls[0].random, found.nulls[0].shuffled) == (0.0, 0.0)
    assert half.kl.mean > 0
    assert half.concept.mean != 0


def test_a_planted_direction_tells_held_out_texts_apart(found):
    assert found.auroc == {str(AT): 1.0}
    assert found.facts["n_held_out"] == 4


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


def test_the_chosen_strength_never_sees_the_reported_half(question):
    """Fact 4.5 (15): poison held-out pairs and every reporting prompt; the choice must not move."""
    poisoned = contrast_of("p", ("up", "down"), [Example("qq", "up"), Example("xx", "down")] * 4, True)
    honest = evaluate(question, SMALL)
    prompts = (PROMPTS[0], "qq xx qq xx", PROMPTS[2])
    other = evaluate(Question(**{**vars(question), "held_out": poisoned, "prompts": prompts}), SMALL)
    assert other.chosen == honest.chosen != 0
    assert other.doses[1].kl != honest.doses[1].kl
    assert other.doses[1].concept != honest.doses[1].concept


def test_shuffled_fits_exchange_exactly_half_of_the_pairs(question):
    """With more on one side a fit brought to full length would be the true direction again."""
    seen = []
    shuffled_fits(planted_pairs(8), lambda contrast: seen.append(contrast) or question.fitted, 5)
    turned = [sum(one.text[0] in DOWN for one in contrast.examples[::2]) for contrast in seen]
    assert turned == [4] * 5
    assert len({contrast.digest() for contrast in seen}) > 1
