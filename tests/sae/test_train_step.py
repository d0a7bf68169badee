"""Training a TopK SAE: each part by its formula, and a planted dictionary that is found."""

from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from kernels.topk import topk
from sae.dead_latents import DeadLatents
from sae.geometric_median import geometric_median
from sae.losses import fvu, mse_scale, normalised_error
from sae.moving_average import MovingAverage
from sae.sae_recipe import SaeRecipe
from sae.train_step import _auxiliary_loss, _reconstruction_loss, final_weights, start, take_step

RECIPE = SaeRecipe(d_sae=64, k=3, k_aux=8, batch_rows=256, total_rows=256 * 400, learning_rate=5e-3, warmup_steps=10)
N_DIRECTIONS, D_IN = 24, 16


def directions():
    draw = torch.Generator().manual_seed(3)
    planted = torch.randn(N_DIRECTIONS, D_IN, generator=draw)
    return planted / planted.norm(dim=1, keepdim=True)


def rows(n, draw):
    """Each row is three planted directions at strengths from 0.5 to 1.5, and an offset."""
    chosen = torch.rand(n, N_DIRECTIONS, generator=draw).argsort(dim=1)[:, :3]
    strength = torch.rand(n, 3, 1, generator=draw) + 0.5
    return (directions()[chosen] * strength).sum(dim=1) + 0.3


def trained(recipe, n_steps):
    draw = torch.Generator().manual_seed(0)
    training = start(recipe, rows(2000, draw))
    figures = [take_step(training, rows(recipe.batch_rows, draw)) for _ in range(n_steps)]
    return training, figures


@pytest.mark.parametrize("kind", ["topk", "batch_topk", "matryoshka"])
def test_a_planted_dictionary_is_found(kind):
    recipe = replace(RECIPE, kind=kind, prefixes=2)
    training, figures = trained(recipe, recipe.n_steps)
    found = final_weights(training)["W_dec"]
    closest = (directions() @ found.t()).amax(dim=1)
    # A random dictionary of this size has a mean of 0.6.
    assert closest.mean() > 0.85
    assert figures[-1]["fvu"] < 0.35 * figures[0]["fvu"]
    assert figures[-1]["l0"] <= recipe.k + 1e-6


def test_the_decoder_keeps_unit_norms():
    training, _ = trained(RECIPE, 30)
    torch.testing.assert_close(final_weights(training)["W_dec"].norm(dim=1), torch.ones(RECIPE.d_sae))


def test_the_first_outputs_are_as_long_as_unit_inputs():
    draw = torch.Generator().manual_seed(0)
    training = start(RECIPE, rows(2000, draw))
    unit = torch.randn(4000, D_IN, generator=draw)
    unit /= unit.norm(dim=1, keepdim=True)
    x = unit + training.weights["b_dec"].detach()
    codes = torch.zeros(4000, RECIPE.d_sae)
    pre = ((x - training.weights["b_dec"]) @ training.weights["encoder"].t()).relu()
    kept = pre.topk(RECIPE.k, dim=1)
    size = (codes.scatter(1, kept.indices, kept.values) @ training.weights["W_dec"]).norm(dim=1).mean()
    assert float(size.detach()) == pytest.approx(1, abs=0.1)


def test_the_geometric_median_ignores_how_far_an_outlier_is():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5], [0.5, 0.5], [1e6, 1e6]])
    torch.testing.assert_close(geometric_median(points, 1000), torch.tensor([0.5, 0.5]), atol=1e-3, rtol=0)


def test_a_latent_is_dead_after_so_many_further_steps():
    dead = DeadLatents.none_yet(3, dead_after_rows=10_000_000, batch_rows=131_072)
    assert dead.dead_after_steps == 76
    for step in range(76):
        dead.see(torch.tensor([[1.0, 5e-4 if step else 1.0]]), torch.tensor([[0, 1]]))
        assert dead.counter[0] == 1
        assert not dead.is_dead[1]
    dead.see(torch.tensor([[1.0]]), torch.tensor([[0]]))
    assert dead.is_dead.tolist() == [False, True, True]


def test_predicting_the_mean_of_the_sample_costs_1():
    x = torch.randn(500, 7, generator=torch.Generator().manual_seed(0)) * 3 + 2
    assert mse_scale(x) * float(((x - x.mean(0)) ** 2).mean()) == pytest.approx(1)
    assert fvu(x.mean(0).expand_as(x), x) == pytest.approx(1)
    assert fvu(x, x) == 0


