"""ITI, SADI, K-steering, CAST and the refusal direction find what was planted."""

import math
from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.contrast_pairs import Example, contrast_of
from steering.fit_rows import RowsAsked, fit_texts
from steering.fitted import Fitted, Setting
from steering.fitting import fit_method
from steering.method import methods
from steering.methods import iti, k_steering, refusal_direction
from steering.methods.cast_condition import (
    IBM_COMPARATORS,
    Condition,
    best_threshold,
    condition_of,
    f1,
    similarity,
)
from steering.methods.refusal_direction import Candidate, behaviour_score, choose
from steering.methods.sadi import chosen_components
from tests.models import tiny_llama, tiny_tokenizer
from tests.steering.planted import AT, UP, direction, planted_pairs, planted_session, spool_of, swapped

Z = HookPoint(0, "z")


def gaussians(n=400, d=32, gap=3.0, seed=0):
    """Rows, and labels 0 and 1 in turn; those of label 0 lie `gap` further along the first axis."""
    labels = torch.arange(n) % 2
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    x[:, 0] += gap * (labels == 0)
    return x, labels


def test_the_head_that_tells_the_labels_apart_is_found_with_its_spread():
    """Planted in head 2 of four: its first entry; 400 rows, so that the direction is off by about 1 / sqrt(100)."""
    x, labels = gaussians(d=32)
    x = torch.roll(x, 16, dims=1)
    spool, held_out = spool_of(x, labels), torch.arange(400) % 5 == 4
    options = {"direction": "mean_difference"}
    heads = [iti.read_head(spool, Z, head, 8, held_out, options) for head in range(4)]
    assert max(heads, key=lambda one: one.accuracy).head == 2
    assert heads[2].accuracy > 0.88
    assert float(heads[2].theta[0]) > 0.98
    assert math.isclose(float(heads[2].theta.norm()), 1.0, abs_tol=1e-6)
    assert math.isclose(heads[2].sigma, float((x[:, 16:24] @ heads[2].theta).std(correction=0)), abs_tol=1e-4)


def test_iti_moves_the_best_heads_by_their_spread():
    """Fact 3.5 (15): alpha times sigma along a direction of length 1, zero in the other heads."""
    found = fit_method(methods()["iti"], planted_session(), planted_pairs(), [0, 1], {"n_heads": 3})
    table = found.facts["heads"]
    assert len(table) == 3
    assert [row["accuracy"] for row in table] == sorted((row["accuracy"] for row in table), reverse=True)
    for row in table:
        at, part = HookPoint.parse(row["at"]), slice(row["head"] * 8, row["head"] * 8 + 8)
        assert math.isclose(float(found.vectors[at][part].norm()), row["sigma"], rel_tol=1e-5)
    n_moved = sum(int((vector.view(-1, 8) != 0).any(dim=1).sum()) for vector in found.vectors.values())
    assert n_moved == 3
    with pytest.raises(UserError, match="own spread"):
        iti.apply(found, Setting(unit="relative"))


def test_held_out_texts_are_whole_pairs():
    flags = iti.held_out_texts(planted_pairs(), 0.25).view(-1, 2)
    assert torch.equal(flags[:, 0], flags[:, 1])
    assert flags[:, 0].tolist() == [i % 4 == 3 for i in range(12)]
    with pytest.raises(UserError, match="too few texts"):
        iti.held_out_texts(planted_pairs(2), 0.2)


def test_sadi_masks_the_entries_that_differ_most():
    found = fit_method(methods()["sadi"], planted_session(), planted_pairs(), [0, 1], {"n_components": 5})
    kept = [mask for mask in found.vectors.values() if mask.any()]
    assert sum(int(mask.sum()) for mask in kept) == 5
    assert set(torch.cat(kept).unique().tolist()) == {0.0, 1.0}
    differences = {AT: torch.tensor([0.1, -3.0, 0.0]), HookPoint(1, "resid_pre"): torch.tensor([2.0, 0.0, 3.0])}
    assert chosen_components(differences, 3) == {AT: [1], HookPoint(1, "resid_pre"): [2, 0]}
    assert chosen_components(differences, 9) == {AT: [1, 0], HookPoint(1, "resid_pre"): [2, 0]}


def test_sadi_takes_whole_heads():
    found = fit_method(methods()["sadi"], planted_session(), planted_pairs(), [0], {"n_components": 2}, "z")
    assert found.vectors[Z].view(4, 8).sum(dim=1).sort().values.tolist() == [0.0, 0.0, 8.0, 8.0]


