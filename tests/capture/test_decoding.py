"""Choosing tokens: the nucleus, top-k and the penalty as transformers has them, and draws that follow the odds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.generation.logits_process import (
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from capture.decoding import next_tokens
from capture.errors import UserError
from capture.sampling import Sampling

N_DRAWS = 2_000


def shares(logits, sampling, before=()):
    """How often each token is drawn, over many steps of one seed."""
    rows = logits.expand(N_DRAWS, -1)
    drawn = next_tokens(rows, sampling, [sampling.seed] * N_DRAWS, range(N_DRAWS), [before] * N_DRAWS)
    return torch.bincount(torch.tensor(drawn), minlength=logits.shape[-1]) / N_DRAWS


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(0.05, 1.0), st.integers(0, 99))
def test_a_drawn_token_is_in_the_nucleus(values, top_p, seed):
    logits = torch.tensor([values])
    probabilities = torch.softmax(logits[0].double(), -1)
    (token,) = next_tokens(logits, Sampling(temperature=1.0, top_p=top_p), [seed], [0], [()])
    more_likely = probabilities[probabilities > probabilities[token]].sum().item()
    assert more_likely < top_p + 1e-6


def test_draws_follow_the_probabilities():
    """2,000 draws: the share of each token is within four standard errors (0.045) of its probability."""
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0])
    expected = torch.softmax(logits / 0.5, -1)
    assert torch.allclose(shares(logits, Sampling(temperature=0.5, top_p=1.0)), expected, atol=0.045)


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "penalty"),
    [(1.0, 0, 0.9, 1.0), (0.7, 5, 1.0, 1.0), (1.3, 40, 0.6, 1.0), (1.0, 0, 0.97, 1.5), (2.0, 200, 0.99, 0.8)],
)
def test_what_is_left_and_its_odds_are_those_of_transformers(temperature, top_k, top_p, penalty):
    logits = 3 * torch.randn(1, 300, generator=torch.Generator().manual_seed(1))
    before = (3, 5, 250, 3)
    ids = torch.tensor([before])
    expected = RepetitionPenaltyLogitsProcessor(penalty)(ids, logits.clone())
    warpers = [TemperatureLogitsWarper(temperature), *([TopKLogitsWarper(top_k)] if top_k else [])]
    for warp in [*warpers, TopPLogitsWarper(top_p)]:
        expected = warp(ids, expected)
    odds = expected.softmax(-1)[0]
    found = shares(logits[0], Sampling(0, temperature, top_p, top_k, penalty), before)
    assert torch.equal(found[odds == 0], torch.zeros(int((odds == 0).sum())))
    assert torch.allclose(found, odds, atol=0.045)


def test_temperature_zero_takes_the_likeliest_after_the_penalty():
    logits = torch.tensor([[1.0, 3.0, 2.9]])
    assert next_tokens(logits, Sampling(temperature=0), [0], [0], [()]) == [1]
    assert next_tokens(logits, Sampling(temperature=0, repetition_penalty=1.2), [0], [0], [(1,)]) == [2]


def test_the_noise_depends_on_seed_and_step_alone():
    logits = torch.zeros(6, 500)
    drawn = next_tokens(logits, Sampling(temperature=1.0, top_p=1.0), [1, 1, 2, 1, 2, 1], [0, 0, 0, 1, 1, 2], [()] * 6)
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) == 5


def test_rows_whose_odds_differ_little_mostly_draw_the_same():
    """Common random numbers: noise belongs to the token, so two near distributions part seldom."""
    logits = torch.randn(400, 50, generator=torch.Generator().manual_seed(0))
    near = logits + 0.01 * torch.randn(400, 50, generator=torch.Generator().manual_seed(1))
    both = [next_tokens(one, Sampling(), [7] * 400, range(400), [()] * 400) for one in (logits, near)]
    assert sum(a != b for a, b in zip(*both, strict=True)) < 12


@pytest.mark.parametrize("temperature", [0, 1.0])
def test_logits_that_are_no_numbers_are_refused(temperature):
    logits = torch.tensor([[0.0, 1.0], [float("nan"), 1.0]])
    with pytest.raises(UserError, match=r"they are not \(NaN\). Lower the strength"):
        next_tokens(logits, Sampling(temperature=temperature), [0, 0], [0, 0], [(), ()])
