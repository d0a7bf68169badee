"""An SAE is proved on the model that it is for, and one that was read wrongly is told apart."""

from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from sae.autoencoder import Autoencoder
from sae.facts import Facts
from sae.proving import proof_words, prove
from tests.saes import made

AT = HookPoint(1, "resid_post")
TEXTS = ("The bear sat on the mat.", "She said that the moon was bright.")


def perfect(d: int) -> Autoencoder:
    """ReLU(x) − ReLU(−x) is x."""
    both = torch.cat([torch.eye(d), -torch.eye(d)])
    facts = Facts("relu", d, 2 * d, hook_point=str(AT))
    return Autoencoder(facts, both.t().contiguous(), torch.zeros(2 * d), both, torch.zeros(d))


def test_a_perfect_sae_is_proved_and_its_negative_is_not(tiny_session):
    d = tiny_session.shape.d_model
    found = prove(perfect(d), tiny_session, TEXTS)
    n_rows = sum(len(tiny_session.tokens(text, True)) - 1 for text in TEXTS)
    assert (found.fvu, found.l0, found.n_rows) == (pytest.approx(0, abs=1e-9), d, n_rows)
    assert proof_words(found).startswith("Proved by reconstruction: FVU 0.000")
    wrong = prove(replace(perfect(d), W_dec=-perfect(d).W_dec), tiny_session, TEXTS)
    assert wrong.fvu > 2
    assert proof_words(wrong).startswith("Do not believe it")


def test_a_transcoder_is_proved_on_what_it_predicts(tiny_session):
    d = tiny_session.shape.d_model
    same = replace(perfect(d), facts=replace(perfect(d).facts, hook_point_out="blocks.2.hook_resid_pre"))
    assert prove(same, tiny_session, TEXTS).fvu == pytest.approx(0, abs=1e-9)


def test_what_cannot_be_proved_says_why(tiny_session):
    with pytest.raises(UserError, match="do not say where it reads"):
        prove(made("topk"), tiny_session, TEXTS)
    with pytest.raises(UserError, match="reads activations of 12 numbers"):
        prove(made("topk", hook_point=str(AT)), tiny_session, TEXTS)
