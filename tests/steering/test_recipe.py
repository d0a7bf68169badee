"""A step is plain JSON; bound to a prompt it is operators at positions, with everything that it says multiplied in."""

import json
from dataclasses import replace

import pytest
import torch

from capture.binding import bound
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import AddVector, operator_from_recipe
from capture.mask import MaskBelow
from steering.fitting import fit_method
from steering.method import methods
from steering.methods.act_add import AddRows
from steering.methods.add_direction import AddDirection
from steering.methods.cast_condition import condition_of
from steering.methods.edit_latent import EditLatent
from steering.methods.project_out import ProjectOut
from steering.recipe import Step, scaled, step_of
from steering.schedule import Schedule
from steering.token_scope import EVERYWHERE, TokenScope, clipped
from tests.steering.planted import AT, planted_pairs, planted_session

ADD = AddDirection(HookPoint(1, "resid_post"), tuple(float(i % 3) for i in range(32)), 2.0)
LATER = AddDirection(HookPoint(2, "resid_post"), ADD.vector)
PROMPT = (0, 9, 1, 7)


def step(*changes, **fields):
    return Step("a step", changes or (ADD,), **fields)


def through_json(one):
    return operator_from_recipe(json.loads(json.dumps(one.recipe())))


@pytest.mark.parametrize(
    ("kind", "ranges"),
    [
        ("all", ((0, None),)),
        ("skip_special", ((1, 2), (3, 4), (4, None))),
        ("prompt", ((0, 4),)),
        ("prompt_ends", ((0, 4),)),
        ("generated", ((4, None),)),
        ("last_prompt", ((3, 4),)),
        ("last_prompt_and_generated", ((3, None),)),
        ("ranges", ((2, 3), (9, None))),
    ],
)
def test_a_scope_is_ranges_of_the_prompts_positions(kind, ranges):
    """Fact 3.5 (5): the last prompt token is the last one there is, since prompts are padded on the right."""
    scope = TokenScope(kind, ((2, 3), (9, None)))
    assert scope.of(PROMPT, special={0, 1}) == ranges
    assert TokenScope.from_recipe(json.loads(json.dumps(scope.recipe()))) == scope


def test_ranges_are_clipped_to_a_piece():
    assert clipped(((0, 2), (5, 9), (12, None)), 1, 7) == ((1, 2), (5, 7))
    assert clipped(((0, 2), (5, 9), (12, None)), 6, None) == ((6, 9), (12, None))
    assert clipped(EVERYWHERE, 3, 4) == ((3, 4),)


