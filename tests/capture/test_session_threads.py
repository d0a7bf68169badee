"""Several users of one session: their runs never mix, and the one who waits learns who has the turn."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint, residual_points
from capture.intervention import AddVector
from capture.session import ModelSession
from capture.turn import Turn
from tests.models import tiny_llama, tiny_tokenizer

AT = HookPoint(0, "resid_post")
STEERING = AddVector(AT, (1.0,) * 32, 5.0)
TOKENS = (0, 5, 6, 7, 8)


class SlowSteering:
    """Steers, and gives other threads every chance to run in the middle of the forward pass."""

    def hook_points(self):
        return STEERING.hook_points()

    def __call__(self, activation, at, first_pos):
        time.sleep(0.002)
        return STEERING(activation, at, first_pos)

    def recipe(self):
        return STEERING.recipe()


def test_a_plain_run_beside_a_steered_one_is_never_contaminated(tiny_session):
    """TransformerLens's hooks are state of the shared model: without a turn, 60 runs of 60 were contaminated."""
    clean, steered = tiny_session.logits(TOKENS), tiny_session.logits(TOKENS, [STEERING])
    assert not torch.equal(clean, steered)
    over = threading.Event()
    steered_runs = []

    def keep_steering():
        while not over.is_set():
            steered_runs.append(tiny_session.logits(TOKENS, [SlowSteering()]))

    thread = threading.Thread(target=keep_steering)
    thread.start()
    plain_runs = [tiny_session.logits(TOKENS) for _ in range(60)]
    over.set()
    thread.join()
    assert sum(not torch.equal(run, clean) for run in plain_runs) == 0
    assert len(steered_runs) >= 30, "the two did not run side by side"
    assert all(torch.equal(run, steered) for run in steered_runs)


def test_generation_beside_captures_gives_the_tokens_it_gives_alone(tiny_session):
    alone = tiny_session.generate(TOKENS, 12, temperature=0, interventions=[STEERING])
    plain = tiny_session.capture(TOKENS, residual_points(3))
    with ThreadPoolExecutor(3) as pool:
        generated = pool.submit(tiny_session.generate, TOKENS, 12, temperature=0, interventions=[SlowSteering()])
        captured = [pool.submit(tiny_session.capture, TOKENS, residual_points(3)) for _ in range(20)]
        assert generated.result() == alone
        for one in captured:
            assert all(torch.equal(value, plain[at]) for at, value in one.result().items())


def test_who_waits_in_vain_learns_who_has_the_turn():
    session = ModelSession(tiny_llama(), tiny_tokenizer(), name="tiny", wait_s=0.05)
    told = r"a sweep over strengths has had it since \d\d:\d\d:\d\d \(0 s\)"
    with ThreadPoolExecutor(1) as pool, session.hold("a sweep over strengths"), pytest.raises(UserError, match=told):
        pool.submit(session.logits, TOKENS).result()
    assert session.logits(TOKENS).shape == (5, 320)


def test_who_holds_the_turn_may_run_the_model(tiny_session):
    expected = tiny_session.logits(TOKENS)
    with tiny_session.hold("a test"):
        assert torch.equal(tiny_session.logits(TOKENS), expected)


def test_turns_are_given_in_the_order_of_asking():
    """A long stream gives its turn back after each batch; without an order it would take it again at once."""
    turn, order = Turn(), []

    def ask(name):
        with turn.hold(name, 5.0):
            order.append(name)

    with turn.hold("first", 5.0):
        threads = [threading.Thread(target=ask, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
            while len(turn._waiting) < threads.index(thread) + 1:
                time.sleep(0.001)
    ask("again")
    for thread in threads:
        thread.join()
    assert order == ["a", "b", "c", "again"]


def test_the_turn_is_free_again_after_an_error(tiny_session):
    with pytest.raises(ZeroDivisionError), tiny_session.hold("a failing job"):
        _ = 1 / 0
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(tiny_session.logits, TOKENS).result().shape == (5, 320)
