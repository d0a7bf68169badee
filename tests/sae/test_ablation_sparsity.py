"""Ablation sparsity: the measure's closed forms (acceptance fact 13), and the change that is made to a run."""

from dataclasses import replace

import pytest
import torch

from capture.hook_point import HookPoint
from capture.intervention import AddVector
from sae.ablation_sparsity import (
    AddToRows,
    T,
    _shares,
    ablation_rows,
    contribution,
    effect_share,
    touched_share,
)
from sae.autoencoder import Autoencoder, Facts
from tests.saes import made, normal

AT = HookPoint(1, "resid_post")
TEXT = "the bear sat on the mat and she said that the moon was bright and the night was long"


def test_closed_forms():
    assert touched_share(torch.tensor([0.0, 0, 5, 0])) == 0.25
    assert touched_share(torch.full((3, 4), -2.0)) == pytest.approx(1)
    assert touched_share(normal(200_000, seed=0)) == pytest.approx(2 / torch.pi, abs=0.002)
    assert touched_share(1e3 * normal(50, seed=1)) == pytest.approx(touched_share(normal(50, seed=1)))
    assert touched_share(torch.zeros(4)) is None


def test_a_shift_of_all_logits_of_a_position_is_no_effect():
    clean, bump = normal(3, 10, seed=0), torch.zeros(3, 10)
    bump[1, 4] = 2.0
    assert effect_share(clean, clean + bump + torch.tensor([[1.0], [-3], [0]])) == pytest.approx(1 / 30, rel=1e-3)


@pytest.mark.parametrize("normalisation", ["none", "mean_and_std"])
def test_a_latents_contribution_is_what_leaving_it_out_takes(normalisation):
    sae = made("topk", normalisation=normalisation)
    x = normal(6, 12, seed=9)
    whole, codes = sae.reconstruct(x)
    off = replace(sae, W_dec=sae.W_dec.clone())
    latent = int(codes.indices[2, 1])
    off.W_dec[latent] = 0
    taken = contribution(sae, x[2:3], codes.indices[2:3, 1], codes.values[2:3, 1])
    torch.testing.assert_close(off.reconstruct(x)[0][2:3], whole[2:3] - taken, atol=1e-4, rtol=1e-4)


def test_rows_are_changed_at_their_own_position_under_a_cache_too():
    x, change = normal(2, 5, 6, seed=0), AddToRows(AT, normal(2, 6, seed=1), torch.tensor([1, 4]))
    expected = x.clone()
    expected[0, 1] += change.change[0]
    expected[1, 4] += change.change[1]
    torch.testing.assert_close(change(x, AT, 0), expected)
    torch.testing.assert_close(change(x[:, 3:], AT, 3), expected[:, 3:])


def test_shares_of_a_batch_are_those_of_single_runs(tiny_session, monkeypatch):
    tokens = tiny_session.tokens(TEXT, True)
    change = AddToRows(AT, normal(5, 32, seed=3), torch.tensor([1, 2, 2, 5, 7]))
    clean = tiny_session.logits(tokens)
    expected = []
    for vector, pos in zip(change.change, change.pos.tolist(), strict=True):
        cut = (AddVector(AT, tuple(vector.tolist()), 1.0, pos), AddVector(AT, tuple(vector.tolist()), -1.0, pos + 1))
        expected.append(effect_share(clean[pos : pos + T], tiny_session.logits(tokens, cut)[pos : pos + T]))
    monkeypatch.setattr("sae.ablation_sparsity.MAX_LOGITS", 2 * clean.numel())
    assert _shares(tiny_session, tokens, clean, change) == pytest.approx(expected, rel=1e-3)


def test_rows_are_the_same_for_the_same_seed_and_say_how_many_places(tiny_session):
    d = tiny_session.shape.d_model
    sae = Autoencoder(
        Facts("topk", d, 24, 4), normal(d, 24, seed=1), torch.zeros(24), normal(24, d, seed=2), torch.zeros(d)
    )
    texts = [tiny_session.tokens(TEXT, True), tiny_session.tokens("a bear", True)]
    rows, again = (ablation_rows(sae, tiny_session, texts, AT, n_places=6) for _ in range(2))
    assert rows == again
    for row in rows:
        assert 0 < row.low <= row.value <= row.high <= 1
        assert "6 places" in row.formula


def test_texts_that_are_too_short_give_no_value(tiny_session):
    sae = made("topk")
    rows = ablation_rows(sae, tiny_session, [tiny_session.tokens("a bear", True)], AT)
    assert [row.value for row in rows] == [None, None]
