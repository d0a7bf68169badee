"""A recipe is plain JSON; scopes become positions, and conditions open or close their step."""

import json

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from steering.fitting import fit_method
from steering.method import methods
from steering.methods.act_add import AddRows
from steering.methods.add_direction import AddDirection
from steering.methods.cast_condition import condition_of
from steering.recipe import Step, bound, steps_from_recipe
from steering.token_scope import EVERYWHERE, TokenScope
from tests.steering.planted import AT, planted_pairs, planted_session

ADD = AddDirection(HookPoint(1, "resid_post"), tuple(float(i % 3) for i in range(32)))
PROMPT = (0, 9, 1, 7)


@pytest.mark.parametrize(
    ("kind", "ranges"),
    [
        ("all", ((0, None),)),
        ("skip_special", ((1, 2), (3, 4), (4, None))),
        ("prompt", ((0, 4),)),
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


def test_an_unknown_scope_is_refused():
    with pytest.raises(UserError, match="Choose one of: all, skip_special"):
        TokenScope("everything")


@pytest.mark.parametrize("kind", ["prompt", "generated", "last_prompt", "last_prompt_and_generated"])
def test_generation_under_a_scope_agrees_with_and_without_the_cache(kind, tiny_session):
    """Fact 3.5 (4)."""
    changes = bound([Step(ADD, TokenScope(kind))], tiny_session, PROMPT)
    cached, uncached = (
        tiny_session.generate(PROMPT, 10, temperature=0, interventions=changes, use_cache=use) for use in (True, False)
    )
    assert cached == uncached


def test_what_is_added_is_there_at_the_declared_positions_alone(tiny_session):
    """Fact 3.5 (2)."""
    (change,) = bound([Step(ADD, TokenScope("last_prompt"))], tiny_session, PROMPT)
    clean, steered = (tiny_session.capture(PROMPT, [ADD.at], some)[ADD.at] for some in ((), (change,)))
    assert torch.equal(steered[:3], clean[:3])
    assert torch.equal(steered[3], clean[3] + torch.tensor(ADD.vector))


def test_a_recipe_through_json_binds_to_the_same_changes(tiny_session):
    condition = condition_of(
        fit_method(methods()["cast_condition"], planted_session(), planted_pairs(), [0], {}, "resid_pre")
    )
    steps = (Step(ADD, TokenScope("generated")), Step(ADD, condition=condition, is_muted=True))
    again = steps_from_recipe(json.loads(json.dumps([step.recipe() for step in steps])), operator_from_recipe)
    assert again == steps
    assert bound(again, tiny_session, PROMPT) == bound(steps, tiny_session, PROMPT)


def test_muted_steps_are_silent_and_solo_ones_alone(tiny_session):
    other = AddDirection(ADD.at, ADD.vector, 2.0)
    assert bound([Step(ADD, is_muted=True), Step(other)], tiny_session, PROMPT) == (other,)
    assert bound([Step(ADD, is_solo=True), Step(other)], tiny_session, PROMPT) == (ADD,)
    assert bound([Step(ADD, is_solo=True, is_muted=True), Step(other)], tiny_session, PROMPT) == ()


def test_a_condition_lets_its_step_act_on_the_prompts_of_its_class():
    session, pairs = planted_session(), planted_pairs()
    condition = condition_of(fit_method(methods()["cast_condition"], session, pairs, [0], {}, "resid_pre"))
    step = Step(AddDirection(AT, ADD.vector), condition=condition)
    tokens = [session.tokens(one.text, True) for one in pairs.examples]
    assert [bool(bound([step], session, one)) for one in tokens] == [condition.holds(session, one) for one in tokens]
    assert 0 < sum(bool(bound([step], session, one)) for one in tokens) < len(tokens)


def test_a_change_that_says_its_own_positions_takes_no_scope():
    with pytest.raises(UserError, match="says itself where it acts"):
        Step(AddRows(AT, ((1.0,),)), TokenScope("generated"))
    assert Step(AddRows(AT, ((1.0,),))).scope.ranges == EVERYWHERE


@pytest.mark.parametrize("given", [3, [3], [{}], [{"change": ADD.recipe()}]])
def test_a_broken_recipe_is_refused(given):
    with pytest.raises(UserError):
        steps_from_recipe(given, operator_from_recipe)
