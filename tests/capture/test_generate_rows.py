"""Rows of one batch: each as it would be alone, padding never touched, common noise, stoppable."""

import math

import pytest
import torch

from capture.errors import UserError
from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint
from capture.intervention import AddVector
from capture.remembered import DecodedRows
from steering.methods.add_direction import AddDirection
from steering.methods.clamp_direction import ClampDirection
from tests.capture.bindable import AddFromEnd
from tests.models import CONTEXT

AT = HookPoint(1, "resid_post")
VECTOR = tuple(float(n % 5) - 2 for n in range(32))
GREEDY = Sampling(temperature=0)
SHORT, MIDDLE, LONG = (0, 9, 8, 7), (0, 5, 6, 7, 8), (0, 11, 12, 13, 14, 15, 16, 17, 18)
EVERYWHERE, GENERATED = AddVector(AT, VECTOR, 1.5), AddFromEnd(AT, VECTOR, 2.0)
LAST = AddFromEnd(AT, VECTOR, -1.0, shift=-1)
ROWS = (
    GenerationRow(SHORT),
    GenerationRow(LONG, (EVERYWHERE,)),
    GenerationRow(MIDDLE, (GENERATED, EVERYWHERE)),
    GenerationRow(SHORT, (LAST,)),
    GenerationRow(LONG),
)


@pytest.fixture(autouse=True)
def _nothing_is_remembered(tiny_session):
    tiny_session._decoder.memory = DecodedRows()


def alone(session, row, n_tokens=12, use_cache=True):
    return session.generate(row.prompt, n_tokens, temperature=0, interventions=row.interventions, use_cache=use_cache)


class Watch:
    """Changes nothing; keeps what it is shown."""

    def __init__(self):
        self.seen = []

    def hook_points(self):
        return (HookPoint(0, "resid_pre"),)

    def __call__(self, activation, at, first_pos):
        self.seen.append((first_pos, activation.clone()))
        return activation

    def recipe(self):
        return {"kind": "watch"}


@pytest.mark.parametrize("use_cache", [True, False])
def test_rows_of_one_batch_are_as_each_alone(use_cache, tiny_session):
    """Facts 3.5 (4) and (5): other prompts, other changes, left padding, with and without the cache."""
    rows = tiny_session.generate_rows(ROWS, 12, GREEDY, use_cache=use_cache)
    assert rows == tuple(alone(tiny_session, row) for row in ROWS)
    assert len(set(rows)) == len(ROWS)


def test_a_change_never_sees_padding_and_hears_true_positions(tiny_session):
    watch = Watch()
    tiny_session.generate_rows([GenerationRow(LONG), GenerationRow(SHORT, (watch,))], 3, GREEDY)
    expected = tiny_session.capture(SHORT, [HookPoint(0, "resid_pre")])[HookPoint(0, "resid_pre")]
    assert [(first, one.shape[1]) for first, one in watch.seen] == [(0, 4), (4, 1), (5, 1)]
    assert torch.allclose(watch.seen[0][1][0], expected, atol=1e-6)


def test_a_change_that_all_rows_share_acts_once_on_the_batch(tiny_session):
    watch = Watch()
    tiny_session.generate_rows([GenerationRow(SHORT, (watch,)), GenerationRow(SHORT, (watch,), seed=5)], 3, GREEDY)
    assert [one.shape[:2] for _, one in watch.seen] == [(2, 4), (2, 1), (2, 1)]


def test_each_row_ends_by_itself(tiny_session, monkeypatch):
    free = tiny_session.generate_rows(ROWS, 12, GREEDY)
    stop = free[1][4]
    monkeypatch.setattr(tiny_session, "_stops", frozenset({stop}))
    expected = tuple(one[: one.index(stop) + 1] if stop in one else one for one in free)
    assert tiny_session.generate_rows(ROWS, 12, GREEDY) == expected


def test_a_row_ends_where_its_context_is_full(tiny_session):
    full = tuple(5 + n % 9 for n in range(CONTEXT - 2))
    rows = tiny_session.generate_rows(
        [GenerationRow(full), GenerationRow(SHORT), GenerationRow((*full, 5, 6))], 6, GREEDY
    )
    assert [len(one) for one in rows] == [2, 6, 0]


