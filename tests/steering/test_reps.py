"""RePS: its formulas by hand, and a planted direction."""

import math

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from steering.fitting import fit_method
from steering.method import methods
from steering.methods.clamp_direction import ClampDirection
from steering.methods.reps import nulled, read_factors, reps_loss, reps_margin
from tests.steering.planted import direction, planted_pairs
from tests.steering.test_reft_r1 import next_letter_session

AT = HookPoint(1, "resid_post")


def margin(win=-12.0, lose=-30.0, reference=(-40.0, -18.0)):
    numbers = (reference, (win, lose), (10.0, 20.0))
    return reps_margin(*(tuple(torch.tensor([one]) for one in pair) for pair in numbers))


def test_the_margin_of_known_log_probabilities():
    """Check of part 4.2: a scale of 22, a margin of −24.9, a loss of 24.9."""
    torch.testing.assert_close(margin(), torch.tensor([-24.9]))
    assert math.isclose(float(reps_loss(margin())), 24.9, abs_tol=1e-4)
    # The scale is never below 1: with the winner likelier by far it is −1.2 + 1.5.
    torch.testing.assert_close(margin(reference=(-10.0, -90.0)), torch.tensor([0.3]))


def test_the_loss_falls_as_the_winner_grows_likelier_and_the_loser_less_likely():
    """Fact 4.5 (10)."""
    losses = [float(reps_loss(margin(win, lose))) for win, lose in ((-12.0, -30.0), (-6.0, -30.0), (-6.0, -60.0))]
    assert losses == sorted(losses, reverse=True)
    assert float(reps_loss(torch.tensor([-1000.0]))) == 1000.0
    assert float(reps_loss(torch.tensor([1000.0]))) == 0.0


def test_what_is_taken_out_leaves_nothing_positive_along_the_vector():
    """Fact 4.5 (10): and again it changes nothing, nor where h · v is not above 0; as the clamp to 0 does."""
    h, v = torch.randn(40, 16, generator=torch.Generator().manual_seed(0)), torch.randn(16) * 3
    once = h + nulled(h, v)
    assert float((once @ v).max()) <= 1e-4
    torch.testing.assert_close(once + nulled(once, v), once, atol=1e-5, rtol=0)
    below = (h @ v) <= 0
    assert torch.equal(once[below], h[below])
    clamped = ClampDirection(AT, tuple(v.tolist()), 0.0)(h[None], AT, 0)[0]
    torch.testing.assert_close(once, clamped, atol=1e-5, rtol=0)


def test_the_planted_direction_is_found():
    options = {"n_epochs": 6, "factors": "1,2"}
    found = fit_method(methods()["reps"], next_letter_session(), planted_pairs(), [1], options)
    vector = found.vectors[AT]
    assert float(vector @ direction() / vector.norm()) > 0.9
    losses = found.facts["trained"][str(AT)]["losses"]
    assert sum(losses[-2:]) < sum(losses[:2])


def test_factors_that_are_no_numbers_get_a_sentence():
    assert read_factors("2,4").tolist() == [2.0, 4.0]
    for given in ("", "a", "1,-2", "nan"):
        with pytest.raises(UserError, match="numbers above 0"):
            read_factors(given)
