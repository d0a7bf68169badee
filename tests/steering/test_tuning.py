"""Auto-tune finds what was planted, chooses on one half, goes on where it was stopped, and gives back a recipe."""

import json
from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from capture.store import ActivationStore
from capture.store_tuning import points_of, write_points
from steering import tuning
from steering.contrast_pairs import Example, contrast_of
from steering.methods.add_direction import AddDirection
from steering.methods.step import Step
from steering.token_scope import TokenScope
from steering.tune_plan import Point, TunePlan
from steering.tuning import KeptPoints, finer_points, kept_tuning, slider_range, tune
from tests.steering.planted import direction, planted_pairs, planted_speaker

PROMPTS = ("Once upon", "The bear sat", "A moon", "She said")
LAYERS = (0, 1, 2)
PLANTED = 1


def vector(layer):
    """The planted direction at one layer; at the others something else, as long."""
    other = torch.randn(32, generator=torch.Generator().manual_seed(40 + layer))
    other -= (other @ direction()) * direction()
    return direction() if layer == PLANTED else other / other.norm()


def step(layers=LAYERS, **fields):
    changes = tuple(AddDirection(HookPoint(one, "resid_post"), tuple(vector(one).tolist())) for one in layers)
    norms = {change.at: 8.0 for change in changes}
    usual = {"scope": TokenScope("skip_special"), "unit": "relative", "mean_norms": norms}
    return Step("planted", changes, **(usual | fields))


CHANGE = AddDirection(HookPoint(1, "resid_post"), tuple(direction().tolist()))


def plan(layers=LAYERS, held=(), **fields):
    usual = {"step": 0, "layers": layers, "contrast": planted_pairs(6, 3), "n_tokens": 4}
    recipe = (step().recipe(), *(one.recipe() for one in held))
    return TunePlan(recipe, PROMPTS, **(usual | fields))


@pytest.fixture(scope="module")
def found():
    return tune(planted_speaker(), plan())


def test_the_sweep_finds_the_planted_layer(found):
    assert found.knee.layer == PLANTED
    best = {one: max(dose.overall for dose in found.layer_doses(one) if dose.kl.mean <= 0.1) for one in LAYERS}
    assert best[PLANTED] > 2 * max(best[0], best[2])


def test_the_knee_is_where_a_dense_sweep_has_it(found):
    """Oracle: strengths close together at the planted layer, the best of them by the rule written out."""
    dense = tune(planted_speaker(), plan((PLANTED,), strengths=tuple(0.02 * n for n in range(1, 13))))
    best = max(one.overall for one in dense.chosen_on if one.kl.mean <= 0.1)
    at_knee = next(one for one in found.chosen_on if (one.strength, one.layer) == (found.knee.strength, PLANTED))
    assert at_knee.overall >= 0.95 * best
    assert at_knee.kl.mean <= 0.1


def test_what_is_reported_is_the_half_that_did_not_choose(found):
    assert found.facts == {"n_pairs": 3, "n_prompts": 2, "n_pairs_choosing": 3, "n_prompts_choosing": 2}
    assert found.knee in found.doses
    assert found.knee not in found.chosen_on
    assert found.knee.concept.low < found.knee.concept.mean < found.knee.concept.high


