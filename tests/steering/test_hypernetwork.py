"""The hypernetwork by itself: acceptance facts 4.5 (1) to (3) and (5), and its losses."""

from dataclasses import replace

import pytest
import torch

from steering.hypernetwork import Hypernetwork, Rows, left_padded, rotated, to_unit
from steering.hypernetwork_losses import reconstruction_loss
from steering.hypernetwork_recipe import CROSS_ATTENTION, IN_CONTEXT, NO_CONTEXT, VARIANTS, HypernetworkRecipe
from tests.steering.hypernetworks import D_MODEL, noisy, rows, small_recipe

every_variant = pytest.mark.parametrize("variant", VARIANTS)


def context_of(variant, *lengths, seed=5):
    return None if variant == NO_CONTEXT else rows(*lengths, seed=seed)


@every_variant
def test_delta_is_zero_for_every_sentence_before_training(variant):
    """Fact 4.5 (1); of length 1 without context only once the head has moved."""
    recipe = small_recipe(variant=variant)
    network = Hypernetwork(recipe, D_MODEL).started(recipe)
    assert torch.equal(network(rows(3, 7), context_of(variant, 4, 6)), torch.zeros(2, D_MODEL))


def test_without_context_delta_has_length_one():
    """Fact 4.5 (2)."""
    delta = noisy(small_recipe())(rows(3, 7, 1))
    torch.testing.assert_close(delta.norm(dim=1), torch.ones(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", [IN_CONTEXT, CROSS_ATTENTION])
def test_with_context_delta_changes_with_the_prompt_and_keeps_its_length(variant):
    """Fact 4.5 (2)."""
    network = noisy(small_recipe(variant=variant))
    one, other = (network(rows(3, 7), context_of(variant, 4, 6, seed=seed)) for seed in (5, 6))
    assert (one - other).norm(dim=1).min() > 1e-3
    assert abs(one.norm(dim=1) - 1).min() > 1e-3


def test_with_the_output_of_cross_attention_zeroed_delta_no_longer_depends_on_the_prompt():
    """Fact 4.5 (2)."""
    network = noisy(small_recipe(variant=CROSS_ATTENTION))
    for block in network.blocks:
        block.cross.out.weight.data.zero_()
    one, other = (network(rows(3, 7), context_of(CROSS_ATTENTION, 4, 6, seed=seed)) for seed in (5, 6))
    assert torch.equal(one, other)


@every_variant
@pytest.mark.parametrize("n_more", [1, 9])
def test_padding_a_sentence_on_the_left_changes_nothing(variant, n_more):
    """Fact 4.5 (3); what stands in the padding is noise, so a mask that leaks is seen."""
    network, sentence, context = noisy(small_recipe(variant=variant)), rows(5), context_of(variant, 4)
    noise = torch.full((1, n_more, D_MODEL), 7.0)
    padded = Rows(noise, torch.zeros(1, n_more, dtype=torch.bool)).followed_by(sentence)
    torch.testing.assert_close(network(padded, context), network(sentence, context), atol=1e-5, rtol=0)


@pytest.mark.parametrize("variant", [IN_CONTEXT, CROSS_ATTENTION])
def test_padding_a_prompt_on_the_left_changes_nothing(variant):
    network, sentence, context = noisy(small_recipe(variant=variant)), rows(5), rows(4, seed=5)
    padded = Rows(torch.full((1, 3, D_MODEL), 7.0), torch.zeros(1, 3, dtype=torch.bool)).followed_by(context)
    torch.testing.assert_close(network(sentence, padded), network(sentence, context), atol=1e-5, rtol=0)


@every_variant
def test_a_row_in_a_batch_is_as_it_is_alone(variant):
    network = noisy(small_recipe(variant=variant))
    sentence, context = rows(3, 8), context_of(variant, 2, 6)
    both = network(sentence, context)
    for row in range(2):
        own = Rows(sentence.vectors[[row]], sentence.is_real[[row]])
        given = None if context is None else Rows(context.vectors[[row]], context.is_real[[row]])
        torch.testing.assert_close(network(own, given), both[[row]], atol=1e-5, rtol=0)


def test_the_order_of_words_counts():
    network, sentence = noisy(small_recipe()), rows(5)
    turned = replace(sentence, vectors=sentence.vectors[:, [1, 0, 2, 3, 4]])
    assert (network(sentence) - network(turned)).norm() > 1e-3


def test_rotary_products_depend_on_the_distance_alone():
    x, y = torch.randn(1, 1, 1, 8).double(), torch.randn(1, 1, 1, 8).double()
    products = [
        (rotated(x, torch.tensor([[a]])) * rotated(y, torch.tensor([[b]]))).sum() for a, b in ((3, 1), (12, 10))
    ]
    torch.testing.assert_close(*products, atol=1e-12, rtol=0)


def test_rows_that_are_padded_end_at_the_same_place():
    padded = left_padded([torch.ones(2, 4), torch.ones(3, 4)])
    assert padded.is_real.tolist() == [[False, True, True], [True, True, True]]
    assert padded.vectors[0, 0].tolist() == [0, 0, 0, 0]


def test_a_zero_vector_stays_zero_and_any_other_gets_length_one():
    made = to_unit(torch.tensor([[0.0, 0.0], [3.0, 4.0]]))
    torch.testing.assert_close(made, torch.tensor([[0.0, 0.0], [0.6, 0.8]]))


def test_the_reconstruction_loss_is_the_papers():
    """Fact 4.5 (5): Δ = (1, 0), Δ* = (0, 2) gives 1 + 5 = 6, and 0 only where both are equal."""
    delta, wanted = torch.tensor([[1.0, 0.0], [0.6, 0.8]]), torch.tensor([[0.0, 2.0], [0.6, 0.8]])
    torch.testing.assert_close(reconstruction_loss(delta, wanted), torch.tensor([6.0, 0.0]), atol=1e-6, rtol=0)
    assert reconstruction_loss(delta, 1.01 * delta).min() > 0


def test_a_variant_is_refused_the_context_of_another():
    with pytest.raises(ValueError, match="takes no context"):
        noisy(small_recipe())(rows(3), rows(2))
    with pytest.raises(ValueError, match="takes a context"):
        noisy(small_recipe(variant=IN_CONTEXT))(rows(3))


def test_heads_that_do_not_divide_the_width_are_refused_with_those_that_do():
    from capture.errors import UserError

    with pytest.raises(UserError, match="5 heads must divide the model's width of 32") as refused:
        HypernetworkRecipe(n_heads=5).check(32)
    assert "Choose one of: 1, 2, 4, 8, 16" in refused.value.hint