def test_the_classifier_learns_the_labels_and_its_step_goes_along_the_planted_axis():
    x, labels = gaussians(n=600, d=16, gap=4.0)
    contrast = contrast_of("g", ("a", "b"), [Example("x", "a"), Example("y", "b")], False)
    options = {"hidden": 16, "n_epochs": 15, "learning_rate": 1e-2, "seed": 0}
    found = k_steering.fit_spool(AT, spool_of(x, labels), contrast, options)
    assert found.facts["training_accuracy"] > 0.95
    step = found.vectors[AT] / found.vectors[AT].norm()
    assert float(step[0]) > 0.9
    (change,) = k_steering.apply(found, Setting(2.0, "relative"))
    moved = change(x[None], AT, 0)[0] - x
    assert float(moved[:, 0].mean()) > 0
    assert math.isclose(float(moved.norm(dim=1).mean()), 2.0 * found.mean_norms[AT], rel_tol=1e-3)


def test_cast_similarity_of_known_vectors():
    """Fact 3.5 (12)."""
    h = torch.tensor([3.0, 4.0])
    assert math.isclose(float(similarity(h, torch.tensor([1.0, 0.0]))), 0.6, abs_tol=1e-6)
    assert math.isclose(float(similarity(h, torch.tensor([0.6, 0.8]))), 0.99025, abs_tol=1e-5)
    turned = similarity(torch.tensor([100.0, 1000.0]), torch.tensor([10.0, -0.5]))
    assert math.isclose(float(turned), -0.628, abs_tol=1e-3)


def test_cast_similarity_ignores_sign_and_length_of_the_vector_and_nears_the_cosine_for_small_states():
    """Fact 3.5 (12)."""
    h, c = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    assert math.isclose(float(similarity(h, c)), float(similarity(h, -3.0 * c)), abs_tol=1e-6)
    cosine = abs(float(torch.nn.functional.cosine_similarity(h, c, dim=0)))
    assert math.isclose(float(similarity(1e-3 * h, c)), cosine, abs_tol=1e-4)


def test_the_comparison_is_spelled_out_and_ibms_words_are_turned_round():
    """Part 7: in IBM's code "larger" is met when sim is below the threshold."""
    assert IBM_COMPARATORS == {"larger": "<", "smaller": ">"}
    with pytest.raises(UserError, match="has no 'larger'"):
        Condition(AT, (1.0,), 0.0, "larger")


def test_the_best_threshold_parts_the_classes():
    sims, true = torch.tensor([0.1, 0.9, 0.2, 0.7]), torch.tensor([True, False, True, False])
    cut, comparator, score = best_threshold(sims, true)
    assert (comparator, score) == ("<", 1.0)
    assert math.isclose(cut, 0.45, abs_tol=1e-6)
    assert math.isclose(f1(torch.tensor([True, True, False]), torch.tensor([True, False, True])), 0.5)


def test_a_condition_holds_for_prompts_of_its_class_alone():
    session = planted_session()
    found = fit_method(methods()["cast_condition"], session, planted_pairs(), [0], {}, "resid_pre")
    condition = condition_of(found)
    assert found.facts["f1"] > 0.8
    texts = fit_texts(session, planted_pairs(), True)
    said = torch.tensor([condition.holds(session, text.tokens) for text in texts])
    true = torch.tensor([True, False] * 12)
    assert math.isclose(f1(said, true), found.facts["f1"], abs_tol=1e-9)
    assert Condition.from_recipe(condition.recipe()) == condition


def test_the_refusal_score_of_known_probabilities():
    """Fact 3.5 (9), and P = .9 → 2.197."""
    p = torch.linspace(0, 1, 11).double()
    scores = behaviour_score(p)
    assert abs(float(scores[5])) < 1e-9
    torch.testing.assert_close(scores, -scores.flip(0), atol=1e-6, rtol=0)
    assert bool((scores.diff() > 0).all())
    assert bool(scores.isfinite().all())
    assert math.isclose(float(scores[9]), 2.197, abs_tol=1e-3)


def test_the_candidate_is_chosen_within_the_budgets():
    def candidate(bypass, induced, kl):
        return Candidate(AT, -1, bypass, induced, kl)

    good, dear, weak = candidate(-1.0, 0.5, 0.05), candidate(-5.0, 2.0, 0.3), candidate(-4.0, -1.0, 0.01)
    assert choose([dear, good, weak], 0.1, 0.0) == good
    assert choose([dear, good, weak], 0.5, 0.0) == dear
    with pytest.raises(UserError, match=r"lowest KL is 0\.01, the highest induced score 2"):
        choose([dear, weak], 0.1, 0.0)


