"""Facts 3.5 (1) to (5) of the specification, by number, for steps as a view carries them."""

import pytest
import torch

from capture.acting import acts_of
from capture.binding import bound
from capture.decode_batch import DecodeBatch, Row
from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint, residual_points
from capture.remembered import Asked
from steering.methods.add_direction import AddDirection
from steering.recipe import Step
from steering.token_scope import TokenScope

AT = HookPoint(1, "resid_post")
VECTOR = tuple(float(n % 5) - 2 for n in range(32))
TOKENS, LONG = (0, 9, 8, 7, 30, 40), (0, *range(50, 62))
ADD = AddDirection(AT, VECTOR)
SCOPES = ("all", "skip_special", "prompt", "prompt_ends", "generated", "last_prompt", "last_prompt_and_generated")


def step(strength=1.5, scope="all", ranges=((0, None),)):
    return Step("up", (ADD,), strength, scope=TokenScope(scope, ranges))


def last_logits(session, rows):
    """What decoding reads the next token of each (prompt, recipe) off, all rows in one batch."""
    changes = [bound(recipe, session, prompt) for prompt, recipe in rows]
    made = [
        Row(Asked(prompt, acts_of(own), ()), own, 0, 1, list(prompt))
        for (prompt, _), own in zip(rows, changes, strict=True)
    ]
    return DecodeBatch.joined(session._decoder.path, made).run()


@pytest.mark.parametrize("scope", SCOPES)
def test_fact_1_strength_zero_is_the_unhooked_model_bit_for_bit_and_leaves_no_hook(scope, tiny_session):
    clean, decoded = tiny_session.logits(TOKENS), last_logits(tiny_session, [(TOKENS, [])])
    assert torch.equal(tiny_session.logits(TOKENS, [step(0.0, scope)]), clean)
    assert torch.equal(last_logits(tiny_session, [(TOKENS, [step(0.0, scope)])]), decoded)
    tiny_session.generate(TOKENS, 4, interventions=[step(2.0, scope)])
    assert torch.equal(tiny_session.logits(TOKENS), clean)
    assert torch.equal(last_logits(tiny_session, [(TOKENS, [])]), decoded)


def test_fact_2_what_is_added_is_there_exactly_and_nowhere_else(tiny_session):
    clean = tiny_session.capture(TOKENS, [AT])[AT]
    changed = tiny_session.capture(TOKENS, [AT], [step(1.5, "ranges", ((1, 3), (5, None)))])[AT]
    there = [1, 2, 5]
    assert torch.equal(changed[there], clean[there] + 1.5 * torch.tensor(VECTOR))
    assert torch.equal(changed[[0, 3, 4]], clean[[0, 3, 4]])


def test_fact_2_two_steps_commute_and_one_twice_is_the_double(tiny_session):
    other = Step("other", (AddDirection(AT, VECTOR[::-1]),), -0.7)
    recipes = [[step(), other], [other, step()], [step(0.75), step(0.75)], [step(1.5)]]
    one, two, twice, double = (tiny_session.capture(TOKENS, [AT], recipe)[AT] for recipe in recipes)
    torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
    torch.testing.assert_close(twice, double, atol=1e-6, rtol=0)


def test_fact_3_earlier_positions_and_earlier_layers_are_left_alone(tiny_session):
    late = [step(scope="ranges", ranges=((3, None),))]
    clean, changed = tiny_session.logits(TOKENS), tiny_session.logits(TOKENS, late)
    assert torch.equal(changed[:3], clean[:3])
    assert not torch.equal(changed[3:], clean[3:])
    below, *_ = residual_points(3)
    captured = [tiny_session.capture(TOKENS, [below], recipe)[below] for recipe in ([], late)]
    assert torch.equal(*captured)


@pytest.mark.parametrize("scope", SCOPES)
def test_fact_4_greedy_tokens_agree_with_and_without_the_cache(scope, tiny_session):
    rows = [GenerationRow(TOKENS, (step(2.0, scope),)), GenerationRow(LONG, (step(-2.0, scope),))]
    cached, uncached = (
        tiny_session.generate_rows(rows, 12, Sampling(temperature=0), use_cache=use, remember=False)
        for use in (True, False)
    )
    assert cached == uncached


@pytest.mark.parametrize("scope", SCOPES)
def test_fact_5_a_prompt_alone_and_padded_on_the_left_has_equal_steered_logits(scope, tiny_session):
    """The last prompt token is the last attended one, whatever stands beside it."""
    alone = last_logits(tiny_session, [(TOKENS, [step(2.0, scope)])])
    batched = last_logits(tiny_session, [(LONG, [step(1.0)]), (TOKENS, [step(2.0, scope)]), (TOKENS[:2], [])])
    torch.testing.assert_close(batched[1], alone[0], atol=1e-5, rtol=1e-5)
    page = tiny_session.logits(TOKENS, [step(2.0, scope)])[-1]
    torch.testing.assert_close(alone[0], page, atol=1e-5, rtol=1e-5)
