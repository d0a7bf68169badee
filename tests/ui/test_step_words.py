"""Steps in words, from plain JSON that anybody may have written."""

import pytest

from capture.hook_point import HookPoint
from steering.methods.add_direction import AddDirection
from steering.methods.cast_condition import Condition
from steering.recipe import Step
from steering.schedule import Schedule
from steering.token_scope import TokenScope
from ui.changes import change_words
from ui.step_words import place_words, short_step_words, step_words, weight_bars

AT = [HookPoint(n, "resid_post") for n in range(6)]


def adds(*points, **fields):
    return Step("glad", tuple(AddDirection(at, (1.0,)) for at in points), **fields).recipe()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (adds(AT[2], strength=1.5), "glad: adds ×1.5 at block 2, resid_post"),
        (
            adds(*AT[:3], AT[4], scope=TokenScope("generated"), is_muted=True),
            "glad: adds ×1 at blocks 0 to 2, 4, resid_post, generated, muted",
        ),
        (
            adds(AT[1], schedule=Schedule("ramp", n_tokens=8), condition=Condition(AT[0], (1.0,), 0.25)),
            "glad: adds ×1 at block 1, resid_post, ramp 0 to 1 over 8 tokens, if similarity > 0.25",
        ),
        (
            adds(AT[1], unit="relative", strength=-0.1, mean_norms={AT[1]: 2.0}, schedule=Schedule("window", 2, 9)),
            "glad: adds −0.1 × mean norm at block 1, resid_post, from token 2 until before 9",
        ),
    ],
)
def test_a_step_is_said_in_one_line(step, words):
    assert step_words(step) == words


def test_the_rail_says_name_and_strength():
    assert change_words(adds(AT[2], strength=1.5, is_solo=True)) == "glad ×1.5, solo"


def test_places_are_grouped_by_layers():
    points = [HookPoint(n, site) for n in (0, 1) for site in ("resid_pre", "mlp_out")]
    assert place_words([*points, HookPoint(None, "embed")]) == "blocks 0 and 1, resid_pre, mlp_out; embed"
    assert place_words([]) == "no hook point"


def test_weights_are_bars():
    assert weight_bars([0.0, 0.5, 1.0]) == "▁▅█"
    assert weight_bars([0.0, 0.0]) == "▁▁"


@pytest.mark.parametrize("given", [{}, {"changes": 3}, {"changes": [3, {"at": 4}], "scope": 1, "schedule": "x"}])
def test_anything_is_said_without_an_error(given):
    assert step_words({"kind": "step", **given}).startswith("None: ")
    assert short_step_words({"kind": "step", **given})
