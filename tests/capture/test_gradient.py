"""The pass with gradients: logits are those of a run with the change, and gradients those of finite differences."""

import pytest
import torch

from capture.errors import UserError
from capture.gradient import AddTensor
from capture.hook_point import HookPoint
from capture.intervention import AddVector
from capture.session import ModelSession
from tests.models import FAMILIES, tiny_tokenizer

AT, LATER = HookPoint(1, "resid_post"), HookPoint(2, "resid_pre")
ROWS = ((0, 9, 8, 7, 30, 40), (0, 5, 6))


def added(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module", params=["gpt2", "llama", "gpt_neox", "gemma2", "olmoe"])
def session(request):
    return ModelSession(FAMILIES[request.param](), tiny_tokenizer(), name=request.param)


def loss_of(session, tensor, rows=ROWS):
    logits = session.with_gradient(rows, {AT: tensor}).double().log_softmax(dim=-1)
    return -sum(logits[n, pos, row[pos + 1]] for n, row in enumerate(rows) for pos in range(len(row) - 1))


def test_logits_are_those_of_a_run_with_the_vector_added(session):
    vector = added(32)
    logits = session.with_gradient(ROWS, {AT: vector[None, None]})
    for n, row in enumerate(ROWS):
        alone = session.logits(row, [AddVector(AT, tuple(vector.tolist()))])
        torch.testing.assert_close(logits[n, : len(row)], alone, atol=2e-4, rtol=0)


def test_the_gradient_is_that_of_finite_differences(session):
    """Central differences in float32: 2e-3 of the loss's slope is their rounding."""
    tensor = added(2, 6, 32).requires_grad_()
    loss_of(session, tensor).backward()
    for place in [(0, 1, 3), (0, 4, 20), (1, 0, 7)]:
        step = torch.zeros(2, 6, 32)
        step[place] = 2e-2
        with torch.no_grad():
            slope = (loss_of(session, tensor + step) - loss_of(session, tensor - step)) / 4e-2
        assert float(tensor.grad[place]) == pytest.approx(float(slope), abs=4e-3, rel=2e-2)


def test_nothing_flows_to_padding_or_into_the_models_weights(session):
    tensor = added(2, 6, 32).requires_grad_()
    loss_of(session, tensor).backward()
    assert not tensor.grad[1, 3:].any()
    assert tensor.grad[0, :5].any(dim=-1).all()
    assert not any(weight.requires_grad for weight in session._wiring.bridge.parameters())
    assert all(weight.grad is None for weight in session._wiring.bridge.parameters())


def test_several_hook_points_take_a_tensor_each(session):
    one, other = added(2, 1, 32).requires_grad_(), added(2, 1, 32, seed=1).requires_grad_()
    session.with_gradient(ROWS, {AT: one, LATER: other}).sum().backward()
    torch.testing.assert_close(one.grad, other.grad, atol=1e-3, rtol=1e-3)


def test_a_clean_run_afterwards_is_as_before(tiny_session):
    clean = tiny_session.logits(ROWS[0])
    tiny_session.with_gradient(ROWS, {AT: added(1, 1, 32).requires_grad_()})
    after = tiny_session.logits(ROWS[0])
    assert torch.equal(after, clean)
    assert not after.requires_grad
    assert not any(hook.has_hooks() for hook in tiny_session._wiring.bridge.hook_dict.values())


def test_a_hook_point_that_is_not_there_is_refused(tiny_session):
    with pytest.raises(UserError, match="Layer 9 does not exist"):
        tiny_session.with_gradient(ROWS, {HookPoint(9, "resid_post"): added(1, 1, 32)})


def test_a_tensor_is_added_in_the_dtype_of_the_activation():
    x = torch.zeros(1, 2, 4, dtype=torch.bfloat16)
    assert AddTensor(AT, torch.ones(1, 1, 4))(x, AT, 0).dtype == torch.bfloat16