def test_the_choice_never_sees_the_reported_half(found):
    """Fact 4.5 (15): poison every reported pair and prompt; the chosen point must not move."""
    pairs = planted_pairs(6, 3)
    poisoned = [
        replace(one, text=("zq x" if place % 2 else "jj k") + str(place)) if (place // 2) % 2 else one
        for place, one in enumerate(pairs.examples)
    ]
    prompts = tuple("zz zz qq" if place % 2 else one for place, one in enumerate(PROMPTS))
    contrast = contrast_of(pairs.title, pairs.labels, poisoned, is_paired=True)
    other = tune(planted_speaker(), replace(plan(contrast=contrast), prompts=prompts))
    assert other.point == found.point
    assert [one.kl.mean for one in other.chosen_on] == pytest.approx([one.kl.mean for one in found.chosen_on], abs=1e-5)
    assert abs(other.knee.kl.mean - found.knee.kl.mean) > 1e-3


class Stopped(Exception):
    """What a cancel raises."""


def counting(monkeypatch):
    """Every setting that is measured, in order."""
    seen, plain = [], tuning.values_of
    monkeypatch.setattr(
        tuning, "values_of", lambda material, some, progress: seen.extend(some) or plain(material, some, progress)
    )
    monkeypatch.setattr(tuning, "ROWS_AT_ONCE", 2 * len(PROMPTS))
    return seen


def test_a_stopped_sweep_goes_on_and_computes_no_point_twice(found, monkeypatch, tmp_path):
    seen, asked = counting(monkeypatch), plan()
    store = ActivationStore.open(tmp_path / "store.duckdb")

    def stop(share, words):
        if share > 0.4:
            raise Stopped

    with pytest.raises(Stopped):
        tune(planted_speaker(), asked, store, stop)
    n_before = len(KeptPoints.read(store, sweep_of(asked)).values)
    store.close()
    again = ActivationStore.open(tmp_path / "store.duckdb")
    seen.clear()
    other = tune(planted_speaker(), asked, again)
    assert 0 < n_before < len(other.doses)
    assert len(seen) == len(other.doses) - n_before
    assert other.point == found.point
    assert_close(other, found)
    seen.clear()
    assert tune(planted_speaker(), asked, again) == other == kept_tuning(again, sweep_of(asked), asked.budget)
    assert seen == []
    again.close()


def test_the_odds_begin_at_the_clean_model_and_their_law_fits_what_was_planted(found):
    """At 0 the mean over the reported pairs, as the session reads them."""
    session, pairs = planted_speaker(), planted_pairs(6, 3).pairs[1::2]
    read = [[-float(session.loss(session.tokens(one.text, True)).sum()) for one in pair] for pair in pairs]
    preference = sum(down - up for up, down in read) / len(read)
    start = found.odds.start
    assert (start.strength, start.preference) == (0.0, pytest.approx(-preference, abs=1e-3))
    assert (found.odds.layer, len(found.odds.points)) == (PLANTED, 1 + len(found.layer_doses(PLANTED)))
    assert found.odds.law.r2_preference > 0.95
    assert found.odds.law.alpha * found.odds.law.decay([0.1])[0] > 0


def test_a_sweep_of_before_the_odds_were_kept_is_read_and_gone_on_with(monkeypatch, tmp_path):
    asked, strengths = plan((PLANTED,), strengths=(0.1, 0.2)), (0.1, 0.2, 0.4)
    store = ActivationStore.open(tmp_path / "store.duckdb")
    tune(planted_speaker(), asked, store)
    old = json.loads(points_of(store, sweep_of(asked))[tuning.CLEAN])
    old.pop("odds")
    write_points(store, sweep_of(asked), {tuning.CLEAN: json.dumps(old).encode()})
    assert kept_tuning(store, sweep_of(asked), 0.1).odds.start.strength == 0.1
    seen, more = counting(monkeypatch), tune(planted_speaker(), replace(asked, strengths=strengths), store)
    assert (len(seen), [one.strength for one in more.odds.points]) == (1, list(strengths))
    store.close()


def sweep_of(asked):
    session = planted_speaker()
    return asked.sweep(session.fingerprint, session.dtype)


def assert_close(one, other):
    """Equal up to the rounding of other batches."""
    for name in ("concept", "kl", "perplexity_ratio"):
        ours, theirs = ([getattr(dose, name).mean for dose in some.doses] for some in (one, other))
        assert ours == pytest.approx(theirs, abs=1e-4)


def test_a_store_that_keeps_nothing_does_not_end_a_sweep(monkeypatch, tmp_path):
    store = ActivationStore.open(tmp_path / "store.duckdb")
    monkeypatch.setattr(tuning, "write_points", lambda *_: (_ for _ in ()).throw(UserError("full", "make room")))
    assert tune(planted_speaker(), plan((PLANTED,), strengths=(0.1,)), store).doses[0].strength == 0.1
    store.close()


def test_the_numbers_of_a_point_change_with_what_decides_them_and_with_nothing_else():
    asked, used = plan(), step(strength=0.3, weights={0: 0.0, 2: 0.5}, strength_range=(0.0, 1.0), source="a")
    assert sweep_of(replace(asked, recipe=(replace(used, name="other").recipe(),))) == sweep_of(asked)
    others = [
        plan(()),
        plan(n_tokens=6),
        plan(contrast=None),
        plan(bos=False),
        plan(held=[step((0,))]),
        replace(asked, prompts=PROMPTS[::-1]),
        replace(asked, recipe=(step(unit="absolute").recipe(),)),
    ]
    assert len({sweep_of(one) for one in [asked, *others]}) == 8


def test_other_steps_are_held_and_a_whole_recipe_is_scaled():
    held = [step((0,), strength=0.5)]
    first, second = plan(held=held).setting(Point(0.7, 2), {})
    assert (first.strength, first.weights, second) == (0.7, {0: 0.0, 1: 0.0, 2: 1.0}, held[0])
    whole = plan((), held=held, step=None)
    assert [one.strength for one in whole.setting(Point(2.0), {})] == [2.0, 1.0]
    assert [point.strength for point in whole.points()] == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0]
    assert [point.strength for point in plan(()).points()] == [0.025, 0.05, 0.1, 0.2, 0.4, 0.8]


