"""Rows go on from where they part from a remembered one: the tokens of a decode from the start, and fewer passes."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from capture.acting import acts_of, first_difference
from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint
from capture.intervention import AddVector
from capture.plain_path import PlainPath
from capture.remembered import DecodedRows
from capture.session import ModelSession
from steering.methods.add_direction import AddDirection
from tests.models import tiny_llama, tiny_tokenizer

AT = HookPoint(1, "resid_post")
VECTOR = tuple(float(n % 5) - 2 for n in range(32))
PROMPT = (0, 9, 8, 7, 11, 12, 13, 14)
N = len(PROMPT)
DRAWN = Sampling(seed=3, temperature=1.2)
N_NEW = 16


def add(strength, *ranges, at=AT):
    return AddDirection(at, VECTOR, strength, ranges=ranges or ((0, None),))


@pytest.fixture
def session():
    """One without an end-of-text token, so that every text has its full length."""
    made = ModelSession(tiny_llama(), tiny_tokenizer(), name="tiny")
    made._stops = frozenset()
    return made


@pytest.fixture
def n_run(monkeypatch):
    """How many positions each pass has run, padding included."""
    passes, forward = [], PlainPath.forward

    def counted(self, ids, changes, **arguments):
        if arguments.get("past_key_values") is not None:
            passes.append(ids.numel())
        return forward(self, ids, changes, **arguments)

    monkeypatch.setattr(PlainPath, "forward", counted)
    return passes


def decoded(session, *recipes, sampling=DRAWN, n_tokens=N_NEW, prompt=PROMPT, **arguments):
    rows = [GenerationRow(prompt, tuple(recipe)) for recipe in recipes]
    return session.generate_rows(rows, n_tokens, sampling, **arguments)


def from_start(session, *recipes, **arguments):
    return decoded(session, *recipes, remember=False, **arguments)


def test_a_row_that_is_unchanged_is_not_decoded_again(session, n_run):
    first = decoded(session, [])
    assert sum(n_run) == N + N_NEW - 1
    n_run.clear()
    assert decoded(session, [add(0.0)]) == first
    assert n_run == []


def test_moving_the_strength_of_generated_tokens_does_not_run_the_prompt_again(session, n_run):
    """The token behind the prompt is the same; the change first acts where it is run."""
    decoded(session, [add(1.0, (N, None))])
    n_run.clear()
    moved = decoded(session, [add(2.5, (N, None))])
    assert n_run == [1] * (N_NEW - 1)
    assert moved == from_start(session, [add(2.5, (N, None))])
    assert moved != from_start(session, [add(1.0, (N, None))])


def test_a_schedule_is_decoded_again_from_where_it_begins(session, n_run):
    early, late = add(1.0, (N, N + 9)), add(3.0, (N + 9, None))
    decoded(session, [early])
    n_run.clear()
    assert decoded(session, [early, late])[0][:10] == from_start(session, [early])[0][:10]
    assert decoded(session, [early, late]) == from_start(session, [early, late])
    assert n_run[: N_NEW - 10] == [1] * (N_NEW - 10)


def test_only_the_rows_that_change_are_decoded(session, n_run):
    decoded(session, [], [add(1.0)], [add(2.0, (N, None))])
    n_run.clear()
    rows = decoded(session, [], [add(1.0)], [add(-2.0, (N, None))])
    assert n_run == [1] * (N_NEW - 1)
    assert rows == from_start(session, [], [add(1.0)], [add(-2.0, (N, None))])


def test_rows_that_part_at_different_places_go_on_side_by_side(session):
    """One is all new, one has the prompt, one parts in the middle, one is asked for longer, one has another prompt."""
    recipes = [[add(1.0)], [add(2.0, (N, None))], [add(1.0, (N + 5, None))], []]
    decoded(session, *recipes, [], n_tokens=10)
    moved = [[add(-1.0)], [add(-2.0, (N, None))], [add(-1.0, (N + 5, None))], []]
    rows = [GenerationRow(PROMPT, tuple(one)) for one in moved] + [GenerationRow((*PROMPT[:5], 40, 41))]
    heard = []
    found = session.generate_rows(rows, N_NEW, DRAWN, on_step=heard.append)
    assert found == session.generate_rows(rows, N_NEW, DRAWN, remember=False)
    assert [tuple(token for token in told if token is not None) for told in zip(*heard, strict=True)] == list(found)


def test_a_longer_prompt_goes_on_from_what_it_shares(session, n_run):
    decoded(session, [])
    n_run.clear()
    longer = (*PROMPT, 50, 51, 52)
    assert decoded(session, [], prompt=longer) == from_start(session, [], prompt=longer)
    assert n_run[0] == 3


def test_other_noise_is_drawn_anew_over_the_same_prompt(session, n_run):
    other = replace(DRAWN, seed=4)
    decoded(session, [])
    n_run.clear()
    assert decoded(session, [], sampling=other) == from_start(session, [], sampling=other)
    assert n_run[:N_NEW] == [1] * N_NEW


def test_a_shorter_text_is_read_off_and_a_stop_still_ends_it(session, n_run):
    (whole,) = decoded(session, [])
    n_run.clear()
    assert decoded(session, [], n_tokens=5) == (whole[:5],)
    session._stops = frozenset({whole[3]})
    assert decoded(session, []) == (whole[: whole.index(whole[3]) + 1],)
    assert n_run == []


def test_what_was_decoded_before_a_cancel_is_remembered(session, n_run):
    def cancel(heard):
        if len(n_run) == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decoded(session, [], on_step=cancel)
    assert decoded(session, []) == from_start(session, [])
    assert n_run[:N_NEW] == [N] + [1] * (N_NEW - 1)


def test_two_at_once_get_what_each_gets_alone(session):
    """Isolated by recipe: each moves a slider of its own through one session, and never sees the other's text."""
    recipes = {user: [[add(user * (1 + step), (N, None))] for step in range(4)] for user in (1.0, -1.0)}
    alone = {user: [from_start(session, one) for one in steps] for user, steps in recipes.items()}
    both = threading.Barrier(2)

    def use(user):
        both.wait()
        return [decoded(session, one) for one in recipes[user] for _ in range(2)]

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(recipes, pool.map(use, recipes), strict=True))
    assert found == {user: [one for one in texts for _ in range(2)] for user, texts in alone.items()}


