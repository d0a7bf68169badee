"""Which directions of a recipe are alike, and which steps do not commute: tried on activations, not looked up."""

import pytest
import torch

from capture.hook_point import HookPoint
from capture.mask import KeepLargest
from steering.interference import interference
from steering.methods.add_direction import AddDirection
from steering.methods.clamp_direction import ClampDirection
from steering.methods.edit_latent import EditLatent
from steering.methods.project_out import ProjectOut
from steering.recipe import Step
from steering.token_scope import TokenScope
from tests.shelves import random_sae, shelve

AT, LATER, NEURONS = HookPoint(1, "resid_post"), HookPoint(2, "resid_pre"), HookPoint(1, "mlp_post")
PROMPT = (0, 9, 8, 7)
X, Y = (tuple(float(i == k) for i in range(32)) for k in (0, 1))
TILTED = (3.0, 4.0, *([0.0] * 30))


def orders(session, *steps):
    return interference(session, steps, PROMPT).orders


def test_cosines_and_dot_products_of_the_directions_of_the_residual_stream(tiny_session):
    steps = (Step("a", (AddDirection(AT, X, 2.0),)), Step("b", (ProjectOut(LATER, TILTED), AddDirection(AT, Y))))
    (found,) = interference(tiny_session, steps, PROMPT).overlaps
    assert [(one.step, one.at) for one in found.arrows] == [(0, AT), (1, LATER), (1, AT)]
    torch.testing.assert_close(found.cosine, torch.tensor([[1.0, 0.6, 0.0], [0.6, 1.0, 0.8], [0.0, 0.8, 1.0]]))
    torch.testing.assert_close(found.gram, torch.tensor([[1.0, 3.0, 0.0], [3.0, 25.0, 4.0], [0.0, 4.0, 1.0]]))


def test_neurons_are_a_space_of_their_own_and_masks_have_no_direction(tiny_session):
    wide = tuple(float(i) for i in range(48))
    steps = (Step("a", (AddDirection(NEURONS, wide),)), AddDirection(AT, X), KeepLargest(NEURONS, 20))
    assert [(one.space, len(one.arrows)) for one in interference(tiny_session, steps, PROMPT).overlaps] == [
        (str(NEURONS), 1),
        ("residual stream", 1),
    ]


def test_the_direction_of_a_latent_is_its_row_of_the_decoder(tiny_session):
    sae = random_sae(32)
    shelve(sae, "interference")
    edit = EditLatent(AT, sae.digest, 5, "add", 1.0)
    (found,) = interference(tiny_session, (edit, AddDirection(AT, X)), PROMPT).overlaps
    row = sae.W_dec[5]
    torch.testing.assert_close(found.cosine[0, 1], row[0] / row.norm())


def test_adding_then_projecting_out_differs_from_the_reverse_by_what_was_added_along_the_direction(tiny_session):
    """Composition order, part 5: the first gives 0 along the direction, the second what was added."""
    add, remove = Step("add", (AddDirection(AT, TILTED, 2.0),)), Step("out", (ProjectOut(AT, X),))
    (found,) = orders(tiny_session, add, remove)
    usual = tiny_session.capture(PROMPT, [AT])[AT].norm(dim=1).mean()
    assert (found.at, found.first, found.second) == (AT, 0, 1)
    assert found.size == pytest.approx(6.0, abs=1e-4)
    assert found.share == pytest.approx(float(6.0 / usual), rel=1e-4)


@pytest.mark.parametrize(
    "other",
    [AddDirection(AT, TILTED), ProjectOut(AT, Y), ProjectOut(LATER, X), ClampDirection(AT, Y, 3.0)],
    ids=["two sums", "at a right angle", "elsewhere", "clamp at a right angle"],
)
def test_steps_that_commute_are_not_warned_about(other, tiny_session):
    assert orders(tiny_session, Step("add", (AddDirection(AT, X),)), Step("other", (other,))) == ()


def test_steps_at_other_tokens_commute(tiny_session):
    add, out = (AddDirection(AT, X),), (ProjectOut(AT, X),)
    early, late = Step("add", add, scope=TokenScope("prompt")), Step("out", out, scope=TokenScope("generated"))
    assert orders(tiny_session, early, late) == ()
    assert len(orders(tiny_session, Step("add", add, scope=TokenScope("last_prompt")), Step("out", out))) == 1


def test_a_step_that_cannot_be_heard_interferes_with_nothing(tiny_session):
    add, out = Step("add", (AddDirection(AT, X),)), Step("out", (ProjectOut(AT, X),), is_muted=True)
    found = interference(tiny_session, (add, out), PROMPT)
    assert (found.orders, found.n_heard) == ((), 1)
    assert [one.step for one in found.overlaps[0].arrows] == [0]
