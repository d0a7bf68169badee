"""Sparsity by expert: each expert's threshold by the definition, and shares of the neurons that are there."""

from functools import cache

import numpy as np
import pytest
import torch

from analysis.cett import EDGES
from analysis.option import read_options
from analysis.sparse_text import masks_of, write_on
from analysis.sparsity_methods import edges_for
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from capture.session import ModelSession
from tests.analysis.test_sparsity import LENS, TEXTS, dense_of, measured, quiet, subject_of
from tests.models import FAMILIES, tiny_tokenizer

every_mixture = pytest.mark.parametrize("family", ["mixtral", "olmoe", "gpt_oss"])
POST, ROUTING = ([HookPoint(layer, site) for layer in range(3)] for site in ("expert_post", "routing_weights"))


@cache
def session_of(family):
    return ModelSession(FAMILIES[family](), tiny_tokenizer(), name=family)


def cett_of(z, w_out, threshold):
    """The definition, written out: a mean over the tokens of one expert."""
    n_i = z[:, :, None] * w_out  # [n d_mlp d_model]
    tail = (n_i * (n_i.norm(dim=2) < threshold)[:, :, None]).sum(dim=1)
    return float((tail.norm(dim=1) / n_i.sum(dim=1).norm(dim=1)).mean())


@every_mixture
def test_each_experts_threshold_keeps_its_own_cett_within_the_target(family):
    session = session_of(family)
    subject = subject_of(session)
    edges = np.reshape(edges_for(dense_of(subject, quiet), 0.2), (3, 4))
    seen = [session.capture(tokens, [*POST, *ROUTING]) for tokens in subject.texts]
    for layer, expert in np.ndindex(3, 4):
        w_out = session.weight("W_out_experts", layer)[expert]
        is_routed = torch.cat([one[ROUTING[layer]] for one in seen])[:, expert] > 0
        z = torch.cat([one[POST[layer]] for one in seen]).unflatten(1, (4, -1))[is_routed, expert]
        at, above = (float(EDGES[edges[layer, expert] + more]) for more in (0, 1))
        assert cett_of(z, w_out, at * (1 - 1e-6)) <= 0.2 + 1e-5
        assert cett_of(z, w_out, above * (1 + 1e-6)) >= 0.2 - 1e-5


@every_mixture
def test_shares_are_of_the_neurons_of_the_experts_that_a_token_is_routed_to(family):
    session = session_of(family)
    result = measured(session, p=20)
    masks = [operator_from_recipe(recipe) for recipe in result.numbers["recipes"]]
    seen = session.capture(session.tokens(TEXTS[0], True), [*POST, *ROUTING], masks)
    width = seen[POST[0]].shape[1] // 4
    kept = torch.stack([(seen[at] != 0).sum(dim=1) for at in POST]).numpy() / (2 * width)
    np.testing.assert_allclose(result.arrays["kept_share"], kept, rtol=1e-6)
    np.testing.assert_allclose(result.arrays["activation_ratio"], kept.mean(axis=1), rtol=1e-6)
    assert 0 < result.numbers["activation_ratio"] < 1
    assert result.numbers["perplexity_ratio"] < 1.2
    # The frontier counts zeros over all experts, and takes those of other experts out again.
    answer = result.arrays["frontier_method"] == 4
    assert result.arrays["frontier_oracle_share"][answer] == pytest.approx(1 - kept.mean(), rel=1e-5)


def test_an_expert_that_no_token_is_routed_to_keeps_all_its_neurons():
    model = FAMILIES["mixtral"]()
    with torch.no_grad():
        model.model.layers[1].mlp.gate.weight[2] = 0
        model.model.layers[1].mlp.gate.weight[3] = -1000 * model.model.layers[1].mlp.gate.weight[0]
        model.model.layers[1].mlp.gate.weight[0] *= 1000
    session = ModelSession(model, tiny_tokenizer(), name="idle")
    result = LENS.measure(subject_of(session), read_options(LENS.options, {"p": 20}), quiet)
    routed = torch.cat([session.capture(tokens, ROUTING)[ROUTING[1]] for tokens in subject_of(session).texts])
    idle = (~(routed > 0).any(dim=0)).nonzero()[:, 0].tolist()
    assert idle
    assert (result.arrays["expert_threshold"][1, idle] == 0).all()


def test_a_model_of_experts_writes_on_under_the_masks_of_a_cett_target():
    session = session_of("mixtral")
    tokens = session.tokens(TEXTS[0], True)
    masks = masks_of(session, [tokens], "cett", 0.4)
    assert [change.hook_points() for change in masks] == [(at,) for at in POST]
    assert max(write_on(session, tokens, masks).kl_nats) > 0
