"""Binding: muted and solo, each row bound to its own prompt, and keys that name what was asked for."""

from dataclasses import replace

import pytest
import torch

from capture.binding import audible, bound
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import AddVector, BindsToPrompt
from capture.store_codec import capture_key
from tests.capture.bindable import AddFromEnd

AT = HookPoint(1, "resid_post")
VECTOR = tuple(float(n % 5) - 2 for n in range(32))
STEP = AddFromEnd(AT, VECTOR, 2.0, shift=-2)
SHORT, LONG = (0, 9, 8, 7), (0, 5, 6, 7, 8, 9, 10)


def alone(tokens, shift=-2):
    return AddVector(AT, VECTOR, 2.0, from_pos=len(tokens) + shift)


def test_a_change_of_the_prompt_meets_the_protocol_and_others_do_not():
    assert isinstance(STEP, BindsToPrompt)
    assert not isinstance(alone(SHORT), BindsToPrompt)


def test_what_is_muted_is_left_out_and_solo_leaves_out_the_rest():
    plain, muted, solo = alone(SHORT), replace(STEP, is_muted=True), replace(STEP, is_solo=True)
    assert audible([plain, muted]) == (plain,)
    assert audible([plain, solo, muted]) == (solo,)
    assert audible([plain, replace(solo, is_muted=True)]) == (plain,)


def test_bound_keeps_the_order_and_drops_what_does_not_act(tiny_session):
    plain = AddVector(AT, VECTOR, 0.5)
    assert bound([STEP, plain, replace(STEP, least=5)], tiny_session, SHORT) == (alone(SHORT), plain)


def test_each_row_of_a_batch_is_bound_to_its_own_tokens(tiny_session):
    batch = tiny_session.capture_batch([SHORT, LONG, LONG[:3]], [AT], [replace(STEP, least=4)])
    for row, tokens in zip(batch, (SHORT, LONG, LONG[:3]), strict=True):
        expected = tiny_session.capture(tokens, [AT], [alone(tokens)] if len(tokens) >= 4 else [])
        assert torch.allclose(row[AT], expected[AT], atol=1e-5)


@pytest.mark.parametrize("run", ["logits", "loss", "capture"])
def test_on_a_page_the_whole_text_is_the_prompt(run, tiny_session):
    def made(changes):
        found = getattr(tiny_session, run)(*([SHORT, [AT]] if run == "capture" else [SHORT]), changes)
        return found[AT] if run == "capture" else found

    assert torch.equal(made([STEP]), made([alone(SHORT)]))
    assert not torch.equal(made([STEP]), made([]))


def test_a_stream_binds_each_text(tiny_session):
    seen = {}

    def update(at, values, text, pos):
        seen.update({(int(t), int(p)): value.clone() for t, p, value in zip(text, pos, values, strict=True)})

    tiny_session.stream([SHORT, LONG], [AT], update, [STEP])
    for text, tokens in enumerate((SHORT, LONG)):
        expected = tiny_session.capture(tokens, [AT], [alone(tokens)])[AT]
        assert torch.allclose(torch.stack([seen[text, p] for p in range(len(tokens))]), expected, atol=1e-5)


def test_a_generation_is_bound_to_its_prompt(tiny_session):
    step = replace(STEP, shift=0)
    expected = tiny_session.generate(SHORT, 8, temperature=0, interventions=[alone(SHORT, 0)])
    assert tiny_session.generate(SHORT, 8, temperature=0, interventions=[step]) == expected
    assert expected != tiny_session.generate(SHORT, 8, temperature=0)


def test_a_kept_capture_is_named_by_what_was_asked_for_and_not_by_what_it_was_bound_to():
    """Two prompts of one length bind to equal changes, and another change could bind to the same; keys tell them."""
    keys = {
        capture_key("f", "float32", "raw", SHORT, AT, [one]) for one in (STEP, alone(SHORT), replace(STEP, shift=0))
    }
    assert len(keys) == 3


def test_a_hook_point_that_is_not_there_is_refused_unless_muted(tiny_session):
    missing = replace(STEP, at=HookPoint(7, "resid_post"))
    with pytest.raises(UserError, match="Layer 7 does not exist"):
        tiny_session.logits(SHORT, [missing])
    muted = tiny_session.logits(SHORT, [replace(missing, is_muted=True)])
    assert torch.equal(muted, tiny_session.logits(SHORT))
