"""What each operator does, by the acceptance facts of core-methods 3.5 and 4.5."""

import math
from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from steering.methods.act_add import AddRows
from steering.methods.add_direction import AddDirection
from steering.methods.clamp_direction import ClampDirection
from steering.methods.iti import spread
from steering.methods.k_steering import GradientStep, Layer
from steering.methods.project_out import ProjectOut
from steering.methods.replace_direction import ReplaceDirection
from steering.methods.sadi import MultiplyEntries

AT = HookPoint(0, "resid_post")
EXACT = {"atol": 1e-6, "rtol": 0}


def acted(change, *rows):
    """The changed rows, as positions of one text."""
    return change(torch.tensor([rows]), AT, 0)[0]


def rows(n=6, d=4, seed=0):
    return torch.randn(1, n, d, generator=torch.Generator().manual_seed(seed))


def test_ablation_of_a_known_vector():
    """Fact 3.5 (7)."""
    assert acted(ProjectOut(AT, (0.0, 1.0)), [3.0, 4.0]).tolist() == [[3.0, 0.0]]


def test_ablation_is_idempotent_orthogonal_and_never_lengthens():
    """Fact 3.5 (7)."""
    x, change = rows(), ProjectOut(AT, (1.0, -2.0, 0.5, 3.0))
    once = change(x, AT, 0)
    torch.testing.assert_close(change(once, AT, 0), once, **EXACT)
    torch.testing.assert_close(once @ torch.tensor(change.vector), torch.zeros(1, 6), atol=1e-5, rtol=0)
    assert bool((once.norm(dim=2) <= x.norm(dim=2) + 1e-6).all())


@pytest.mark.parametrize("factor", [2.5, -1.0, 1e-3])
def test_ablation_does_not_depend_on_length_and_sign_of_the_direction(factor):
    """Fact 3.5 (7)."""
    x, v = rows(), (1.0, -2.0, 0.5, 3.0)
    scaled = tuple(factor * entry for entry in v)
    torch.testing.assert_close(ProjectOut(AT, scaled)(x, AT, 0), ProjectOut(AT, v)(x, AT, 0), **EXACT)


def test_ablation_then_addition_is_not_addition_then_ablation():
    """Part 5: the first leaves the added component along r, the second none."""
    x, r = rows(), (0.0, 0.0, 0.0, 1.0)
    out, add = ProjectOut(AT, r), AddDirection(AT, r, 2.0)
    assert torch.equal(add(out(x, AT, 0), AT, 0)[..., 3], torch.full((1, 6), 2.0))
    torch.testing.assert_close(out(add(x, AT, 0), AT, 0)[..., 3], torch.zeros(1, 6), **EXACT)


@pytest.mark.parametrize("along", [2.0, 0.0, -3.0])
def test_a_subspace_clamp_leaves_negative_parts(along):
    """Fact 4.5 (8): h·v = c where it was at least 0, else h·v + c."""
    (row,) = acted(ClampDirection(AT, (0.0, 2.0), 1.5), [7.0, along])
    assert row.tolist() == [7.0, 1.5 if along >= 0 else along + 1.5]


@pytest.mark.parametrize("along", [2.0, -3.0])
def test_replacing_sets_the_value_whatever_it_was(along):
    (row,) = acted(ReplaceDirection(AT, (0.0, 2.0), 0.5, length=10.0), [7.0, along])
    assert row.tolist() == [7.0, 5.0]


def test_replacing_by_the_present_value_is_the_identity_and_by_zero_the_ablation():
    v = (0.0, 3.0)
    assert acted(ReplaceDirection(AT, v, 4.0), [1.0, 4.0]).tolist() == [[1.0, 4.0]]
    x = rows(d=2)
    torch.testing.assert_close(ReplaceDirection(AT, v, 0.0)(x, AT, 0), ProjectOut(AT, v)(x, AT, 0), **EXACT)


def test_a_length_makes_the_strength_relative():
    """0.5 of a mean norm of 20 along (3, 4) is (6, 8)."""
    assert acted(AddDirection(AT, (3.0, 4.0), 0.5, length=20.0), [0.0, 0.0]).tolist() == [[6.0, 8.0]]