def test_an_unknown_scope_is_refused():
    with pytest.raises(UserError, match="Choose one of: all, skip_special"):
        TokenScope("everything")


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Schedule(), [1, 1, 1, 1, 1, 1]),
        (Schedule("window", 0, 2), [1, 1, 1, 0, 0, 0]),
        (Schedule("window", 1, 3), [0, 0, 1, 1, 0, 0]),
        (Schedule("window", 2), [0, 0, 0, 1, 1, 1]),
        (Schedule("ramp", low=0.0, high=3.0, n_tokens=3), [0, 0, 1, 2, 3, 3]),
        (Schedule("ramp", low=1.0, high=0.0, n_tokens=2), [1, 1, 0.5, 0, 0, 0]),
        (Schedule("ramp", low=2.0, high=1.0, n_tokens=1), [2, 2, 1, 1, 1, 1]),
    ],
    ids=str,
)
def test_a_schedule_is_disjoint_pieces_with_factors(schedule, factors):
    """Factors at the last prompt token, and at generated tokens 0 to 4; the prompt counts as token 0."""
    pieces = schedule.pieces(len(PROMPT))
    at = [[factor for a, b, factor in pieces if a <= pos and (b is None or pos < b)] for pos in range(3, 9)]
    assert [sum(one) for one in at] == factors
    assert max(map(len, at)) == 1
    assert Schedule.from_recipe(json.loads(json.dumps(schedule.recipe()))) == schedule


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kind": "sine"}, "Choose one of: constant, window, ramp"),
        ({"kind": "window", "start": 3, "end": 3}, "must end behind its beginning"),
        ({"kind": "ramp", "n_tokens": 0}, "takes 1 to 256 tokens; 0 were given"),
        ({"kind": "ramp", "n_tokens": 10**9}, "takes 1 to 256 tokens"),
        ({"kind": "ramp", "high": 1e9}, "within ±1000; 0 to 1e\\+09 was given"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(fields, words):
    with pytest.raises(UserError, match=words):
        Schedule(**fields)


def test_strength_weight_and_schedule_are_multiplied_at_each_position():
    ramp = Schedule("ramp", low=0.0, high=1.0, n_tokens=2)
    changes = step(ADD, LATER, strength=3.0, weights={1: 0.5}, schedule=ramp).placed(PROMPT)
    assert [(one.at.layer, one.ranges, one.strength) for one in changes] == [
        (1, ((5, 6),), 1.5),
        (1, ((6, None),), 3.0),
        (2, ((5, 6),), 1.5),
        (2, ((6, None),), 3.0),
    ]


def test_a_relative_strength_counts_in_the_mean_norm_at_each_hook_point(tiny_session):
    relative = step(strength=0.25, unit="relative", mean_norms={ADD.at: 40.0})
    clean, steered = (tiny_session.capture(PROMPT, [ADD.at], some)[ADD.at] for some in ((), (relative,)))
    # The change itself has strength 2.
    torch.testing.assert_close((steered - clean).norm(dim=1), torch.full((4,), 20.0), atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", ["prompt", "generated", "last_prompt", "last_prompt_and_generated"])
@pytest.mark.parametrize("schedule", [Schedule(), Schedule("ramp", n_tokens=4), Schedule("window", 2, 5)], ids=str)
def test_generation_under_a_scope_agrees_with_and_without_the_cache(kind, schedule, tiny_session):
    """Fact 3.5 (4)."""
    changes = [step(scope=TokenScope(kind), schedule=schedule)]
    cached, uncached = (
        tiny_session.generate(PROMPT, 10, temperature=0, interventions=changes, use_cache=use) for use in (True, False)
    )
    assert cached == uncached


def test_what_is_added_is_there_at_the_declared_positions_alone(tiny_session):
    """Fact 3.5 (2)."""
    change = step(replace(ADD, strength=1.0), scope=TokenScope("last_prompt"))
    clean, steered = (tiny_session.capture(PROMPT, [ADD.at], some)[ADD.at] for some in ((), (change,)))
    assert torch.equal(steered[:3], clean[:3])
    assert torch.equal(steered[3], clean[3] + torch.tensor(ADD.vector))


def test_a_recipe_through_json_binds_to_the_same_changes(tiny_session):
    condition = condition_of(
        fit_method(methods()["cast_condition"], planted_session(), planted_pairs(), [0], {}, "resid_pre")
    )
    steps = (
        step(scope=TokenScope("generated"), weights={1: 0.3}, source="0123", strength_range=(-1.0, 2.5)),
        step(condition=condition, is_muted=True, unit="relative", mean_norms={ADD.at: 3.5}),
    )
    again = tuple(map(through_json, steps))
    assert again == steps
    assert bound(again, tiny_session, PROMPT) == bound(steps, tiny_session, PROMPT)


def test_muted_steps_are_silent_and_solo_ones_alone(tiny_session):
    one, other = step(ADD), step(LATER)
    assert bound([replace(one, is_muted=True), other], tiny_session, PROMPT) == (LATER,)
    assert bound([replace(one, is_solo=True), other], tiny_session, PROMPT) == (ADD,)


def test_a_condition_lets_its_step_act_on_the_prompts_of_its_class():
    session, pairs = planted_session(), planted_pairs()
    condition = condition_of(fit_method(methods()["cast_condition"], session, pairs, [0], {}, "resid_pre"))
    guarded = step(AddDirection(AT, ADD.vector), condition=condition)
    tokens = [session.tokens(one.text, True) for one in pairs.examples]
    acts = [bool(bound([guarded], session, one)) for one in tokens]
    assert acts == [condition.holds(session, one) for one in tokens]
    assert 0 < sum(acts) < len(tokens)


def test_special_tokens_are_those_of_the_model(tiny_session):
    (change,) = bound([step(scope=TokenScope("skip_special"))], tiny_session, (*tiny_session.special_tokens, 9, 8))
    n = len(tiny_session.special_tokens)
    assert n
    assert change.ranges == ((n, n + 1), (n + 1, n + 2), (n + 2, None))


def test_scaling_a_recipe_multiplies_every_strength(tiny_session):
    recipe = (step(strength=0.5), ADD, AddVector(ADD.at, ADD.vector, 4.0))
    assert [one.strength for one in scaled(recipe, 3.0)] == [1.5, 6.0, 12.0]
    steered = tiny_session.logits(PROMPT, scaled(recipe, 0.0))
    assert torch.equal(steered, tiny_session.logits(PROMPT))


@pytest.mark.parametrize("method", ["mean_difference", "project_out", "replace_direction"])
def test_a_step_of_fitted_vectors_does_what_the_method_does(method):
    session, pairs = planted_session(), planted_pairs()
    fitted = fit_method(methods()["mean_difference"], session, pairs, [0], {"positions": "all"}, "resid_pre")
    made = step_of(fitted, methods()[method], "up", value=2.0, unit="absolute", scope=TokenScope())
    (change,) = made.placed(PROMPT)
    assert (change.at, made.method, made.mean_norms) == (AT, method, fitted.mean_norms)
    assert getattr(change, "value", 2.0) == 2.0
    torch.testing.assert_close(torch.tensor(change.vector), fitted.vectors[AT])


def test_a_step_of_fitted_vectors_leaves_special_tokens_out_by_itself():
    session, pairs = planted_session(), planted_pairs()
    fitted = fit_method(methods()["mean_difference"], session, pairs, [0], {"positions": "all"}, "resid_pre")
    assert step_of(fitted, methods()["project_out"], "up").scope.kind == "skip_special"
    assert step_of(fitted, methods()["mean_difference"], "up").scope.kind == "last_prompt_and_generated"


WHOLE = step(weights={1: 2.0}, unit="relative", mean_norms={ADD.at: 1.0}).recipe()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({"strength": 1e9}, "strength of a step must lie within ±1,000,000; 1e\\+09 was given"),
        ({"strength": 10**400}, "within ±1,000,000; inf was given"),
        ({"strength": float("nan")}, "not a number was given"),
        ({"weights": {"1": float("inf")}}, "weight of a step must lie within"),
        ({"weights": {"x": 1.0}}, "step recipe cannot be read"),
        ({"unit": "decibel"}, "Choose one of: absolute, relative"),
        ({"mean_norms": {}}, "that of blocks.1.hook_resid_post is not known"),
        ({"mean_norms": {str(ADD.at): -1.0}}, "is not known"),
        ({"changes": []}, "has 1 to 1,000 changes; this one has 0"),
        ({"changes": [ADD.recipe()] * 1001}, "this one has 1,001"),
        ({"changes": [step().recipe()]}, "looks at the prompt itself"),
        ({"changes": [EditLatent(ADD.at, "0" * 32, 1).recipe()]}, "No SAE on the shelf is called"),
        ({"changes": [ADD.recipe() | {"at": "blocks.1.hook_nowhere"}]}, "No hook point is called"),
        ({"changes": [ProjectOut(ADD.at, ADD.vector).recipe()]}, "has no unit"),
        ({"scope": {"kind": "all"}}, "step recipe cannot be read"),
        ({"schedule": 3}, "step recipe cannot be read"),
        ({"strength_range": [1.0]}, "step recipe cannot be read"),
    ],
)
def test_a_broken_step_gets_a_sentence(broken, words):
    with pytest.raises(UserError, match=words):
        operator_from_recipe(WHOLE | broken)