def test_a_vector_of_one_layer_is_moved_with_the_norms_it_meets():
    asked = replace(plan(), recipe=(step((PLANTED,)).recipe(),))
    session = planted_speaker()
    norms = asked.mean_norms(session)
    (moved,) = asked.setting(Point(0.2, 2), norms)
    at = HookPoint(2, "resid_post")
    rows = [session.capture(session.tokens(text, True), (at,))[at][1:] for text in PROMPTS]
    assert moved.changes[0].at == at
    assert moved.mean_norms == {at: pytest.approx(float(torch.cat(rows).norm(dim=1).mean()), rel=1e-5)}


def test_every_layer_is_those_that_the_step_can_be_tried_at():
    session, every = planted_speaker(), plan((), is_every_layer=True)
    assert every.on(session).layers == LAYERS
    assert sweep_of(every) == sweep_of(every.on(session)) != sweep_of(plan(()))
    moved = replace(every, recipe=(step((PLANTED,)).recipe(),))
    assert (moved.on(session).layers, moved.is_moved, every.is_moved) == (LAYERS, True, False)
    assert replace(every, recipe=(step((0, 2)).recipe(),)).on(session).layers == (0, 2)


def test_a_chosen_point_is_written_into_the_recipe_and_is_then_where_it_stands(found):
    asked = plan()
    used = replace(asked, recipe=asked.used(found.point, found.norms, found.slider))
    chosen = operator_from_recipe(json.loads(json.dumps(used.recipe[0])))
    assert (chosen.strength, chosen.usual_strength) == (found.knee.strength, found.knee.strength)
    assert chosen.strength_range == (-found.slider[1], found.slider[1])
    assert used.standing() == found.point
    assert sweep_of(used) == sweep_of(asked)


def test_without_pairs_only_the_costs_are_measured():
    found = tune(planted_speaker(), plan((), contrast=None))
    assert {one.concept for one in found.doses} == {None}
    within = [one.strength for one in found.chosen_on if one.kl.mean <= found.budget]
    assert found.knee.strength == max(within)
    assert (found.slope, found.odds) == (None, None)


def test_a_plan_survives_json():
    asked = plan(held=[step((0,))])
    assert TunePlan.from_json(json.loads(json.dumps(asked.to_json()))) == asked
    assert Point.named(Point(0.1, 3).name) == Point(0.1, 3)
    assert Point.named(Point(-1e-7).name) == Point(-1e-7)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (replace(plan(), recipe=()), "at least one step"),
        (plan(step=3), "Step 4 does not exist"),
        (plan(step=None), "not for a whole recipe"),
        (plan((5,)), "cannot be tried at layer 5"),
        (plan((), step=None, is_every_layer=True), "not for a whole recipe"),
        (plan((), held=[CHANGE], step=1, is_every_layer=True), "Only a step of vectors"),
        (replace(plan(), recipe=(step(is_muted=True).recipe(),)), "is muted"),
        (plan(contrast=planted_pairs(1)), "two pairs are needed"),
        (replace(plan(), prompts=("One",)), "two prompts are needed"),
        (plan(contrast=contrast_of("t", ("a", "b"), [Example("x", "a"), Example("y", "b")], False)), "single texts"),
    ],
)
def test_what_cannot_be_tuned_is_refused(asked, sentence):
    with pytest.raises(UserError, match=sentence):
        tune(planted_speaker(), asked)


def test_a_finer_sweep_lies_round_the_knee_or_below_a_sweep_that_is_all_too_strong(found):
    coarse = [Point(0.1, 1), Point(0.2, 1), Point(0.4, 1)]
    doses = [
        replace(found.knee, strength=one.strength, overall=x) for one, x in zip(coarse, (0.2, 0.9, 0.3), strict=True)
    ]
    doses = [replace(one, kl=replace(one.kl, mean=0.05)) for one in doses]
    assert [one.strength for one in finer_points(coarse, doses, 0.1)] == [0.13, 0.16, 0.25, 0.32]
    strong = [replace(one, kl=replace(one.kl, mean=5.0)) for one in doses]
    assert [one.strength for one in finer_points(coarse, strong, 0.1)] == [0.021, 0.035, 0.059]
    useless = [replace(one, overall=0.0) for one in doses]
    assert finer_points(coarse, useless, 0.1) == []


def test_the_slider_spans_twice_the_knee_rounded_up(found):
    assert slider_range([], replace(found.knee, strength=0.16), 0.1) == (0.0, 0.5)
    assert slider_range([], replace(found.knee, strength=-3.0), 0.1) == (-10.0, 0.0)
    beyond = [replace(found.knee, strength=0.4, kl=replace(found.knee.kl, mean=0.2))]
    assert slider_range(beyond, None, 0.1) == (0.0, 0.5)
