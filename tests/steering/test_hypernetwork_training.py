"""Training through a frozen model: acceptance fact 4.5 (4), stops, resumption, and what cannot be trained."""

import math
from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from sae.training_curve import read_curve
from steering import hypernetwork_training as training
from steering.concept_rows import continuation_losses, row_of
from steering.concepts import Example, concept_set
from steering.hypernetwork import Hypernetwork
from steering.hypernetwork_gains import gains
from steering.hypernetwork_making import make_hypernetwork
from steering.hypernetwork_recipe import RECONSTRUCTION, VARIANTS, learning_rate
from tests.steering.hypernetworks import AT, D_MODEL, noisy, small_concepts, small_recipe


def run_of(session, folder, **changes):
    return training.Run(session, small_concepts(), AT, small_recipe(**changes), folder)


def trained(run, progress=lambda share, words: None, save_every_s=1e9):
    return training.train_hypernetwork(run, progress, save_every_s)[0].state_dict()


class Stop(Exception):
    pass


def stopping_at(n_steps):
    n_told = 0

    def progress(share, words):
        nonlocal n_told
        n_told += share > 0
        if n_told == n_steps:
            raise Stop

    return progress


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_gradient_through_the_frozen_model_is_that_of_finite_differences(variant, tiny_session, tmp_path):
    """Fact 4.5 (4), on the weight with the largest gradient, detection loss included."""
    run = run_of(tiny_session, tmp_path, variant=variant, length=0.5, detection_weight=0.5)
    found, network = training.material(run, lambda share, words: None), noisy(run.recipe)
    loss = training.batch_loss(run, found, network, 3)
    loss.backward()
    weight, step = network.blocks[0].attend.value.weight, 1e-2
    place = divmod(int(weight.grad.abs().argmax()), D_MODEL)
    sides = []
    for sign in (1, -1):
        with torch.no_grad():
            weight[place] += sign * step
            sides.append(float(training.batch_loss(run, found, network, 3)))
            weight[place] -= sign * step
    assert (sides[0] - sides[1]) / (2 * step) == pytest.approx(float(weight.grad[place]), rel=0.02)