def test_the_refusal_direction_is_the_mean_difference_at_the_chosen_place():
    session, contrast = planted_session(), planted_pairs(8)
    given = {"n_positions": 2, "kl_budget": 100.0, "least_induced": -100.0, "opening": "A|Q"}
    found = fit_method(methods()["refusal_direction"], session, contrast, [0, 1, 2], given)
    chosen, candidates = found.facts["chosen"], found.facts["candidates"]
    assert {one["at"] for one in candidates} == {f"blocks.{layer}.hook_resid_pre" for layer in range(3)}
    assert chosen["bypass"] == min(one["bypass"] for one in candidates)
    at, (fitting, _) = HookPoint.parse(chosen["at"]), contrast.halves()
    rows = [
        session.capture(text.tokens, [at])[at][chosen["position"]].double()
        for text in fit_texts(session, fitting, True)
    ]
    plain = torch.stack(rows[::2]).mean(dim=0) - torch.stack(rows[1::2]).mean(dim=0)
    torch.testing.assert_close(found.vectors[at].double(), plain, atol=1e-5, rtol=0)


def test_ablation_reaches_every_place_that_reads_or_writes_the_stream():
    """Fact 3.5 (8) at activations: nothing is left along the direction in any block's input or output."""
    session, v = planted_session(), direction()
    changes = refusal_direction.ablations(session, v)
    assert len(changes) == 9
    points = [HookPoint(layer, site) for layer in range(3) for site in ("resid_pre", "resid_post")]
    seen = session.capture(session.tokens(UP, True), points, changes)
    assert max(float((rows @ v).abs().max()) for rows in seen.values()) < 1e-4


def test_projected_weights_are_the_ablation():
    """Fact 3.5 (8): in a Llama without biases the embedding and the two matrices that write to the stream suffice."""
    v, tokens = direction(), (0, 9, 8, 7, 30, 40)
    model = tiny_llama()
    with torch.no_grad():
        embedding = model.get_input_embeddings().weight
        embedding -= torch.outer(embedding @ v, v)
        for block in model.model.layers:
            for matrix in (block.self_attn.o_proj.weight, block.mlp.down_proj.weight):
                matrix -= torch.outer(v, v @ matrix)
    edited, plain = (ModelSession(one, tiny_tokenizer(), name="m") for one in (model, tiny_llama()))
    ablated = plain.logits(tokens, refusal_direction.ablations(plain, v))
    torch.testing.assert_close(ablated, edited.logits(tokens), atol=2e-4, rtol=0)


def test_a_condition_looks_at_prompt_and_text_alike():
    whole = planted_pairs()
    split = contrast_of(
        "planted", whole.labels, [replace(one, prompt=one.text[:2], text=one.text[2:]) for one in whole.examples], True
    )
    one, other = (
        fit_method(methods()["cast_condition"], planted_session(), some, [0], {"skip_first": False}, "resid_pre")
        for some in (whole, split)
    )
    assert condition_of(one) == condition_of(other)


def test_opening_words_are_first_tokens_and_must_be_there():
    session = planted_session()
    assert refusal_direction.opening_tokens(session, "A|AB|Q") == tuple(
        session.tokens(letter, False)[0] for letter in "AQ"
    )
    with pytest.raises(UserError, match="At least one opening word"):
        refusal_direction.opening_tokens(session, " | ")


@pytest.mark.parametrize("slug", ["mean_difference", "contrast_pca", "logistic_probe"])
def test_a_planted_direction_survives_swapped_labels_for_the_operators_that_ignore_sign(slug):
    one, other = (
        fit_method(methods()[slug], planted_session(), contrast, [0], {}, "resid_pre")
        for contrast in (planted_pairs(), swapped(planted_pairs()))
    )
    x = torch.randn(1, 4, 32, generator=torch.Generator().manual_seed(1))
    out, again = (methods()["project_out"].apply(fitted, Setting())[0](x, AT, 0) for fitted in (one, other))
    torch.testing.assert_close(out, again, atol=1e-4, rtol=0)


def test_settings_scale_by_layer_and_by_mean_norm():
    later = HookPoint(1, "resid_pre")
    fitted = Fitted("x", {AT: torch.tensor([3.0, 4.0]), later: torch.tensor([1.0, 0.0])}, {AT: 20.0, later: 7.0}, {})
    setting = Setting(0.5, "relative", weights={1: 0.0})
    (change,) = methods()["mean_difference"].apply(fitted, setting)
    assert change(torch.zeros(1, 1, 2), AT, 0).tolist() == [[[6.0, 8.0]]]
    (clamp,) = methods()["clamp_direction"].apply(fitted, Setting(1.0, "relative", value=0.5, weights={1: 0.0}))
    assert clamp(torch.zeros(1, 1, 2), AT, 0).tolist() == [[[6.0, 8.0]]]
    for broken in ({"unit": "inches"}, {"strength": float("nan")}, {"strength": 1e39}):
        with pytest.raises(UserError):
            Setting(**broken)


def test_every_method_names_rows_it_can_be_fitted_on():
    for method in methods().values():
        assert (method.fit is None) == (method.needs in ("direction", "models", "sentence"))
        if any(option.name == "massive_ratio" for option in method.options):
            RowsAsked.of({option.name: option.default for option in method.options})