def test_a_change_that_says_its_own_positions_takes_no_scope_and_no_schedule():
    rows = AddRows(AT, ((1.0,),))
    with pytest.raises(UserError, match="says itself where it acts; generated and constant"):
        step(rows, scope=TokenScope("generated"))
    with pytest.raises(UserError, match="says itself where it acts; all and ramp"):
        step(MaskBelow(AT, 1.0), schedule=Schedule("ramp"))
    assert step(rows, strength=2.0).placed(PROMPT) == (replace(rows, strength=2.0),)


@pytest.mark.parametrize(
    ("at", "words"),
    [
        (HookPoint(7, "resid_post"), "Layer 7 does not exist: the model has layers 0 to 2"),
        (HookPoint(1, "resid_mid"), "can be read but not changed"),
        (HookPoint(1, "router_logits"), "This model has no router_logits in block 1"),
    ],
)
def test_a_hook_point_that_the_model_lacks_is_refused_even_where_nothing_would_be_done(at, words, tiny_session):
    with pytest.raises(UserError, match=words):
        tiny_session.logits(PROMPT, [step(replace(ADD, at=at), strength=0.0)])


def test_a_vector_of_another_width_is_refused(tiny_session):
    with pytest.raises(UserError, match="must have 32 entries; it has 2"):
        tiny_session.logits(PROMPT, [step(replace(ADD, vector=(1.0, 2.0)))])


def test_an_unbound_step_is_a_programmers_mistake():
    with pytest.raises(ValueError, match="once it is bound"):
        step()(torch.zeros(1, 1, 32), ADD.at, 0)