def test_a_normalised_error_against_what_does_not_vary_is_0():
    assert normalised_error(torch.ones(3, 2), torch.zeros(3, 2)) == 0
    assert normalised_error(torch.zeros(3, 2), torch.zeros(3, 2)) == 0


def aux_of(is_dead):
    """The auxiliary loss of a fresh training in which these latents are dead, with its gradients."""
    draw = torch.Generator().manual_seed(0)
    training = start(RECIPE, rows(2000, draw))
    training.dead.counter[is_dead] = 10_000
    x = rows(64, draw)
    loss = _auxiliary_loss(training, x - training.weights["b_dec"].detach(), x)
    if loss.requires_grad:
        loss.backward()
    return loss, training.weights


def test_without_dead_latents_there_is_no_auxiliary_loss():
    loss, weights = aux_of(torch.zeros(RECIPE.d_sae, dtype=torch.bool))
    assert loss == 0
    assert weights["W_dec"].grad is None


def test_the_auxiliary_loss_reaches_dead_latents_and_b_dec_alone():
    is_dead = torch.arange(RECIPE.d_sae) < 20
    loss, weights = aux_of(is_dead)
    assert 0 < float(loss.detach()) < 10
    assert (weights["W_dec"].grad[~is_dead] == 0).all()
    assert (weights["encoder"].grad[~is_dead] == 0).all()
    assert (weights["W_dec"].grad[is_dead].abs().sum(dim=1) > 0).any()
    assert weights["b_dec"].grad.abs().sum() > 0


def test_multi_topk_with_4_k_over_the_dictionary_adds_an_eighth_of_the_dense_loss():
    draw = torch.Generator().manual_seed(0)
    recipe = replace(RECIPE, d_sae=8, k=3, multi_k=True)
    training = start(recipe, rows(500, draw))
    x = rows(32, draw)
    weights = {name: value.detach() for name, value in training.weights.items()}
    pre = ((x - weights["b_dec"]) @ weights["encoder"].t() + weights["b_enc"]).relu()
    kept = topk(pre, 3)
    few = torch.zeros_like(pre).scatter(1, kept.indices, kept.values)
    errors = [float(((z @ weights["W_dec"] + weights["b_dec"] - x) ** 2).mean()) for z in (few, pre)]
    guess = few @ weights["W_dec"] + weights["b_dec"]
    found = _reconstruction_loss(training, x, kept, guess)
    assert float(found.detach()) == pytest.approx(errors[0] + errors[1] / 8, rel=1e-5)


def test_the_loss_of_nested_dictionaries_is_the_sum_over_their_prefixes():
    draw = torch.Generator().manual_seed(0)
    training = start(replace(RECIPE, kind="matryoshka", prefixes=3), rows(500, draw))
    x = rows(32, draw)
    assert training.recipe.group_sizes == (16, 32, 64)
    weights = {name: value.detach() for name, value in training.weights.items()}
    kept = topk(((x - weights["b_dec"]) @ weights["encoder"].t() + weights["b_enc"]).relu(), 3)
    z = torch.zeros(32, 64).scatter(1, kept.indices, kept.values)
    guesses = [z[:, :size] @ weights["W_dec"][:size] + weights["b_dec"] for size in (16, 32, 64)]
    expected = sum(float(((guess - x) ** 2).mean()) for guess in guesses)
    assert float(_reconstruction_loss(training, x, kept, guesses[-1]).detach()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("n_steps", [1, 2, 50])
def test_the_average_of_constant_weights_is_those_weights(n_steps):
    average, weights = MovingAverage(0.999), {"w": torch.tensor([1.5, -2.0])}
    for _ in range(n_steps):
        average.see(weights)
    torch.testing.assert_close(average.weights()["w"], weights["w"])


def test_a_step_that_is_not_finite_stops_the_training():
    training, _ = trained(RECIPE, 2)
    with pytest.raises(FloatingPointError, match="step 2"):
        take_step(training, torch.full((256, D_IN), float("nan")))


@pytest.mark.parametrize(
    "wrong", [{"k": 0}, {"k": 65}, {"kind": "gated"}, {"d_sae": 0, "k": 0}, {"batch_rows": 1}, {"precision": "int8"}]
)
def test_a_recipe_that_cannot_be_followed_is_refused(wrong):
    with pytest.raises(UserError):
        replace(RECIPE, **wrong).check()


def test_the_rate_warms_up_holds_and_falls_to_0():
    recipe = replace(RECIPE, total_rows=256 * 100, decay_from=0.8)
    rates = [recipe.rate_at(step) / recipe.learning_rate for step in (0, 9, 50, 79, 90, 99)]
    assert rates == pytest.approx([0.1, 1, 1, 1, 0.5, 0.05])
