"""Generation: the same tokens as transformers, the same with a cache, repeatable, stoppable, within the context."""

import pytest
import torch

from capture.hook_point import HookPoint, residual_points
from tests.models import CONTEXT, tiny_llama

PROMPT = (0, 9, 8, 7)


class Recorder:
    """Changes nothing; keeps where each call began and how many positions it saw."""

    def __init__(self):
        self.calls = []

    def hook_points(self):
        return (HookPoint(1, "resid_post"),)

    def __call__(self, activation, at, first_pos):
        self.calls.append((first_pos, activation.shape[1]))
        return activation

    def recipe(self):
        return {"kind": "recorder"}


def test_greedy_tokens_are_those_of_transformers(tiny_session):
    expected = tiny_llama().generate(torch.tensor([PROMPT]), max_new_tokens=16, do_sample=False, pad_token_id=1)
    assert tiny_session.generate(PROMPT, 16, temperature=0) == tuple(expected[0, len(PROMPT) :].tolist())


def test_an_intervention_hears_the_true_position_of_each_step(tiny_session):
    recorder = Recorder()
    n_new = len(tiny_session.generate(PROMPT, 5, temperature=0, interventions=[recorder]))
    assert recorder.calls == [(0, 4), *((4 + step, 1) for step in range(n_new - 1))]


def test_without_a_cache_every_step_sees_all_positions(tiny_session):
    recorder = Recorder()
    n_new = len(tiny_session.generate(PROMPT, 5, temperature=0, interventions=[recorder], use_cache=False))
    assert recorder.calls == [(0, 4 + step) for step in range(n_new)]


def test_the_same_seed_gives_the_same_tokens(tiny_session):
    texts = [tiny_session.generate(PROMPT, 20, seed=seed, temperature=1.5) for seed in (3, 3, 4)]
    assert texts[0] == texts[1] != texts[2]


def test_generation_ends_where_the_context_is_full(tiny_session):
    long = tuple(5 + index % 9 for index in range(CONTEXT - 3))
    assert len(tiny_session.generate(long, 10, temperature=0)) == 3
    assert tiny_session.generate((*long, 5, 6, 7), 10, temperature=0) == ()


def test_generation_ends_after_an_end_of_text_token(tiny_session, monkeypatch):
    free = tiny_session.generate(PROMPT, 10, temperature=0)
    monkeypatch.setattr(tiny_session, "_stops", frozenset({free[4]}))
    assert tiny_session.generate(PROMPT, 10, temperature=0) == free[: free.index(free[4]) + 1]


def test_a_listener_hears_each_token_and_may_cancel(tiny_session):
    heard = []

    def listen(token):
        heard.append(token)
        if len(heard) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_session.generate(PROMPT, 10, temperature=0, on_token=listen)
    assert tuple(heard) == tiny_session.generate(PROMPT, 3, temperature=0)
    assert tiny_session.capture(PROMPT, residual_points(3)), "the turn is free again"
