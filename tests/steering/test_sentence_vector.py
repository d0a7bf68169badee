"""From a sentence to a vector: what it depends on, what is said of it, and sentences that are refused."""

import pytest
import torch

from capture.binding import bound
from capture.errors import UserError
from capture.hook_point import HookPoint
from steering.fitted import Fitted
from steering.hypernet_commands import prompt_lines
from steering.methods.add_direction import AddDirection
from steering.methods.hypernetwork import SteerBySentence
from steering.sentence_vector import (
    fitted_of,
    nearest_latents,
    nearest_vectors,
    promoted_tokens,
    sentence_vector,
    sentence_vectors,
)
from steering.shelf import put_on_shelf
from steering.vector_folder import write_vectors
from tests.shelves import random_sae
from tests.steering.hypernetworks import AT, shelve_hypernetwork, trained_for

PROMPT = (0, 9, 8, 7)


def test_without_context_the_vector_depends_on_the_sentence_alone(tiny_session):
    """Fact 4.5 (2): another prompt leaves it bitwise equal."""
    trained = trained_for(tiny_session)
    vectors = [sentence_vector(trained, tiny_session, "the bear", one).vector for one in ((), PROMPT, (0, 1, 2))]
    assert all(torch.equal(one, vectors[0]) for one in vectors)
    assert not torch.equal(vectors[0], sentence_vector(trained, tiny_session, "the cat").vector)


@pytest.mark.parametrize("variant", ["in_context", "cross_attention"])
def test_with_context_the_vector_changes_with_the_prompt(variant, tiny_session):
    """Fact 4.5 (2)."""
    trained = trained_for(tiny_session, variant)
    one, other = (sentence_vector(trained, tiny_session, "the bear", prompt).vector for prompt in (PROMPT, (0, 1, 2)))
    assert (one - other).norm() > 0.01


def test_what_the_prompt_has_to_do_with_a_vector_is_said_and_kept_with_it(tiny_session):
    trained = trained_for(tiny_session, "cross_attention")
    found, without = (sentence_vector(trained, tiny_session, "the bear", one) for one in (PROMPT, ()))
    cosine = float(torch.nn.functional.cosine_similarity(found.vector, without.vector, dim=0))
    assert f"behind no prompt is {cosine:+.3f}" in prompt_lines(found, trained, tiny_session, "see")[0]
    assert "give --prompt" in prompt_lines(without, trained, tiny_session, "")[0]
    assert fitted_of(found, trained, "own").facts["prompt_tokens"] == [*PROMPT]
    alone = trained_for(tiny_session)
    one = sentence_vector(alone, tiny_session, "the bear", PROMPT)
    assert "prompt was not read" in prompt_lines(one, alone, tiny_session, "see")[0]
    assert prompt_lines(one, alone, tiny_session, "") == []
    assert "prompt_tokens" not in fitted_of(one, alone, "own").facts


def test_a_factor_of_one_is_length_times_mean_norm(tiny_session):
    found = sentence_vector(trained_for(tiny_session), tiny_session, "the bear")
    assert found.norm == pytest.approx(0.2 * 12.0, rel=1e-4)


def test_sentences_of_a_batch_are_as_they_are_alone(tiny_session):
    trained = trained_for(tiny_session, "cross_attention")
    asked = [("the bear", PROMPT), ("make it about a cat that sat", (0, 1)), ("night", ())]
    batch = sentence_vectors(trained, tiny_session, *map(list, zip(*asked, strict=True)))
    for one, (sentence, prompt) in zip(batch, asked, strict=True):
        alone = sentence_vector(trained, tiny_session, sentence, prompt)
        torch.testing.assert_close(one.vector, alone.vector, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [("", "none was given"), ("  \n", "none was given"), ("sea " * 2500, "at most 1,000 characters; 10,000 were")],
)
def test_a_sentence_of_no_or_too_many_characters_is_refused(sentence, message, tiny_session):
    with pytest.raises(UserError, match=message):
        sentence_vector(trained_for(tiny_session), tiny_session, sentence)
    with pytest.raises(UserError, match=message):
        SteerBySentence(AT, "any", sentence)


def test_a_sentence_of_too_many_tokens_is_refused(tiny_session):
    with pytest.raises(UserError, match="at most 60 tokens; this one has 1,000") as refused:
        sentence_vector(trained_for(tiny_session), tiny_session, "b" * 999)
    assert "Say it in a few words" in refused.value.hint


