"""Neurons of experts: read, weighed and changed, against each family's own forward pass."""

from functools import cache

import pytest
import torch

from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from capture.mask import MaskWeakNeurons
from capture.session import ModelSession
from tests.models import FAMILIES, tiny_tokenizer

every_mixture = pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "olmoe", "gpt_oss"])
TOKENS = tuple(range(2, 22))
POST, ROUTING, OUT = (HookPoint(0, site) for site in ("expert_post", "routing_weights", "mlp_out"))


@cache
def session_of(family):
    return ModelSession(FAMILIES[family](), tiny_tokenizer(), name=family)


def masked(thresholds, session):
    return session.capture(TOKENS, [POST, ROUTING, OUT], [MaskWeakNeurons(POST, thresholds)])


@every_mixture
def test_reading_the_neurons_of_experts_leaves_the_output_as_it_is(family):
    session = session_of(family)
    plain = session.capture([*TOKENS], [OUT])[OUT]
    torch.testing.assert_close(session.capture(TOKENS, [POST, OUT])[OUT], plain, rtol=0, atol=2e-6)
    torch.testing.assert_close(session.logits(TOKENS), session.reference(TOKENS)[0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "olmoe"])
def test_experts_neurons_times_their_w_out_and_routing_weights_are_the_blocks_output(family):
    session = session_of(family)
    seen = session.capture(TOKENS, [POST, ROUTING, OUT])
    w_out = session.weight("W_out_experts", 0)
    z = seen[POST].unflatten(1, w_out.shape[:2])
    written = torch.einsum("pef,efd,pe->pd", z, w_out, seen[ROUTING])
    torch.testing.assert_close(written, seen[OUT], rtol=0, atol=2e-5)
    is_routed = seen[ROUTING] > 0
    assert (is_routed.sum(dim=1) == 2).all()
    assert not z[~is_routed].any()


@every_mixture
def test_each_expert_is_masked_below_its_own_threshold(family):
    session = session_of(family)
    dense = session.capture(TOKENS, [POST])[POST]
    strength = dense.abs() * session.weight("W_out_norms", 0)
    width = dense.shape[1] // 4
    limits = (0.0, float(strength[strength > 0].median()), 1e9, 0.0)
    got = masked(limits, session)[POST]
    limit = torch.tensor(limits).repeat_interleave(width)
    assert torch.equal(got, torch.where(strength < limit, 0, dense))
    assert 0 < int((got[:, width : 2 * width] != 0).sum()) < int((dense[:, width : 2 * width] != 0).sum())


@every_mixture
def test_a_mask_over_experts_acts_the_same_from_its_recipe_and_with_a_cache(family):
    session = session_of(family)
    mask = MaskWeakNeurons(POST, (0.5, 1.0, 1e9, 0.0))
    again = operator_from_recipe(mask.recipe())
    assert again == mask
    written = [
        session.generate(TOKENS, 6, temperature=0, interventions=[again], use_cache=use) for use in (True, False)
    ]
    assert written[0] == written[1]
    assert not torch.equal(session.logits(TOKENS, [mask]), session.logits(TOKENS))