def test_equal_seeds_give_equal_noise_by_position(tiny_session):
    """Common random numbers: a row without effect is the clean row; another seed is another text."""
    idle = AddVector(AT, VECTOR, 0.0)
    rows = [GenerationRow(SHORT, seed=3), GenerationRow(SHORT, (idle,), seed=3), GenerationRow(SHORT, seed=4)]
    clean, same, other = tiny_session.generate_rows(rows, 20, Sampling(temperature=1.5))
    assert clean == same != other
    assert clean == tiny_session.generate(SHORT, 20, seed=3, temperature=1.5)


def test_a_listener_hears_every_row_and_may_cancel(tiny_session):
    heard = []

    def listen(step):
        heard.append(step)
        if len(heard) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_session.generate_rows(ROWS, 10, GREEDY, on_step=listen)
    assert list(zip(*heard, strict=True)) == list(tiny_session.generate_rows(ROWS, 3, GREEDY))
    assert not any(hook.has_hooks() for hook in tiny_session._wiring.bridge.hook_dict.values())


def test_a_row_that_is_over_is_heard_as_none(tiny_session):
    heard = []
    full = tuple(5 + n % 9 for n in range(CONTEXT - 1))
    tiny_session.generate_rows([GenerationRow(full), GenerationRow(SHORT)], 3, GREEDY, on_step=heard.append)
    assert [first is None for first, _ in heard] == [False, True, True]


def test_log_probabilities_are_those_of_the_bound_text_alone(tiny_session):
    """Bound to the prompt, not to the whole text: GENERATED acts on what was written."""
    rows, new = [ROWS[0], ROWS[2], ROWS[1]], [(20, 21, 22), (30,), ()]
    found = list(tiny_session.row_logprobs(rows, new))
    for row, written, odds in zip(rows, new, found, strict=True):
        n = len(row.prompt)
        changes = [AddVector(AT, VECTOR, 2.0, from_pos=n), EVERYWHERE] if row is ROWS[2] else row.interventions
        whole = tiny_session.logits((*row.prompt, *written), changes).log_softmax(-1)
        assert odds.shape == (len(written), 320)
        assert torch.allclose(odds, whole[n - 1 : n - 1 + len(written)], atol=1e-4)


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ({"temperature": math.nan}, "temperature must be a finite number from 0 on; nan was given"),
        ({"temperature": -0.1}, "from 0 on; -0.1 was given"),
        ({"temperature": math.inf}, "inf was given"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1; 0 was given"),
        ({"top_p": math.nan}, "top_p must be above 0"),
        ({"top_p": 1.1}, "top_p must be above 0"),
        ({"top_k": -1}, "top_k must be a whole number from 0 on; -1 was given"),
        ({"repetition_penalty": 0}, "must be a finite number above 0; 0 was given"),
        ({"repetition_penalty": math.nan}, "must be a finite number above 0; nan was given"),
        ({"seed": -1}, "seed is a whole number from 0 to .*; -1 was given"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(numbers, said):
    with pytest.raises(UserError, match=said) as caught:
        Sampling(**numbers)
    assert caught.value.hint


def test_a_prompt_longer_than_the_context_is_refused(tiny_session):
    rows = [GenerationRow(SHORT), GenerationRow(tuple([5] * (CONTEXT + 1)))]
    with pytest.raises(UserError, match=f"The text has {CONTEXT + 1} tokens; tiny llama fits {CONTEXT}. Shorten"):
        tiny_session.generate_rows(rows, 4, GREEDY)


def test_no_rows_and_no_tokens_give_nothing(tiny_session):
    assert tiny_session.generate_rows([], 4, GREEDY) == ()
    assert tiny_session.generate_rows([ROWS[0]], 0, GREEDY) == ((),)


def test_vectors_that_are_added_at_one_point_are_one_sum_in_a_step(tiny_session):
    """Rows of several vectors, some beside another kind of change: the texts of each alone, without the cache."""
    vectors = [AddDirection(HookPoint(layer, "resid_post"), VECTOR, 0.3 * layer - 0.4) for layer in range(3)]
    clamp = ClampDirection(AT, VECTOR, 2.0)
    recipes = [vectors, [*vectors, *vectors], [vectors[0], clamp, vectors[1]], [], [vectors[2], EVERYWHERE]]
    rows = [GenerationRow(SHORT, tuple(recipe)) for recipe in recipes]
    found = tiny_session.generate_rows(rows, 12, GREEDY)
    assert found == tuple(alone(tiny_session, row, use_cache=False) for row in rows)
    assert len(set(found)) == 5
