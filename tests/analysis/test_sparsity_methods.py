"""The rivals by their definitions: weak sets, thresholds, and what a sparse decode need not read."""

import numpy as np
import pytest
import torch
from scipy import stats

from analysis.sparse_pass import run_candidates
from analysis.sparsity_dense import INPUT_SITES, SCORE_BINS, teal_threshold
from analysis.sparsity_methods import SLUGS, frontier_plan, mean_zero_shares, methods_for, rival, skipped_share
from analysis.teal_greedy import greedy_masks, weight_shares
from capture.hook_point import HookPoint
from capture.mask import KeepLargest, MaskBelow
from capture.session import ModelSession
from tests.analysis.test_sparsity import TEXTS, dense_of, measured, quiet, session_of, subject_of
from tests.models import tiny_llama, tiny_tokenizer

POINTS = [HookPoint(layer, site) for layer in range(3) for site in INPUT_SITES]
SHARES = (0.2, 0.5, 0.8)


def passed_of(name, candidates):
    session = session_of(name)
    return run_candidates(session, subject_of(session).texts, candidates, POINTS)


def zero_share_of(name, slug, shares=SHARES):
    dense = dense_of(subject_of(session_of(name)), quiet)
    passed = passed_of(name, [rival(slug, dense, share) for share in shares])
    return [mean_zero_shares(row, POINTS) for row in passed.zero_share]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("slug", ["top_k", "fat", "cats"])
def test_fact_4_more_is_zero_where_more_is_asked_for(name, slug):
    zeros = [one["mlp_post"] for one in zero_share_of(name, slug)]
    assert zeros == sorted(zeros)
    # The sparse run's own activations differ from the dense ones that thresholds come from; top-k counts exactly.
    assert zeros == pytest.approx(SHARES, abs=0.011 if slug == "top_k" else 0.12)


def test_teal_zeroes_all_four_inputs_at_about_the_share_asked_for():
    for share, zeros in zip(SHARES, zero_share_of("llama", "teal"), strict=True):
        for site in INPUT_SITES:
            assert zeros[site] == pytest.approx(share, abs=0.12), site


@pytest.mark.parametrize("name", ["llama", "opt", "gpt2"])
def test_fact_10_keeping_all_and_a_threshold_of_0_are_identities(name):
    session = session_of(name)
    tokens = subject_of(session).texts[0]
    width, clean = session.shape.d_mlp, session.logits(tokens)
    every = [HookPoint(layer, "mlp_post") for layer in range(3)]
    for changes in ([KeepLargest(at, width) for at in every], [MaskBelow(at, 0.0) for at in every]):
        assert torch.equal(session.logits(tokens, changes), clean)


@pytest.mark.parametrize(
    ("distribution", "thresholds"),
    [(stats.norm, (0.3186, 0.6745, 1.1503)), (stats.laplace, (0.2877, 0.6931, 1.3863))],
    ids=["normal", "Laplace"],
)
def test_fact_11_teals_thresholds_of_known_distributions(distribution, thresholds):
    values = distribution.ppf((np.arange(400_000) + 0.5) / 400_000).astype(np.float32)
    counts = SCORE_BINS.count_signed(values)
    found = [teal_threshold(counts, share) for share in (0.25, 0.5, 0.75)]
    # A bin of the histogram is 0.8 % wide.
    assert found == pytest.approx(thresholds, rel=0.008)


def test_teal_thresholds_nothing_of_an_input_that_is_below_zero():
    assert teal_threshold(SCORE_BINS.count_signed(np.full(10, -1.0, np.float32)), 0.5) == 0.0


def test_fact_5_rescaling_the_up_branch_leaves_the_masks_on_the_gate_score_as_they_are():
    before, changed = tiny_llama(), tiny_llama()
    with torch.no_grad():
        for block in changed.model.layers:
            block.mlp.up_proj.weight *= 4.0
            block.mlp.down_proj.weight /= 4.0
    sessions = [ModelSession(model, tiny_tokenizer(), name="m") for model in (before, changed)]
    for slug in ("top_k", "fat", "cats"):
        zeros = []
        for session in sessions:
            masks = rival(slug, dense_of(subject_of(session), quiet), 0.5)
            seen = session.capture(subject_of(session).texts[0], POINTS, masks)
            zeros.append(torch.stack([seen[HookPoint(layer, "mlp_post")] == 0 for layer in range(3)]))
        assert torch.equal(*zeros)


def test_rows_of_one_batch_give_what_each_candidate_gives_alone():
    session = session_of("llama")
    dense = dense_of(subject_of(session), quiet)
    candidates = [rival(slug, dense, 0.5) for slug in ("top_k", "fat", "teal")]
    together = passed_of("llama", [(), *candidates])
    np.testing.assert_allclose(together.losses[0], dense.losses, rtol=1e-5)
    for number, candidate in enumerate(candidates):
        for text, tokens in enumerate(subject_of(session).texts):
            alone = float(session.loss(tokens, candidate).double().sum())
            assert together.losses[number + 1, text] == pytest.approx(alone, rel=1e-4)


@pytest.mark.parametrize(
    ("slug", "has_gate", "share"),
    [
        ("cett", True, 0.6 / 3),
        ("zero", False, 0.6 / 2),
        ("cats", True, 2 * 0.6 / 3),
        ("top_k", True, 0.6 / 3),
        ("fat", True, 0.6 / 3),
        ("top_k", False, 0.6 / 2),
        ("teal", True, (2 * 0.3 + 0.6) / 3),
        ("teal", False, (0.3 + 0.6) / 2),
    ],
)
def test_the_weights_that_need_not_be_read_are_counted_by_matrix(slug, has_gate, share):
    assert skipped_share(slug, {"mlp_post": 0.6, "ln2_out": 0.3}, has_gate) == pytest.approx(share)


def test_cats_does_not_apply_without_a_gate_and_says_why():
    gated, plain = (session_of(name).shape for name in ("llama", "gpt2"))
    assert [one["reason"] for one in methods_for(gated, True)] == [""] * len(SLUGS)
    assert {one["slug"] for one in methods_for(plain, True) if one["reason"]} == {"cats"}
    plan = frontier_plan(dense_of(subject_of(session_of("gpt2")), quiet))
    assert "cats" not in {slug for slug, _, _ in plan}


def test_every_method_has_a_point_on_the_frontier():
    arrays = measured(session_of("llama"), teal_greedy=True).arrays
    assert set(arrays["frontier_method"].tolist()) == set(range(len(SLUGS)))
    assert (arrays["frontier_skipped_share"] <= arrays["frontier_oracle_share"] + 1e-9).all()


def test_greedy_teal_takes_the_inputs_whose_zeros_cost_nothing_first():
    """Attention of block 1 writes nothing, so zeros among the inputs of its matrices change nothing."""
    model = tiny_llama()
    with torch.no_grad():
        model.model.layers[1].self_attn.o_proj.weight.zero_()
    session = ModelSession(model, tiny_tokenizer(), name="mute")
    subject = subject_of(session, TEXTS[:1])
    few, many = greedy_masks(subject, dense_of(subject, quiet), (0.2, 0.6), quiet)
    sites = [{at.site for change in masks for at in change.hook_points() if at.layer == 1} for masks in (few, many)]
    assert sites[0]
    assert sites[0] <= {"ln1_out", "z"}
    assert sites[0] < sites[1]
    assert sum(weight_shares(session.shape).values()) == pytest.approx(1)
