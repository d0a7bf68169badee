"""Gains of all three variants against the definition written out, one text at a time."""

from dataclasses import replace

import pytest
from torch.nn.functional import cosine_similarity

from capture.intervention import AddVector
from steering.concepts import concept_set
from steering.hypernet_commands import above_lines, gain_lines
from steering.hypernetwork_gains import above, gains
from steering.hypernetwork_recipe import IN_CONTEXT, NO_CONTEXT, VARIANTS
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


def test_a_factor_is_a_length_and_the_likeness_between_prompts_is_a_cosine(tiny_session):
    trained, concepts = trained_for(tiny_session, IN_CONTEXT), words_held_out()
    found = gains(trained, tiny_session, concepts, N_TEXTS, factor=1.5)["held_out"]
    lengths, cosines = [], []
    for concept in concepts.held_out:
        prompts = [tiny_session.tokens(one.prompt, True) for one in concept.evaluation.positives[:N_TEXTS]]
        vectors = [sentence_vector(trained, tiny_session, concept.asked[0], one).vector for one in prompts]
        lengths += [1.5 * float(one.norm()) / trained.mean_norm for one in vectors]
        cosines.append(float(cosine_similarity(*vectors, dim=0)))
    assert found["length"] == pytest.approx(sum(lengths) / 4, rel=1e-5)
    assert found["alike"] == pytest.approx(sum(cosines) / 2, abs=1e-5)
    assert found["alike"] < 0.999
    without = gains(trained_for(tiny_session), tiny_session, concepts, N_TEXTS, factor=1.5)["held_out"]
    assert (without["length"], without["alike"]) == pytest.approx((1.5 * trained.recipe.length, 1.0), rel=1e-5)


def test_gains_above_anothers_are_by_concept_and_said_in_a_line(tiny_session):
    concepts = words_held_out()
    first, row = (
        {"name": one, **gains(trained_for(tiny_session, one), tiny_session, concepts, N_TEXTS)}
        for one in (NO_CONTEXT, IN_CONTEXT)
    )
    row["above_first"] = above(row, first)
    for part in ("held_in", "held_out"):
        for kind in ("gain", "specific"):
            wanted = row[part][kind]["mean"] - first[part][kind]["mean"]
            assert row["above_first"][part][kind]["mean"] == pytest.approx(wanted, abs=1e-9)
    assert above(first, first)["held_out"]["gain"] == {"mean": 0.0, "low": 0.0, "high": 0.0}
    said = [*gain_lines(row), *above_lines(row, "no_context")]
    assert "between prompts" in said[0]
    assert "between prompts" not in gain_lines(first)[0]
    assert said[3].startswith("  held_out, more than no_context: gain ")
