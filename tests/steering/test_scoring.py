"""What is measured is what the plain equations give, one text at a time."""

import pytest

from capture.errors import UserError
from capture.generation import GenerationRow
from steering.dose import dose, halves
from steering.fit_rows import FitText
from steering.methods.add_direction import AddDirection
from steering.scores import repeated_share
from steering.scoring import SAMPLING, Values, material_of, token_logprobs, values_of
from tests.steering.planted import AT, direction, planted_pairs, planted_session

PROMPTS = ("Once upon", "The bear", "A moon", "She said")
CHANGE = AddDirection(AT, tuple(direction().tolist()), 1.5, ranges=((1, None),))


@pytest.fixture(scope="module")
def material():
    return material_of(planted_session(), planted_pairs(3), PROMPTS, n_tokens=6)


@pytest.fixture(scope="module")
def steered(material):
    return values_of(material, [(), (CHANGE,)])


def test_at_no_change_nothing_changes(steered, material):
    """Facts 4.5 (1), (14): C(0) = 0, KL(0) = 0, F(0) at its most."""
    zero = steered[0]
    assert zero.concept == (0.0,) * 3
    assert zero.kl == zero.kl_last == (0.0,) * 4
    assert zero.written == material.written
    found = dose(0.0, None, zero, material.written, halves(3, 4)[0])
    assert (found.perplexity_ratio.mean, found.repetition, found.fluency, found.instruct) == (1.0, 0.0, 2.0, 2.0)


def test_the_scores_of_pairs_are_those_of_one_text_at_a_time(steered, material):
    """Oracle: log-likelihoods by the loss of each text alone."""
    session = planted_session()

    def total(text, changes):
        return -float(session.loss(text.tokens, changes)[text.start - 1 :].double().sum())

    ups, downs = material.pairs[::2], material.pairs[1::2]
    for place, (up, down) in enumerate(zip(ups, downs, strict=True)):
        n_up, n_down = len(up.tokens) - up.start, len(down.tokens) - down.start
        moved = (total(up, (CHANGE,)) - total(up, ())) / n_up - (total(down, (CHANGE,)) - total(down, ())) / n_down
        assert steered[1].concept[place] == pytest.approx(moved, abs=1e-5)
        odds = total(up, (CHANGE,)) - total(down, (CHANGE,))
        assert steered[1].preference[place] == pytest.approx(odds, abs=1e-4)


def test_the_side_effect_is_the_kl_along_what_the_clean_model_writes(steered, material):
    """Oracle: both distributions written out, after each token of one continuation."""
    session, prompt, new = planted_session(), material.prompts[2], material.continued[2]
    before, after = (
        session.logits(prompt + new, changes)[len(prompt) - 1 : -1].double().log_softmax(1)
        for changes in ((), (CHANGE,))
    )
    by_token = (before.exp() * (before - after)).sum(1)
    assert steered[1].kl[2] == pytest.approx(float(by_token.mean()), abs=1e-5)
    assert steered[1].kl_last[2] == pytest.approx(float(by_token[0]), abs=1e-5)


def test_what_is_written_is_read_by_the_clean_model(steered, material):
    """Oracle: loss and relevance of one steered continuation, of the same seed as the clean one."""
    session, prompt = planted_session(), material.prompts[1]
    (new,) = session.generate_rows([GenerationRow(prompt, (CHANGE,), 1)], 6, SAMPLING)
    losses = session.loss(prompt + new)
    assert steered[1].written.loss[1] == pytest.approx(float(losses[len(prompt) - 1 :].mean()), abs=1e-5)
    assert steered[1].written.repeated[1] == repeated_share(new)
    body = new[:-1] if len(new) < 6 else new
    behind = prompt[:1] + body + prompt[1:]
    relevance = float(session.loss(prompt).mean() - session.loss(behind)[len(body) :].mean())
    assert steered[1].written.relevance[1] == pytest.approx(relevance, abs=1e-5)


def test_values_survive_json_and_do_not_depend_on_what_else_is_in_the_batch(steered, material):
    (alone,) = values_of(material, [(CHANGE,)])
    assert Values.from_json(steered[1].to_json()) == steered[1]
    assert alone.kl == pytest.approx(steered[1].kl, abs=1e-5)
    assert alone.written.n_tokens == steered[1].written.n_tokens


def test_log_likelihoods_are_those_of_one_text_at_a_time():
    session = planted_session()
    texts = [FitText(session.tokens("ABC QR", True), 2), FitText(session.tokens("the moon was", True), 1)]
    for text, found in zip(texts, token_logprobs(session, texts), strict=True):
        assert found.tolist() == pytest.approx((-session.loss(text.tokens)[text.start - 1 :]).tolist(), abs=1e-5)


@pytest.mark.parametrize(
    ("prompts", "sentence"), [((), "none was given"), (("a " * 80,), "fits 64"), (("x", ""), "one character")]
)
def test_neutral_prompts_that_cannot_be_continued_are_refused(prompts, sentence):
    with pytest.raises(UserError, match=sentence):
        material_of(planted_session(), None, prompts)
