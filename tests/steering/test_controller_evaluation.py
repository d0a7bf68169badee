"""Scores of controllers: calibration written out, equal side effect, and the systems that a controller is beside."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from capture.errors import UserError
from capture.generation import GenerationRow
from steering.calibration import brier, calibration_error, reliability
from steering.contrast_pairs import Example, contrast_of
from steering.controller import decide, patches
from steering.controller_evaluation import CAST, CONSTANT, KNOWN, Question, evaluate_controllers
from steering.controller_loss import Continued, added_after_prompts, steered_logprobs
from steering.controller_making import score_lines
from steering.controller_writing import N_WRITTEN
from steering.equal_cost import at_equal_cost, dose_at_cost
from steering.scores import fluency
from steering.scoring import SAMPLING
from tests.steering.planted_controller import WANTED, prompts, session, trained


def test_reliability_of_known_odds():
    bins = reliability([0.05, 0.15, 0.15, 0.95, 1.0], [False, False, True, True, True])
    assert [(one.low, one.n, one.true) for one in bins] == [(0.0, 1, 0.0), (0.1, 2, 0.5), (0.9, 2, 1.0)]
    assert calibration_error(bins) == pytest.approx((0.05 + 2 * 0.35 + 2 * 0.025) / 5)
    assert brier([0.5, 1.0], [True, True]) == pytest.approx(0.125)
    assert brier([0.5] * 4, [True, False] * 2) == 0.25


def test_the_effect_at_a_side_effect_lies_on_the_line_between_two_doses():
    """Mean costs 0.1 and 0.3, mean effects 1 and 2: at 0.2 the effect is 1.5; at 0.05 half of the first."""
    effect, cost = np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([[0.1, 0.1], [0.3, 0.3]])
    assert at_equal_cost(effect, cost, 0.2).mean == pytest.approx(1.5)
    assert at_equal_cost(effect, cost, 0.05).mean == pytest.approx(0.5)
    assert at_equal_cost(effect, cost, 9.0).mean == 2.0
    assert at_equal_cost(effect, cost, 0.2).low == pytest.approx(1.5)


def test_what_is_added_in_a_batch_is_what_the_change_does_alone():
    """The scores' fast way and the way of every view give the same log-probabilities."""
    controller = trained()
    rows = [Continued(prompt, (30, 40, 41)) for prompt in prompts(4).tokens]
    said = [decide(controller, session(), row.prompt) for row in rows]
    amounts = torch.tensor([[one.s * w * 3.0 for w in one.weights] for one in said])
    batched = steered_logprobs(
        session(), rows, added_after_prompts(rows, amounts, controller.directions, controller.points())
    )
    for row, one, found in zip(rows, said, batched, strict=True):
        changes = patches(controller, one, len(row.prompt), 3.0, "absolute")
        alone = session().logits(row.prompt + row.after, changes).log_softmax(dim=-1)[len(row.prompt) - 1 : -1]
        torch.testing.assert_close(found, alone, atol=1e-4, rtol=0)


@pytest.fixture(scope="module")
def question():
    texts = [Example(WANTED * 3, "up"), Example("###", "down"), Example(f"{WANTED} ", "up"), Example("# ", "down")]
    pairs = contrast_of("wanted", ("up", "down"), texts, True)
    return Question(session(), {"planted": trained()}, prompts(10, seed=77), pairs, prompts(), (1.0, 3.0))


@pytest.fixture(scope="module")
def found(question):
    return evaluate_controllers(question)["planted"]


def test_a_controller_that_knows_when_beats_constant_steering_at_equal_side_effect(found):
    by_name = {one.name: one for one in found.systems}
    assert set(by_name) == {"planted", CONSTANT, CAST, KNOWN}
    assert by_name["planted"].at_budget[1].low > by_name[CONSTANT].at_budget[1].high
    assert found.auroc > 0.95
    assert found.ece < 0.25


def test_known_labels_cost_nothing_and_constant_steering_costs_most(found):
    by_name = {one.name: one for one in found.systems}
    assert [one.side_effect.mean for one in by_name[KNOWN].doses] == [0.0, 0.0]
    assert by_name[KNOWN].reached == (False, False, False)
    costs = {name: one.doses[-1].side_effect.mean for name, one in by_name.items()}
    assert costs[CONSTANT] == max(costs.values())
    effects = {name: one.doses[-1].effect.mean for name, one in by_name.items()}
    assert effects[KNOWN] == pytest.approx(effects[CONSTANT], abs=1e-5)


def test_fluency_is_that_of_what_the_change_writes_after_the_targets(question, found):
    """The lab's own way: the change bound to each target, its continuation read by the clean model."""
    own, controller = found.systems[0], question.controllers["planted"]
    targets = question.held_out.of(wanted=True)
    at = own.written[1]
    rows = [
        (
            GenerationRow(prompt, (), n),
            GenerationRow(
                prompt,
                patches(controller, decide(controller, session(), prompt), len(prompt), at.dose * 1.0, "relative"),
                n,
            ),
        )
        for n, prompt in enumerate(targets)
    ]
    losses = []
    for some in zip(*rows, strict=True):
        new = session().generate_rows(some, N_WRITTEN, SAMPLING)
        odds = session().row_logprobs([GenerationRow(prompt) for prompt in targets], new)
        each = [-one.gather(1, torch.tensor(text)[:, None]) for one, text in zip(odds, new, strict=True)]
        losses.append(float(torch.cat(each).mean()))
    assert at.perplexity_ratio.mean == pytest.approx(np.exp(losses[1] - losses[0]), rel=1e-4)
    assert at.perplexity_ratio.low <= at.perplexity_ratio.mean <= at.perplexity_ratio.high
    assert at.fluency == pytest.approx(fluency(at.perplexity_ratio.mean, at.repetition))


def test_what_is_written_stands_at_the_dose_of_the_side_effect(found):
    costs = np.array([[0.1, 0.1], [0.3, 0.3]])
    assert dose_at_cost((1.0, 3.0), costs, 0.2) == pytest.approx(2.0)
    assert dose_at_cost((1.0, 3.0), costs, 0.05) == pytest.approx(0.5)
    assert dose_at_cost((1.0, 3.0), costs, 9.0) == 3.0
    for system in found.systems:
        doses = [one.dose for one in system.written]
        assert doses == sorted(doses)
    assert [one.dose for one in system.written] == [3.0] * 3  # known labels have no side effect


def test_the_scores_are_plain_json_and_said_in_words(found):
    data = json.loads(json.dumps(found.to_json()))
    assert len(data["prompts"]) == 20
    assert data["systems"][0]["doses"][0]["dose"] == 1.0
    lines = "\n".join(score_lines("planted", found))
    assert "planted on 10 targets and 10 others" in lines
    assert "labels known" in lines


def test_prompts_that_do_not_fit_with_what_is_measured_are_refused(question):
    long = replace(question.held_out, tokens=tuple((5,) * 60 for _ in question.held_out.tokens))
    with pytest.raises(UserError, match="do not fit the model"):
        evaluate_controllers(replace(question, held_out=long))
