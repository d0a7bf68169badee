"""The effect of a change on the next token, against the two distributions written out."""

import pytest
import torch

from capture.hook_point import HookPoint
from capture.intervention import AddVector
from steering.next_token import next_token_effect

TOKENS = (0, 9, 8, 7, 30, 40)
PUSH = AddVector(HookPoint(1, "resid_post"), tuple(0.3 * (index % 3) for index in range(32)), from_pos=5)


def test_the_effect_is_the_difference_of_two_runs(tiny_session):
    effect = next_token_effect(tiny_session, TOKENS, PUSH)
    clean, changed = (tiny_session.logits(TOKENS, made)[-1].double() for made in ((), (PUSH,)))
    p, q = clean.softmax(0), changed.softmax(0)
    assert effect.kl_nats == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-6)
    moved = (q - p).sort()
    assert [one.change for one in effect.gained] == pytest.approx(moved.values.flip(0)[:5].tolist(), rel=1e-6)
    assert [one.change for one in effect.lost] == pytest.approx(moved.values[:5].tolist(), rel=1e-6)
    first = int(moved.indices[-1])
    assert effect.gained[0].token == tiny_session.token_texts([first])[0]
    assert effect.gained[0].logit_changed == pytest.approx(float(changed[first]))


def test_a_change_of_strength_zero_moves_nothing(tiny_session):
    still = AddVector(PUSH.at, PUSH.vector, strength=0.0)
    effect = next_token_effect(tiny_session, TOKENS, still)
    assert (effect.kl_nats, effect.gained, effect.lost) == (0.0, (), ())


def test_both_runs_are_made_under_the_other_changes(tiny_session):
    other = AddVector(HookPoint(0, "resid_post"), (0.5,) * 32)
    effect = next_token_effect(tiny_session, TOKENS, PUSH, [other])
    clean, changed = (tiny_session.logits(TOKENS, made)[-1].double() for made in ((other,), (other, PUSH)))
    expected = torch.nn.functional.kl_div(changed.log_softmax(0), clean.softmax(0), reduction="sum")
    assert effect.kl_nats == pytest.approx(float(expected), rel=1e-6)