def test_a_linear_classifier_adds_a_constant():
    """Fact 3.5 (13): targets (1, 0), avoid (1, 1), alpha 1, x = 0 gives (0, −1); the same at every x."""
    linear = GradientStep(AT, (Layer(((1.0, 1.0), (0.0, 1.0)), (0.3, -2.0)),), (0,), (1,))
    assert acted(linear, [0.0, 0.0], [5.0, -7.0]).tolist() == [[0.0, -1.0], [5.0, -8.0]]
    decayed = replace(linear, n_steps=3, gamma=0.5, strength=2.0)
    assert acted(decayed, [0.0, 0.0]).tolist() == [[0.0, -2.0 * 1.75]]


def test_the_written_out_gradient_is_that_of_autograd():
    draw = torch.Generator().manual_seed(4)
    weights = [torch.randn(a, b, generator=draw) for a, b in ((4, 6), (6, 5), (5, 3))]
    biases = [torch.randn(len(w[0]), generator=draw) for w in weights]
    layers = tuple(
        Layer(tuple(map(tuple, w.tolist())), tuple(b.tolist())) for w, b in zip(weights, biases, strict=True)
    )
    x = rows()[0].requires_grad_()
    hidden = ((x @ weights[0] + biases[0]).relu() @ weights[1] + biases[1]).relu()
    scores = hidden @ weights[2] + biases[2]
    (scores[:, [1, 2]].mean(dim=1) - scores[:, 0]).sum().backward()
    found = GradientStep(AT, layers, (0,), (1, 2)).gradient(x.detach())
    torch.testing.assert_close(found, x.grad, atol=1e-5, rtol=0)


def test_a_full_mask_at_minus_one_zeroes_and_zero_stays_zero():
    """Fact 3.5 (14)."""
    everything = MultiplyEntries(AT, (0, 1, 2, 3), -1.0)
    assert not everything(rows(), AT, 0).any()
    assert not MultiplyEntries(AT, (0, 1, 2, 3), 5.0)(torch.zeros(1, 2, 4), AT, 0).any()


def test_multiplying_is_not_invariant_to_translation():
    """Fact 3.5 (14): additive methods are."""
    x, change = rows(), MultiplyEntries(AT, (1,), 2.0)
    assert not torch.allclose(change(x + 1, AT, 0) - 1, change(x, AT, 0))
    added = AddDirection(AT, (1.0, 0.0, 0.0, 2.0))
    torch.testing.assert_close(added(x + 1, AT, 0) - 1, added(x, AT, 0), **EXACT)


def test_sigma_is_that_of_the_population():
    """Fact 3.5 (15)."""
    sigma = spread(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert math.isclose(sigma, 1.118034, abs_tol=1e-6)
    assert math.isclose(15 * sigma, 16.7705, abs_tol=1e-4)


def test_added_rows_touch_the_first_positions_only():
    """Fact 3.5 (16); swapping the prompts negates the rows."""
    x, change = rows(d=2), AddRows(AT, ((1.0, 2.0), (3.0, 4.0)), 2.0)
    difference = change(x, AT, 0) - x
    torch.testing.assert_close(difference[0, :2], torch.tensor([[2.0, 4.0], [6.0, 8.0]]), **EXACT)
    assert not difference[0, 2:].any()


def test_opposite_strengths_are_symmetric_at_the_site():
    """Fact 3.5 (11)."""
    x, change = rows(), AddDirection(AT, (1.0, 2.0, -3.0, 0.5), 1.5)
    up, down = (replace(change, strength=s)(x, AT, 0) - x for s in (1.5, -1.5))
    torch.testing.assert_close(up, -down, **EXACT)


def test_a_direction_of_zeros_is_refused():
    with pytest.raises(UserError, match="zero in every entry"):
        ProjectOut(AT, (0.0, 0.0))(rows(d=2), AT, 0)


def test_bfloat16_is_rounded_once():
    """Fact 3.5 (2)."""
    x, v = rows().bfloat16(), (0.1, 0.2, 0.3, 0.4)
    wanted = (x.float() + 1.7 * torch.tensor(v)).bfloat16()
    assert torch.equal(AddDirection(AT, v, 1.7)(x, AT, 0), wanted)
