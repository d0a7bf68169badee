"""Probing: pooling, the choice of latents, planted latents that are found, invariances (acceptance fact 17)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix

from capture.errors import UserError
from capture.hook_point import HookPoint
from sae.autoencoder import Autoencoder, Facts
from sae.labelled_texts import LabelledTexts, Task
from sae.probing import class_mean_difference, most_different, pool, probe_rows, split
from tests.saes import normal

AT = HookPoint(1, "resid_post")
LABELLED = LabelledTexts(
    "moons",
    tuple(
        f"the {what} {end}"
        for what in ("moon", "cat")
        for end in ("was bright", "sat on the mat", "was small", "and the bear", "said no", "was not known")
    ),
    ("moon",) * 6 + ("cat",) * 6,
)


@pytest.fixture(scope="module")
def sae(tiny_session):
    d = tiny_session.shape.d_model
    return Autoencoder(
        Facts("topk", d, 24, 4), normal(d, 24, seed=1), torch.zeros(24), normal(24, d, seed=2), torch.zeros(d)
    )


def texts_of(session):
    return [session.tokens(text, True) for text in LABELLED.texts]


def values(rows):
    return {row.name: row.value for row in rows}


def test_pooled_latents_are_their_means_over_tokens(sae, tiny_session):
    texts = texts_of(tiny_session)
    pooled = pool(sae, tiny_session, texts, AT)
    for n in (0, 7):
        x = tiny_session.capture(texts[n], (AT,))[AT][1:].float()
        values, indices = sae.encode(x)
        dense = torch.zeros(len(x), 24).scatter_add(1, indices, values)
        np.testing.assert_allclose(pooled.latents[[n]].toarray()[0], dense.mean(dim=0), atol=1e-5)
        np.testing.assert_allclose(pooled.activations[n], x.mean(dim=0), atol=1e-5)


def test_the_latents_chosen_have_the_largest_difference_of_class_means():
    x = csr_matrix([[1.0, 0, 2], [3, 0, 2], [0, 5, 2], [0, 1, 2]])
    y = np.array([True, True, False, False])
    np.testing.assert_allclose(class_mean_difference(x, y), [2, -3, 0])
    assert most_different(x, y, 2).tolist() == [1, 0]


def test_halves_have_half_of_each_class_and_nothing_twice():
    task = Task("x", np.arange(20), np.arange(20) < 8)
    halves = split(task)
    assert sorted([*halves.learnt, *halves.asked]) == list(range(20))
    assert task.is_positive[halves.learnt].sum() == 4
    assert task.is_positive[halves.asked].sum() == 4


def test_a_planted_latent_is_found_and_tells_the_labels_apart(tiny_session):
    """The latent reads along the difference of the two classes' mean activations, above their middle."""
    d = tiny_session.shape.d_model
    silent = Autoencoder(Facts("relu", d, 2), torch.zeros(d, 2), torch.zeros(2), torch.zeros(2, d), torch.zeros(d))
    plain = pool(silent, tiny_session, texts_of(tiny_session), AT).activations
    is_moon = np.array(LABELLED.labels) == "moon"
    apart = torch.tensor(plain[is_moon].mean(axis=0) - plain[~is_moon].mean(axis=0)).float()
    middle = float(torch.tensor(plain.mean(axis=0)).float() @ apart)
    W_enc, b_enc = torch.zeros(d, 6), torch.full((6,), -1.0)
    W_enc[:, 4], b_enc[4] = apart, 8 - middle
    planted = Autoencoder(
        Facts("relu", d, 6, subtracts_b_dec=False), W_enc, b_enc, W_enc.t().contiguous(), torch.zeros(d)
    )
    rows, (task,) = probe_rows(planted, tiny_session, LABELLED, AT)
    assert (task["probe_latent"], task["k_sparse_latents"][0]) == (4, 4)
    found = values(rows)
    assert found["probe_loss"] < 0.3 < found["probe_loss_shuffled"]
    assert found["sparse_probe_1"] >= 5 / 6


def test_permuting_latents_leaves_every_row(sae, tiny_session):
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    turned = replace(sae, W_enc=sae.W_enc[:, order].contiguous(), W_dec=sae.W_dec[order].contiguous())
    (rows, _), (again, _) = (probe_rows(one, tiny_session, LABELLED, AT) for one in (sae, turned))
    assert values(again) == pytest.approx(values(rows), abs=1e-4)
    assert values(rows)["probe_larger_label"] == 0.5


def test_intervals_hold_their_values(sae, tiny_session):
    rows, _ = probe_rows(sae, tiny_session, LABELLED, AT)
    assert all(row.low <= row.value + 1e-9 and row.value <= row.high + 1e-9 for row in rows)


def test_a_text_without_a_counted_token_is_refused(sae, tiny_session):
    with pytest.raises(UserError, match="must have a token after the first 40"):
        probe_rows(sae, tiny_session, LABELLED, AT, from_pos=40)
