"""Steps made of vectors on the shelf: strengths begin where scores say, places are chosen, classifiers are named."""

import json
from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from steering.fitting import fit_method
from steering.method import methods
from steering.methods.add_direction import AddDirection
from steering.methods.project_out import ProjectOut
from steering.recipe import Step
from steering.shelf import find_shelved, put_on_shelf
from steering.shelf_step import condition_from_shelf, is_direction, step_from_shelf
from steering.strength_range import in_unit, rounded_up, strength_range
from steering.vector_folder import read_vectors, write_vectors
from tests.steering.planted import AT, planted_pairs, planted_session

HAPPY = "happy_sad"
V = (3.0, 4.0)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))


def shelve(method, tmp_path, options=None, layers=(0,)):
    """A fit of a method on the planted pairs, on the shelf."""
    fitted = fit_method(
        methods()[method], planted_session(), planted_pairs(), layers, options, methods()[method].sites[0]
    )
    write_vectors(fitted, tmp_path / method)
    return fitted, put_on_shelf("vectors", tmp_path / method, f"planted {method}".replace("_", " "))


def test_a_scored_vector_begins_at_the_strength_that_was_chosen():
    step, one = step_from_shelf(HAPPY), find_shelved("vectors", HAPPY)
    scores = one.manifest["scores"]
    assert (step.strength, step.unit, step.usual_strength) == (scores["chosen_strength"], "relative", step.strength)
    assert step.strength_range == (-0.4, 0.4)
    assert (step.source, step.method, step.name) == (one.digest, "mean_difference", "happy sad")


def test_the_same_vectors_clamp_and_are_projected_out_elsewhere():
    at = [f"blocks.{n}.hook_resid_pre" for n in (0, 3)]
    step = step_from_shelf(HAPPY, "project_out", at=at)
    ((point, vector),) = read_vectors(find_shelved("vectors", HAPPY).folder).vectors.items()
    assert [str(one.at) for one in step.changes] == at
    assert all(torch.equal(torch.tensor(one.vector), vector) for one in step.changes)
    clamped = step_from_shelf(HAPPY, "clamp_direction", value=2.0)
    assert [(one.at, one.value) for one in clamped.changes] == [(point, 2.0)]


def test_layers_that_the_vectors_lack_are_refused():
    with pytest.raises(UserError, match="These vectors are of layers 2; \\[4\\] was asked for"):
        step_from_shelf(HAPPY, layers=[4])


def test_a_classifier_is_named_by_its_digest_in_links(tmp_path):
    fitted, one = shelve("k_steering", tmp_path, {"hidden": 8, "n_epochs": 2})
    step = step_from_shelf(one.digest)
    text = json.dumps(step.recipe())
    assert len(text) < 2000
    again = operator_from_recipe(json.loads(text))
    assert again == step
    x = torch.randn(1, 3, 32, generator=torch.Generator().manual_seed(0))
    (bare,) = methods()["k_steering"].apply(fitted, _setting(step.strength))
    ((change,),) = [again.placed((0, 1, 2))]
    torch.testing.assert_close(replace(change, ranges=bare.ranges)(x, change.at, 0), bare(x, change.at, 0))
    with pytest.raises(UserError, match="on the shelf is called"):
        operator_from_recipe(json.loads(text.replace(one.digest, "0" * 32)))


def _setting(strength):
    from steering.fitted import Setting

    return Setting(strength)


def test_a_condition_comes_from_the_shelf_and_vectors_are_none(tmp_path):
    fitted, one = shelve("cast_condition", tmp_path)
    condition = condition_from_shelf(one.name)
    assert condition.threshold == fitted.facts["condition"]["threshold"]
    assert not is_direction(one)
    with pytest.raises(UserError, match="is no condition"):
        condition_from_shelf(HAPPY)


def add(**fields):
    return Step("add", (AddDirection(AT, V, fields.pop("base", 1.0)),), mean_norms={AT: 40.0}, **fields)


@pytest.mark.parametrize(
    ("step", "limits"),
    [
        # Half of 40 over a vector of 5 is 4; the next round number is 5.
        (add(), (-5.0, 5.0)),
        (add(base=0.1), (-50.0, 50.0)),
        (add(unit="relative"), (-0.5, 1.0)),
        (add(unit="relative", strength=0.1), (-0.5, 0.5)),
        (add(strength=-7.0), (-7.0, 5.0)),
        (add(strength_range=(0.0, 0.3), strength=0.2), (0.0, 0.3)),
        (Step("out", (ProjectOut(AT, V),)), (0.0, 1.0)),
        (Step("add", (AddDirection(AT, V),)), (-2.0, 2.0)),
    ],
)
def test_the_range_of_a_slider_is_a_sweeps_or_half_the_activations_length(step, limits):
    assert strength_range(step) == limits


def test_a_range_is_rounded_up_to_one_two_or_five():
    assert [rounded_up(one) for one in (0.0101, 0.02, 3.0, 5.0, 60.0)] == [0.02, 0.02, 5.0, 5.0, 100.0]


def test_another_unit_keeps_the_change():
    step = add(strength=2.0, strength_range=(0.0, 4.0))
    relative = in_unit(step, "relative")
    assert (relative.strength, relative.strength_range) == (0.25, (0.0, 0.5))
    x = torch.zeros(1, 1, 2)
    ((one,), (other,)) = step.placed((0,)), relative.placed((0,))
    torch.testing.assert_close(one(x, AT, 0), other(x, AT, 0))
    assert in_unit(relative, "absolute") == replace(step, usual_strength=1.0)


def test_a_place_is_a_hook_point():
    with pytest.raises(UserError, match="No hook point is called"):
        step_from_shelf(HAPPY, "project_out", at=["nowhere"])
    assert HookPoint(2, "resid_post") in step_from_shelf(HAPPY).hook_points()
