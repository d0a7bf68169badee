"""Laws of steering operators beyond those of every intervention (tests/capture/test_intervention_laws.py)."""

import base64
import struct
from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import AddVector, operator_from_recipe
from steering.direction import MAX_ENTRIES, direction_text, read_direction
from steering.methods.act_add import AddRows
from steering.methods.add_direction import AddDirection
from steering.methods.k_steering import GradientStep
from steering.methods.sadi import MultiplyEntries
from steering.recipe import Step
from tests.steering.operator_examples import AT, STEERING_EXAMPLES, vector

TOKENS = (0, 9, 8, 7, 30, 40)
EXAMPLES = [example for kind, some in STEERING_EXAMPLES.items() if kind is not Step for example in some]
every_example = pytest.mark.parametrize("change", EXAMPLES, ids=lambda change: change.kind)


def activation(dtype=torch.float32):
    return torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(0)).to(dtype)


@every_example
def test_a_prompt_alone_and_padded_in_a_batch_are_changed_alike(change, tiny_session):
    """Fact 3.5 (5): the session pads on the right, so that positions are those of the prompt alone."""
    last = HookPoint(2, "resid_post")
    alone = tiny_session.capture(TOKENS, [last], [change])[last]
    batched = tiny_session.capture_batch([TOKENS, TOKENS * 2], [last], [change])[0][last]
    torch.testing.assert_close(batched, alone, atol=1e-4, rtol=0)


@every_example
def test_earlier_layers_and_earlier_positions_are_left_alone(change, tiny_session):
    """Fact 3.5 (3)."""
    below, top = HookPoint(0, "resid_post"), HookPoint(2, "resid_post")
    late = change if isinstance(change, AddRows) else replace(change, ranges=((3, None),))
    late = replace(late, first=3) if isinstance(late, AddRows) else late
    clean, changed = (tiny_session.capture(TOKENS, [below, top], some) for some in ((), (late,)))
    assert torch.equal(changed[below], clean[below])
    assert torch.equal(changed[top][:3], clean[top][:3])
    assert not torch.equal(changed[top][3:], clean[top][3:])


@pytest.mark.parametrize("change", [one for one in EXAMPLES if not isinstance(one, MultiplyEntries)], ids=str)
def test_a_vector_of_the_wrong_width_is_refused(change):
    with pytest.raises(UserError, match="must have 31 entries; it has 32"):
        replace(change)(activation()[..., :31], AT, 0)


def test_adding_a_direction_agrees_with_the_elementary_operator():
    """Fact 3.5 (2): what is added is strength times the vector at the declared positions and 0 elsewhere."""
    x, v = activation(), vector(0)
    ours = AddDirection(AT, v, 1.7, ranges=((4, None),))(x, AT, 0)
    assert torch.equal(ours, AddVector(AT, v, 1.7, from_pos=4)(x, AT, 0))
    assert torch.equal(ours[:, :4], x[:, :4])


def test_two_vectors_commute_and_one_twice_is_the_double():
    """Fact 3.5 (2), and the CAA wrapper that added twice."""
    x = activation().double().float()
    a, b = AddDirection(AT, vector(0)), AddDirection(AT, vector(1))
    torch.testing.assert_close(a(b(x, AT, 0), AT, 0), b(a(x, AT, 0), AT, 0), atol=1e-6, rtol=0)
    twice = a(a(x, AT, 0), AT, 0)
    torch.testing.assert_close(twice, replace(a, strength=2.0)(x, AT, 0), atol=1e-6, rtol=0)


def test_vectors_in_recipes_are_little_endian_float32_in_base64():
    assert direction_text((1.0, -2.5)) == base64.b64encode(struct.pack("<2f", 1.0, -2.5)).decode()
    assert read_direction(direction_text(vector(0))) == vector(0)


@pytest.mark.parametrize("change", [one for one in EXAMPLES if hasattr(one, "vector")], ids=lambda change: change.kind)
def test_a_recipe_with_a_list_of_numbers_opens_as_before(change):
    old = change.recipe() | {"vector": list(change.vector)}
    assert operator_from_recipe(old) == change


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it has 0 bytes"),
        ("AAAAAAA=", "it has 5 bytes, and each number takes 4"),
        ("not base64", "it is no base64"),
        ("AAAé", "it is no base64"),
        (direction_text((1.0, float("nan"))), "not every number in it is finite"),
        (direction_text((float("inf"),)), "not every number in it is finite"),
        ("A" * (MAX_ENTRIES * 6), "characters, and 1,398,104 is the most"),
    ],
)
def test_a_text_that_is_no_vector_gets_a_sentence(text, reason):
    with pytest.raises(UserError, match=reason):
        operator_from_recipe(STEERING_EXAMPLES[AddDirection][0].recipe() | {"vector": text})


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (STEERING_EXAMPLES[AddDirection][0], {"vector": 3}),
        (STEERING_EXAMPLES[AddDirection][0], {"vector": [True]}),
        (STEERING_EXAMPLES[AddDirection][0], {"strength": 1e39}),
        (STEERING_EXAMPLES[AddDirection][0], {"strength": float("nan")}),
        (STEERING_EXAMPLES[AddDirection][0], {"ranges": [[0.5, None]]}),
        (STEERING_EXAMPLES[AddDirection][0], {"ranges": [[1]]}),
        (STEERING_EXAMPLES[AddRows][0], {"rows": [[1.0], [1.0, 2.0]]}),
        (STEERING_EXAMPLES[MultiplyEntries][0], {"dims": [-1]}),
        (STEERING_EXAMPLES[GradientStep][0], {"targets": [3]}),
        (STEERING_EXAMPLES[GradientStep][0], {"layers": [{"weight": [[1.0]], "bias": [1.0, 2.0]}]}),
    ],
)
def test_a_recipe_that_cannot_be_read_raises_what_the_door_makes_a_sentence_of(change, broken):
    with pytest.raises((KeyError, TypeError, ValueError)):
        type(change).from_recipe(change.recipe() | broken)