def test_the_memory_is_bounded_and_lets_go_of_what_was_used_longest_ago(session, n_run):
    decoded(session, [])
    kept = next(iter(session._decoder.memory._rows.values()))
    session._decoder.memory = DecodedRows(max_bytes=2 * kept.n_bytes)
    for recipe in ([], [add(1.0)], [], [add(2.0)]):
        decoded(session, recipe)
    assert [bool(one.acts) for one in session._decoder.memory._rows] == [False, True]
    n_run.clear()
    decoded(session, [])
    assert n_run == []


@pytest.mark.parametrize(
    ("a", "b", "pos"),
    [
        ([], [], None),
        ([add(1.0)], [add(1.0)], None),
        ([add(1.0)], [], 0),
        ([add(0.0)], [], None),
        ([add(1.0, (3, 9))], [add(1.0, (3, 20))], 9),
        ([add(1.0, (3, 9), (12, None))], [add(1.0, (3, 9), (14, None))], 12),
        ([add(1.0, (0, 9)), add(1.0, (9, 20))], [add(1.0, (0, 20))], None),
        ([add(1.0), add(2.0, (5, 7))], [add(2.0, (5, 7)), add(1.0)], 0),
        ([AddVector(AT, VECTOR, 1.0, 4)], [AddVector(AT, VECTOR, 2.0, 6)], 4),
        ([add(1.0, (4, None))], [add(1.0, (4, None), at=HookPoint(0, "resid_post"))], 4),
    ],
)
def test_where_two_lists_of_changes_part(a, b, pos):
    assert first_difference(acts_of(a), acts_of(b)) == pos


def test_a_change_from_a_position_on_parts_there(session):
    (clean,) = decoded(session, [])
    vector = AddVector(AT, VECTOR, 2.0, from_pos=N + 4)
    (late,) = decoded(session, [vector])
    assert late[:5] == clean[:5]
    assert late != clean
    assert (late,) == from_start(session, [vector])
