"""Every family of models, tiny and random: same numbers as the plain model, alone or in a batch, cached or not."""

from functools import cache

import pytest
import torch

from capture.errors import UserError
from capture.faithfulness import check
from capture.hook_point import BLOCK_SITES, GLOBAL_SITES, HookPoint
from capture.intervention import AddVector, Entry, ReplaceEntries
from capture.session import ModelSession
from tests.models import FAMILIES, tiny_tokenizer

TEXT = "the bear sat on the mat and looked at the moon"
CHANGES = (
    AddVector(HookPoint(1, "resid_post"), tuple(0.1 * index - 1 for index in range(32)), 0.7, from_pos=4),
    ReplaceEntries(HookPoint(0, "mlp_out"), (Entry(2, 5, 3.0), Entry(None, 6, -2.0), Entry(20, 1, 4.0))),
)
every_family = pytest.mark.parametrize("family", FAMILIES)


@cache
def session_of(family: str, dtype: torch.dtype = torch.float32) -> ModelSession:
    return ModelSession(FAMILIES[family](dtype=dtype), tiny_tokenizer(), name=f"tiny {family}")


def points_of(session: ModelSession) -> list[HookPoint]:
    blocks = [HookPoint(layer, site) for layer in range(session.shape.n_layers) for site in BLOCK_SITES]
    return [at for at in [*blocks, *(HookPoint(None, site) for site in GLOBAL_SITES)] if session.has_site(at)]


@every_family
def test_a_family_is_faithful(family):
    session = session_of(family)
    result = check(session, session.tokens(TEXT, bos=True))
    assert result.status == "ok"
    assert result.logit_max_diff < 2e-5
    assert min(result.cosine_by_layer) > 1 - 1e-9
    # Sums of three numbers in another order than the model's: rounding in float32.
    assert result.identity_max_diff < 1e-6


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "qwen3_moe"])
def test_a_family_is_faithful_in_bfloat16(family):
    """Not Qwen3-MoE: with weights this random, rounding sends one token to another expert."""
    session = session_of(family, torch.bfloat16)
    assert check(session, session.tokens(TEXT, bos=True)).status == "ok"


@every_family
def test_a_row_of_a_batch_is_as_if_run_alone(family):
    session = session_of(family)
    points = points_of(session)
    tokens = session.tokens(TEXT, bos=True)
    rows = [tokens[:4], tokens, tokens[:1], tokens[3:12]]
    for row, captured in zip(rows, session.capture_batch(rows, points, CHANGES), strict=True):
        alone = session.capture(row, points, CHANGES)
        for at in points:
            assert captured[at].shape == alone[at].shape
            # Rounding: matrix products of another shape sum in another order.
            torch.testing.assert_close(captured[at], alone[at], atol=2e-5, rtol=1e-4)


@every_family
def test_greedy_tokens_agree_with_and_without_the_cache(family):
    session = session_of(family)
    prompt = session.tokens(TEXT, bos=True)[:8]
    cached, uncached = (
        session.generate(prompt, 16, temperature=0, interventions=CHANGES, use_cache=use) for use in (True, False)
    )
    assert cached == uncached
    assert cached != session.generate(prompt, 16, temperature=0)


@every_family
def test_captured_tensors_are_not_written_to_by_the_rest_of_the_pass(family):
    """A capture keeps the model's own tensors; each alone, copied at once, has the same values."""
    session = session_of(family)
    tokens = session.tokens(TEXT, bos=True)
    points = points_of(session)
    together, copied = session.capture(tokens, points), {}

    def keep(at, values, text_index, pos):
        copied[at] = values.clone()

    session.stream([tokens], points, keep)
    for at in points:
        by_pos = together[at].transpose(0, 1) if at.site in ("pattern", "attn_scores") else together[at]
        assert torch.equal(by_pos, copied[at])


