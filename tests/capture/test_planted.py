import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.models import session_from
from capture.planted import plant_aligned_gate, plant_channel, plant_massive_dimension
from tests.models import tiny_gpt2, tiny_llama, tiny_tokenizer

TOKENS = torch.tensor([[0, 17, 250, 31, 4, 99]])
LN2_OUT = HookPoint(1, "ln2_out")


def logits(model):
    with torch.no_grad():
        return model(TOKENS).logits


def session_of(model):
    return session_from(model, tiny_tokenizer(), "planted")


@pytest.mark.parametrize("factor", [50.0, 1 / 50, 3.7])
def test_a_planted_channel_leaves_the_function_as_it_was(factor):
    model = tiny_llama()
    # Rounding alone: a product of float32 numbers is off by 6e-8 of itself.
    torch.testing.assert_close(logits(plant_channel(model, 1, 5, factor)), logits(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_channel_planted_by_a_power_of_two_changes_no_bit_of_the_logits(dtype):
    model = tiny_llama(dtype=dtype)
    assert torch.equal(logits(plant_channel(model, 1, 5, 64.0)), logits(model))


def test_a_planted_channel_is_loud_in_the_input_of_the_mlp_and_no_other_channel_changes():
    tokens = tuple(TOKENS[0].tolist())
    before = session_of(tiny_llama()).capture(tokens, [LN2_OUT])[LN2_OUT]
    after = session_of(plant_channel(tiny_llama(), 1, 5, 64.0)).capture(tokens, [LN2_OUT])[LN2_OUT]
    ratio = after / before
    assert ratio[:, 5].tolist() == [64.0] * len(tokens)
    assert (ratio == 1).sum() == ratio.numel() - len(tokens)


def test_planting_leaves_the_model_that_was_given_alone():
    model = tiny_llama()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    plant_channel(model, 0, 1, 8.0)
    plant_massive_dimension(model, 3, 500.0)
    plant_aligned_gate(model, 2)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_a_massive_dimension_stands_out_at_the_bos_token_in_every_layer_and_nowhere_else():
    session = session_of(plant_massive_dimension(tiny_llama(), 7, 3000.0))
    points = [HookPoint(layer, "resid_post") for layer in range(3)]
    for residual in session.capture(session.tokens("the bear and the cat", bos=True), points).values():
        assert residual[0, 7] > 2900
        assert residual[0].abs().argmax() == 7
        assert residual[1:].abs().max() < 100


@pytest.mark.parametrize("neuron", [None, 4])
def test_an_aligned_gate_reads_with_the_weights_it_is_gated_by(neuron):
    session = session_of(plant_aligned_gate(tiny_llama(), 1, neuron))
    aligned = []
    for layer in range(3):
        same = (session.weight("W_in", layer) == session.weight("W_gate", layer)).all(dim=0)
        aligned += [(layer, int(one)) for one in same.nonzero()]
    assert aligned == ([(1, 4)] if neuron is not None else [(1, one) for one in range(48)])


@pytest.mark.parametrize(
    "plant",
    [
        lambda: plant_channel(tiny_llama(), 3, 0, 2.0),
        lambda: plant_channel(tiny_llama(), 0, 32, 2.0),
        lambda: plant_massive_dimension(tiny_llama(), -1, 2.0),
        lambda: plant_aligned_gate(tiny_llama(), 0, 48),
    ],
)
def test_a_place_that_is_not_there_is_refused(plant):
    with pytest.raises(UserError, match="counted from 0"):
        plant()


def test_a_model_of_another_kind_is_refused():
    with pytest.raises(UserError, match="this one is of type gpt2"):
        plant_channel(tiny_gpt2(), 0, 0, 2.0)


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf"), float("nan")])
def test_a_factor_that_would_change_the_function_is_refused(factor):
    with pytest.raises(ValueError, match="finite and above 0"):
        plant_channel(tiny_llama(), 0, 0, factor)
