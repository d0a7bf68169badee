"""Gains of all three variants against the definition written out, one text at a time."""

from dataclasses import replace

import pytest

from capture.intervention import AddVector
from steering.concepts import concept_set
from steering.hypernetwork_gains import gains
from steering.hypernetwork_recipe import VARIANTS
from steering.sentence_vector import sentence_vector
from tests.steering.hypernetworks import AT, small_concepts, trained_for

N_TEXTS = 2


def words_held_out():
    held_out = ("night", "stars")
    return concept_set("words", [replace(one, is_held_out=one.name in held_out) for one in small_concepts().concepts])


def loss_of(session, trained, example, sentence=None):
    """Nats per token of the continuation, under the sentence's vector for the text's own prompt from position 1 on."""
    prompt, text = session.tokens(example.prompt, True), session.tokens(example.text, False)
    changes = []
    if sentence is not None:
        vector = sentence_vector(trained, session, sentence, prompt).vector
        changes = [AddVector(AT, tuple(vector.tolist()), 1.0, from_pos=1)]
    tokens = (*prompt, *text)[: trained.recipe.longest]
    return float(session.loss(tokens, changes)[len(prompt) - 1 :].mean())


@pytest.mark.parametrize("variant", VARIANTS)
def test_gains_are_differences_of_losses_under_the_vector_of_each_texts_own_prompt(variant, tiny_session):
    trained, concepts = trained_for(tiny_session, variant), words_held_out()
    found = gains(trained, tiny_session, concepts, N_TEXTS)["held_out"]
    own, other = [], []
    for concept, next_one in zip(concepts.held_out, reversed(concepts.held_out), strict=True):
        for example in concept.evaluation.positives[:N_TEXTS]:
            losses = [loss_of(tiny_session, trained, example, one) for one in (concept.asked[0], next_one.asked[0])]
            own.append(loss_of(tiny_session, trained, example) - losses[0])
            other.append(losses[1] - losses[0])
    assert max(map(abs, own)) > 0.01
    assert found["gain"]["mean"] == pytest.approx(sum(own) / len(own), abs=1e-5)
    assert found["specific"]["mean"] == pytest.approx(sum(other) / len(other), abs=1e-5)