def test_a_sentence_is_far_beyond_the_limit_only(tiny_session):
    trained = trained_for(tiny_session)
    found = sentence_vector(trained, tiny_session, "the bear")
    assert found.is_far == (found.distance > 0.6)
    assert found.nearest in trained.learnt


def test_promoted_tokens_are_those_of_gain_and_unembedding(tiny_session):
    vector = torch.randn(32, generator=torch.Generator().manual_seed(3))
    (first, weight), *_ = promoted_tokens(vector, tiny_session, 3)[0]
    logits = (vector * tiny_session.weight("ln_final", 0)) @ tiny_session.weight("W_U", 0)
    assert first == int(logits.argmax())
    assert weight == pytest.approx(float(logits.max() - logits.mean()), abs=1e-5)
    lowest, down = promoted_tokens(vector, tiny_session, 3)[1][0]
    assert (lowest, down < 0) == (int(logits.argmin()), True)


def test_the_nearest_latent_of_a_decoder_row_is_its_own():
    sae = random_sae(32)
    (latent, cosine), *rest = nearest_latents(3.0 * sae.W_dec[7], sae, 4)
    assert (latent, len(rest)) == (7, 3)
    assert cosine == pytest.approx(1.0)


def test_the_nearest_vectors_are_of_this_model_and_hook_point(tiny_session, tmp_path):
    base = torch.randn(32, generator=torch.Generator().manual_seed(4))
    for name, at, fingerprint in (
        ("minus", AT, tiny_session.fingerprint),
        ("elsewhere", HookPoint(0, "resid_post"), tiny_session.fingerprint),
        ("other model", AT, "f" * 32),
    ):
        facts = {"fingerprint": fingerprint, "name": name}
        write_vectors(Fitted("mean_difference", {at: -base}, {at: 1.0}, facts), tmp_path / name)
        put_on_shelf("vectors", tmp_path / name, name)
    near = nearest_vectors(base, AT, tiny_session.fingerprint, 9)
    assert [(one.name, round(one.cosine, 4)) for one in near] == [("minus", -1.0)]


def test_bound_to_a_prompt_it_is_the_addition_of_the_prompts_vector(tiny_session, tmp_path):
    digest = shelve_hypernetwork(tiny_session, tmp_path, "bound", "in_context")
    (change,) = bound([SteerBySentence(AT, digest, "the bear", 0.5)], tiny_session, PROMPT)
    wanted = sentence_vector(trained_for(tiny_session, "in_context"), tiny_session, "the bear", PROMPT).vector
    assert isinstance(change, AddDirection)
    assert torch.nn.functional.cosine_similarity(torch.tensor(change.vector), wanted, dim=0) > 0.999
    assert change.strength == 0.5
    # Position 0 is BOS, which is no text.
    assert change.ranges == ((1, 2), (2, 3), (3, 4), (4, None))


def test_a_recipe_for_another_hook_point_or_digest_is_refused(tiny_session, tmp_path):
    digest = shelve_hypernetwork(tiny_session, tmp_path, "at one", "in_context")
    with pytest.raises(UserError, match=r"makes vectors for blocks\.1\.hook_resid_post"):
        bound([SteerBySentence(HookPoint(0, "resid_post"), digest, "the bear")], tiny_session, PROMPT)
    with pytest.raises(UserError, match="None of the hypernetworks on the shelf is called 'no such'"):
        bound([SteerBySentence(AT, "no such", "the bear")], tiny_session, PROMPT)


def test_two_rows_of_one_batch_have_each_its_own_vector(tiny_session, tmp_path):
    """In a batch each prompt is steered as it is alone."""
    digest = shelve_hypernetwork(tiny_session, tmp_path, "in a batch", "cross_attention")
    change, last = SteerBySentence(AT, digest, "the bear", 2.0), HookPoint(2, "resid_post")
    rows = [PROMPT, (0, 40, 41, 42, 43, 44)]
    both = tiny_session.capture_batch(rows, [last], [change])
    for row, one in zip(rows, both, strict=True):
        torch.testing.assert_close(one[last], tiny_session.capture(row, [last], [change])[last], atol=1e-4, rtol=0)
