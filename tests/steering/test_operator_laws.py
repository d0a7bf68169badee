"""Laws that hold for every steering operator; a new one needs an example here, and is covered at once."""

import json
from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint, residual_points
from capture.intervention import AddVector, Intervention
from steering.methods.act_add import AddRows
from steering.methods.add_direction import AddDirection
from steering.methods.clamp_direction import ClampDirection
from steering.methods.k_steering import GradientStep, Layer
from steering.methods.project_out import ProjectOut
from steering.methods.replace_direction import ReplaceDirection
from steering.methods.sadi import MultiplyEntries
from tests.capture.test_intervention_laws import Failing

AT = HookPoint(1, "resid_post")
TOKENS = (0, 9, 8, 7, 30, 40)
PROMPT, GENERATED, LAST, SOME = ((0, 6),), ((6, None),), ((5, 6),), ((0, 1), (3, 5), (8, None))


def vector(seed, n=32):
    return tuple(torch.randn(n, generator=torch.Generator().manual_seed(seed)).tolist())


LAYERS = (
    Layer(tuple(vector(100 + i, 8) for i in range(32)), vector(7, 8)),
    Layer(tuple(vector(200 + i, 8) for i in range(8)), vector(8, 8)),
    Layer(tuple(vector(300 + i, 3) for i in range(8)), vector(9, 3)),
)
EXAMPLES = (
    AddDirection(AT, vector(0), 1.7),
    AddDirection(AT, vector(0), -0.3, length=12.0, ranges=GENERATED),
    AddDirection(AT, vector(1), 2.0, ranges=SOME),
    AddRows(AT, (vector(2), vector(3), vector(4)), 1.5),
    AddRows(AT, (vector(2), vector(3)), -1.0, first=4),
    ProjectOut(AT, vector(5)),
    ProjectOut(AT, vector(5), 0.5, ranges=PROMPT),
    ClampDirection(AT, vector(6), 2.5),
    ClampDirection(AT, vector(6), 0.5, 0.7, 12.0, LAST),
    ReplaceDirection(AT, vector(6), -1.5),
    ReplaceDirection(AT, vector(6), 0.5, 0.7, 12.0, SOME),
    MultiplyEntries(AT, (0, 3, 31), 2.0),
    MultiplyEntries(AT, (1,), -1.0, LAST),
    GradientStep(AT, LAYERS, (0,), (1, 2), 0.5),
    GradientStep(AT, LAYERS, (2,), (0,), 0.3, n_steps=3, gamma=0.8, ranges=SOME),
)
every_example = pytest.mark.parametrize("change", EXAMPLES, ids=lambda change: change.kind)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])


def activation(dtype=torch.float32):
    return torch.randn(2, 10, 32, generator=torch.Generator().manual_seed(0)).to(dtype)


@every_example
def test_it_meets_the_protocol(change):
    assert isinstance(change, Intervention)
    assert change.hook_points() == (AT,)


@every_example
@every_dtype
def test_strength_zero_returns_the_input_bit_for_bit(change, dtype):
    x = activation(dtype)
    assert torch.equal(replace(change, strength=0.0)(x, AT, 0), x)


@every_example
@every_dtype
def test_shape_dtype_and_device_are_kept_and_something_changes(change, dtype):
    x = activation(dtype)
    changed = change(x, AT, 0)
    assert (changed.shape, changed.dtype, changed.device) == (x.shape, x.dtype, x.device)
    assert not torch.equal(changed, x)


@every_example
def test_the_input_is_not_written_to(change):
    x = activation()
    before = x.clone()
    change(x, AT, 0)
    assert torch.equal(x, before)


@every_example
def test_its_recipe_through_json_acts_the_same(change):
    again = type(change).from_recipe(json.loads(json.dumps(change.recipe())))
    assert again == change
    assert torch.equal(again(activation(), AT, 2), change(activation(), AT, 2))


@every_example
@pytest.mark.parametrize("split", [1, 3, 4, 6, 9])
def test_a_run_cut_into_steps_is_changed_as_a_whole_one(change, split):
    """Under a key/value cache a hook sees a few positions at a time; a product's rounding may depend on how many."""
    x = activation()
    parts = [change(x[:, :split], AT, 0), change(x[:, split:], AT, split)]
    torch.testing.assert_close(torch.cat(parts, dim=1), change(x, AT, 0), atol=2e-6, rtol=0)


@every_example
def test_greedy_tokens_agree_with_and_without_the_cache(change, tiny_session):
    """Fact 3.5 (4), for each scope among the examples."""
    cached, uncached = (
        tiny_session.generate(TOKENS, 12, temperature=0, interventions=[change], use_cache=use) for use in (True, False)
    )
    assert cached == uncached


@every_example
def test_strength_zero_leaves_the_models_logits_as_they_were(change, tiny_session):
    """Facts 3.5 (1), 4.5 (1), 3.5 (15)."""
    changed = tiny_session.logits(TOKENS, [replace(change, strength=0.0)])
    assert torch.equal(changed, tiny_session.logits(TOKENS))


@every_example
def test_it_acts_on_the_model_as_on_a_tensor(change, tiny_session):
    clean = tiny_session.capture(TOKENS, [AT])[AT]
    assert torch.equal(tiny_session.capture(TOKENS, [AT], [change])[AT], change(clean[None], AT, 0)[0])


@every_example
def test_after_an_exception_no_hook_is_left(change, tiny_session):
    clean = tiny_session.logits(TOKENS)
    with pytest.raises(RuntimeError, match="planted"):
        tiny_session.capture(TOKENS, residual_points(3), [change, Failing()])
    assert torch.equal(tiny_session.logits(TOKENS), clean)
    assert not any(hook.has_hooks() for hook in tiny_session._wiring.bridge.hook_dict.values())


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


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        (EXAMPLES[0], {"vector": 3}),
        (EXAMPLES[0], {"vector": [True]}),
        (EXAMPLES[0], {"strength": 1e39}),
        (EXAMPLES[0], {"strength": float("nan")}),
        (EXAMPLES[0], {"ranges": [[0.5, None]]}),
        (EXAMPLES[0], {"ranges": [[1]]}),
        (EXAMPLES[3], {"rows": [[1.0], [1.0, 2.0]]}),
        (EXAMPLES[11], {"dims": [-1]}),
        (EXAMPLES[13], {"targets": [3]}),
        (EXAMPLES[13], {"layers": [{"weight": [[1.0]], "bias": [1.0, 2.0]}]}),
    ],
)
def test_a_recipe_that_cannot_be_read_raises_what_the_door_makes_a_sentence_of(change, broken):
    with pytest.raises((KeyError, TypeError, ValueError)):
        type(change).from_recipe(change.recipe() | broken)
