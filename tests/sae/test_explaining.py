"""Explaining the latents of an SAE: a planted latent of one token is found, and held-out figures are counted right."""

import numpy as np
import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from sae.autoencoder import Autoencoder, Facts
from sae.explaining import choose_examples, explain_rows, last_activations, latent_values
from tests.saes import made, normal

AT = HookPoint(0, "resid_pre")
TEXTS = ("the bear sat on the mat", "she saw the moon and the cat", "the night was long and the moon was bright") * 4


@pytest.fixture(scope="module")
def texts(tiny_session):
    return [tiny_session.tokens(text, True) for text in TEXTS]


@pytest.fixture(scope="module")
def token(tiny_session):
    """The most frequent token of the texts."""
    tokens = [token for text in TEXTS for token in tiny_session.tokens(text, False)]
    return max(sorted(set(tokens)), key=tokens.count)


@pytest.fixture(scope="module")
def sae(tiny_session, token):
    """Latent 2 of 4 fires on one token alone; the embedding is what the first block reads."""
    E = tiny_session.weight("W_E", 0).float()
    centred = E[token] - E.mean(dim=0)
    scores = E @ centred
    others = scores[torch.arange(len(scores)) != token].max()
    W_enc, b_enc = torch.zeros(E.shape[1], 4), torch.full((4,), -1.0)
    W_enc[:, 2], b_enc[2] = centred, -(scores[token] + others) / 2
    return Autoencoder(
        Facts("relu", E.shape[1], 4, subtracts_b_dec=False),
        W_enc,
        b_enc,
        normal(4, E.shape[1], seed=1),
        torch.zeros(E.shape[1]),
    )


def test_a_latent_of_one_token_is_explained_by_it(sae, texts, token, tiny_session):
    rows, (found,) = explain_rows(sae, tiny_session, texts, AT, n_latents=3)
    assert found.latent == 2
    assert [one.tokens for one in found.explanation.patterns] == [(token,)]
    value = {row.name: row.value for row in rows}
    assert (value["explanation_precision"], value["explanation_recall"]) == (1, 1)
    rest = [one for tokens in texts[1::2] for one in tokens[1:]]
    assert value["explanation_chance"] == pytest.approx(rest.count(token) / len(rest))
    assert {row.interval_over for row in rows} == {"latents"}


def test_last_activations_are_those_of_a_capture_behind_the_lead(sae, texts, tiny_session):
    rows = [tuple(tokens[1:n]) for tokens in texts[:3] for n in (2, 4, 7)]
    found = last_activations(sae, tiny_session, AT, 2, texts[0][:1])(rows)
    for row, value in zip(rows, found, strict=True):
        codes = sae.encode(tiny_session.capture((*texts[0][:1], *row), (AT,))[AT].float())
        np.testing.assert_allclose(value, latent_values(codes, 2)[-1], atol=1e-5)


def test_values_of_one_latent_are_those_of_the_codes_written_out():
    sae, x = made("topk"), normal(9, 12, seed=3)
    codes = sae.encode(x)
    dense = torch.zeros(9, 40).scatter_add(1, codes.indices, codes.values)
    for latent in (0, 7):
        torch.testing.assert_close(latent_values(codes, latent), dense[:, latent])


def test_examples_are_the_peaks_of_texts_and_others_that_fire():
    values = [np.array([0, 2.0, 5.0]), np.array([0, 0.0]), np.array([7.0, 1.0])]
    found = choose_examples([(1, 2, 3), (4, 5), (6, 7)], values, np.random.default_rng(0))
    assert [(one.tokens[one.pos], one.value) for one in found[:2]] == [(6, 7.0), (3, 5.0)]
    assert {(one.tokens[one.pos], one.value) for one in found[2:]} == {(2, 2.0), (7, 1.0)}


def test_texts_on_which_nothing_fires_are_refused(sae, texts, tiny_session):
    with pytest.raises(UserError, match="fires on 4 tokens"):
        explain_rows(sae, tiny_session, texts[2:3], AT, n_latents=3)