@every_family
def test_a_family_has_the_sites_that_its_blocks_have(family):
    session = session_of(family)
    missing = {at.site for at in (HookPoint(0, site) for site in BLOCK_SITES) if not session.has_site(at)}
    of_experts = {"router_logits", "routing_weights", "expert_post"}
    plain = {"mlp_pre_linear", *of_experts}
    experts = {"mlp_pre", "mlp_pre_linear", "mlp_post"}
    expected = {
        "gpt2": plain,
        "gpt_neox": plain | {"resid_mid"},
        "opt": plain | {"mlp_in", "attn_scores"},
        **dict.fromkeys(("mixtral", "qwen3_moe", "olmoe"), experts),
        "gpt_oss": experts | {"router_logits"},
    }
    assert missing == expected.get(family, of_experts)


@every_family
def test_a_change_at_every_editable_site_reaches_the_logits(family):
    """Where it would not, the site is refused."""
    session = session_of(family)
    tokens = session.tokens(TEXT, bos=True)[:6]
    clean = session.logits(tokens)
    for at in points_of(session):
        if at.layer != 1 or not at.is_editable or at.site in ("pattern", "ln1_normalized", "ln2_normalized"):
            continue
        width = session.capture(tokens, [at])[at][0].numel()
        # From position 3 on only: the same addition to every key would leave every softmax as it was.
        vector = tuple(3.0 * (index % 3) for index in range(width))
        changed = session.logits(tokens, [AddVector(at, vector, from_pos=3)])
        assert (changed - clean).abs().max() > 1e-3, at


def test_blocks_in_parallel_have_no_resid_mid():
    with pytest.raises(UserError, match="no resid_mid in block 1"):
        session_of("gpt_neox").capture((0, 5), [HookPoint(1, "resid_mid")])


@pytest.mark.parametrize("family", ["mixtral", "qwen3_moe", "olmoe"])
def test_router_logits_are_by_position_and_come_from_the_routers_weight(family):
    session = session_of(family)
    at, given = HookPoint(0, "router_logits"), HookPoint(0, "mlp_in")
    captured = session.capture((0, 5, 6, 7, 8), [at, given])
    assert captured[at].shape == (5, 4)
    router = next(p for name, p in FAMILIES[family]().named_parameters() if name.endswith("mlp.gate.weight"))
    torch.testing.assert_close(captured[at], captured[given] @ router.detach().T, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("site", ["mlp_pre", "mlp_post"])
def test_a_mixture_of_experts_has_no_neurons_to_read(site):
    session = session_of("qwen3_moe")
    with pytest.raises(UserError, match=f"mixture of experts, so its {site} has no neurons"):
        session.capture((0, 5), [HookPoint(0, site)])
    assert session.has_site(HookPoint(1, site)), "block 1 of the tiny Qwen3-MoE is dense"


def test_a_mixture_of_experts_has_no_dense_weights():
    with pytest.raises(UserError, match="Block 0 of this model has no W_in"):
        session_of("mixtral").weight("W_in", 0)


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in ("mixtral", "olmoe", "gpt_oss", "gemma2")])
def test_w_out_carries_neurons_to_the_mlps_output(family):
    """Gemma 2 is left out because a norm follows, mixtures because they have no neurons."""
    session = session_of(family)
    post, out = HookPoint(1, "mlp_post"), HookPoint(1, "mlp_out")
    captured = session.capture((0, 5, 6), [post, out])
    difference = captured[out] - captured[post] @ session.weight("W_out", 1)
    # What is left is the bias: the same at every position.
    assert (difference - difference[0]).abs().max() < 1e-5


def test_gemmas_gain_counts_from_one():
    session = session_of("gemma2")
    normalized, out = HookPoint(0, "ln1_normalized"), HookPoint(0, "ln1_out")
    captured = session.capture((0, 5, 6), [normalized, out])
    torch.testing.assert_close(captured[normalized] * session.weight("ln1", 0), captured[out], atol=1e-5, rtol=1e-5)