def test_the_model_has_no_gradient_and_stays_byte_for_byte_as_it_was(tiny_session, tmp_path):
    """Fact 4.5 (4)."""
    parameters = dict(tiny_session._wiring.bridge.named_parameters())
    before = {name: one.detach().clone() for name, one in parameters.items()}
    trained(run_of(tiny_session, tmp_path, learning_rate=0.1))
    assert all(torch.equal(one, before[name]) for name, one in parameters.items())
    assert all(one.grad is None for one in parameters.values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_first_steered_run_is_the_clean_one(variant, tiny_session, tmp_path):
    """Δ = 0 before training, so the loss through it is the loss of the model as it is."""
    run = run_of(tiny_session, tmp_path, variant=variant)
    found = training.material(run, lambda share, words: None)
    network = Hypernetwork(run.recipe, D_MODEL).started(run.recipe)
    assert training._judge(run, found, network, "held_out") == training._judge(run, found, None, "held_out")


def test_training_makes_texts_of_the_concepts_likelier(tiny_session, tmp_path):
    run = run_of(tiny_session, tmp_path, n_steps=30, learning_rate=0.01, length=0.5)
    trained(run)
    first, last = read_curve(tmp_path)[0], read_curve(tmp_path)[-1]
    assert last["loss"] < first["loss"]
    assert last["gain_held_in"] > max(0.05, first["gain_held_in"])


def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(tiny_session, tmp_path):
    whole = trained(run_of(tiny_session, tmp_path / "whole", warm_start=2))
    run = run_of(tiny_session, tmp_path / "parts", warm_start=2)
    with pytest.raises(Stop):
        trained(run, stopping_at(4), save_every_s=0.0)
    resumed = trained(run)
    assert all(torch.equal(one, whole[name]) for name, one in resumed.items())
    assert [one["step"] for one in read_curve(run.out)] == [1, 2, 3, 4, 5, 6]


def test_what_was_trained_so_far_can_be_written_as_it_is(tiny_session, tmp_path):
    run = run_of(tiny_session, tmp_path)
    with pytest.raises(UserError, match="no checkpoint"):
        make_hypernetwork(run, goes_on=False)
    with pytest.raises(Stop):
        trained(run, stopping_at(4), save_every_s=0.0)
    found = make_hypernetwork(run, goes_on=False)
    kept = torch.load(tmp_path / training.CHECKPOINT, weights_only=True)
    assert found.facts["n_steps"] == kept["step"] == 4
    assert torch.equal(found.network.head.weight, kept["weights"]["head.weight"].bfloat16().float())


def test_the_curve_has_a_gain_by_another_concepts_vector_only_where_there_is_another(tiny_session, tmp_path):
    run = run_of(tiny_session, tmp_path)
    assert (len(run.concepts.held_in), len(run.concepts.held_out)) == (5, 1)
    trained(run)
    (point, *_) = read_curve(run.out)
    assert {name for name in point if "_" in name} == {"gain_held_in", "other_held_in", "gain_held_out"}


def test_gains_are_of_texts_that_no_fit_saw_by_own_and_other_vectors(tiny_session, tmp_path):
    found = make_hypernetwork(run_of(tiny_session, tmp_path, n_steps=30, learning_rate=0.01, length=0.5))
    concepts = concept_set(
        "words", [replace(one, is_held_out=one.name in ("stars", "night")) for one in small_concepts().concepts]
    )
    report = gains(found, tiny_session, concepts, n_texts=2)
    assert (report["n_learnt"], report["held_in"]["n"], report["held_out"]["n"]) == (5, 4, 2)
    held_in = report["held_in"]
    assert held_in["gain"]["low"] <= held_in["gain"]["mean"] <= held_in["gain"]["high"]
    assert held_in["gain"]["mean"] > 0.05
    assert abs(held_in["specific"]["mean"]) < held_in["gain"]["mean"]


def test_a_loss_that_is_no_number_stops_and_keeps_the_last_good_checkpoint(tiny_session, tmp_path, monkeypatch):
    run = run_of(tiny_session, tmp_path)
    real = training.batch_loss

    def broken(run, found, network, step):
        return real(run, found, network, step) * (math.nan if step == 3 else 1.0)

    monkeypatch.setattr(training, "batch_loss", broken)
    with pytest.raises(UserError, match="loss of step 4 is not finite") as stopped:
        trained(run, save_every_s=0.0)
    assert "Lower the learning rate" in stopped.value.hint
    kept = torch.load(tmp_path / training.CHECKPOINT, weights_only=True)
    assert kept["step"] == 3
    assert all(torch.isfinite(one).all() for one in kept["weights"].values())


def test_the_checkpoint_of_another_run_is_refused(tiny_session, tmp_path):
    trained(run_of(tiny_session, tmp_path))
    with pytest.raises(UserError, match="is of another run"):
        trained(run_of(tiny_session, tmp_path, seed=1))


def test_reconstruction_learns_the_teachers_vectors(tiny_session, tmp_path):
    run = run_of(tiny_session, tmp_path, loss=RECONSTRUCTION, n_steps=60, learning_rate=0.01)
    trained(run)
    assert read_curve(tmp_path)[-1]["loss"] < 0.1 < 1.0 < read_curve(tmp_path)[0]["loss"]


def test_fewer_concepts_of_one_seed_are_among_more(tiny_session, tmp_path):
    names = [
        {one.name for one in training.chosen_concepts(small_concepts(), small_recipe(n_concepts=n))} for n in (2, 4, 0)
    ]
    assert [len(one) for one in names] == [2, 4, 5]
    assert names[0] < names[1] < names[2]
    assert "stars" not in names[2]


def test_no_text_that_is_kept_for_evaluation_is_learnt_from(tiny_session, tmp_path):
    run = run_of(tiny_session, tmp_path)
    found = training.material(run, lambda share, words: None)
    learnt = {row for one in found.learnt for row in (*one.positives, *one.negatives)}
    judged = {row for some in found.judged.values() for _, row in some}
    assert judged
    assert learnt.isdisjoint(judged)


def test_a_set_with_every_concept_held_out_cannot_be_learnt(tiny_session, tmp_path):
    held_out = concept_set("words", [replace(one, is_held_out=True) for one in small_concepts().concepts])
    with pytest.raises(UserError, match="must be held in; all are held out"):
        trained(training.Run(tiny_session, held_out, AT, small_recipe(), tmp_path))


def test_losses_are_those_of_the_continuation_alone(tiny_session):
    row = row_of(tiny_session, Example("Once upon a time", " there was a bear."), 64, True)
    wanted = tiny_session.loss(row.tokens)[row.n_prompt - 1 :].mean()
    longer = replace(row, tokens=(*row.tokens, 5, 6, 7))
    with torch.no_grad():
        logits = tiny_session.with_gradient([row.tokens, longer.tokens], {})
    torch.testing.assert_close(continuation_losses(logits, [row, longer])[0], wanted, atol=1e-5, rtol=0)


def test_the_learning_rate_rises_and_falls_to_a_tenth():
    recipe = small_recipe(n_steps=100, warmup_steps=10, learning_rate=1.0)
    rates = [learning_rate(recipe, step) for step in range(101)]
    assert rates[0] == 0.1
    assert max(rates) == rates[10] == 1.0
    assert rates[100] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variant": "telepathy"}, "No variant is called 'telepathy'"),
        ({"loss": "none"}, "No loss is called 'none'"),
        ({"n_blocks": 0}, "n_blocks must be at least 1"),
        ({"length": 0.0}, "length must be above 0"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0"),
        ({"longest": 3}, "longest must be at least 8; 3 was given"),
    ],
)
def test_a_recipe_that_cannot_be_trained_is_refused(changes, message):
    with pytest.raises(UserError, match=message):
        small_recipe(**changes).check()
