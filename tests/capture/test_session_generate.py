"""Generation: the same tokens as transformers, the same with a cache, repeatable, stoppable, within the context."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capture.decoding import next_token
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


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(0.05, 1.0), st.integers(0, 99))
def test_a_drawn_token_is_in_the_nucleus(values, top_p, seed):
    logits = torch.tensor(values)
    probabilities = torch.softmax(logits.double(), -1)
    token = next_token(logits, 1.0, top_p, torch.Generator().manual_seed(seed))
    more_likely = probabilities[probabilities > probabilities[token]].sum().item()
    assert more_likely < top_p


def test_draws_follow_the_probabilities():
    """2,000 draws: the share of each token is within four standard errors (0.045) of its probability."""
    logits, generator = torch.tensor([2.0, 1.0, 0.0, -1.0]), torch.Generator().manual_seed(0)
    draws = torch.tensor([next_token(logits, 0.5, 1.0, generator) for _ in range(2_000)])
    shares = torch.bincount(draws, minlength=4) / len(draws)
    assert torch.allclose(shares.double(), torch.softmax(logits.double() / 0.5, -1), atol=0.045)
