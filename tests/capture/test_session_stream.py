"""Streaming many texts: each real token once, with the values of a run alone, whatever the batches."""

import pytest
import torch

from capture.batching import batches, make_batch
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import AddVector

TEXTS = [(0, *range(5, 5 + n)) for n in (3, 11, 1, 7, 7, 30, 2)]
POINTS = [HookPoint(1, "resid_post"), HookPoint(2, "mlp_post"), HookPoint(0, "pattern")]
STEERING = AddVector(HookPoint(0, "resid_post"), (0.5,) * 32, 2.0, from_pos=3)


def streamed(session, **how):
    """Values by (hook point, text, position)."""
    found = {}

    def update(point, values, text_index, pos):
        for row, text, position in zip(values, text_index.tolist(), pos.tolist(), strict=True):
            assert (point, text, position) not in found
            found[point, text, position] = row.clone()

    session.stream(TEXTS, POINTS, update, **how)
    return found


@pytest.mark.parametrize("batch_tokens", [1, 20, 10_000])
@pytest.mark.parametrize("interventions", [(), (STEERING,)])
def test_every_real_token_comes_once_with_the_values_of_a_run_alone(tiny_session, batch_tokens, interventions):
    found = streamed(tiny_session, batch_tokens=batch_tokens, interventions=interventions)
    assert len(found) == len(POINTS) * sum(map(len, TEXTS))
    for text, tokens in enumerate(TEXTS):
        alone = tiny_session.capture(tokens, POINTS, interventions)
        for point in POINTS:
            by_pos = alone[point].transpose(0, 1) if point.site == "pattern" else alone[point]
            for pos, expected in enumerate(by_pos):
                value = found[point, text, pos]
                # A pattern has as many keys as the longest text of its batch; those behind the token get nothing.
                torch.testing.assert_close(value[..., : expected.shape[-1]], expected, atol=1e-5, rtol=1e-4)
                assert value[..., expected.shape[-1] :].abs().sum() == 0


def test_texts_may_come_from_a_generator(tiny_session):
    seen = []
    tiny_session.stream((text for text in TEXTS), POINTS[:1], lambda *given: seen.extend(given[2].tolist()))
    assert sorted(set(seen)) == list(range(len(TEXTS)))


def test_progress_ends_at_one_and_never_goes_back(tiny_session):
    shares = []
    tiny_session.stream(
        TEXTS, POINTS[:1], lambda *_: None, progress=lambda share, _: shares.append(share), batch_tokens=20
    )
    assert shares == sorted(shares)
    assert (len(shares) > 2, shares[-1]) == (True, 1.0)


def test_a_listener_that_raises_ends_the_stream_and_leaves_no_hook(tiny_session):
    clean = tiny_session.logits(TEXTS[1])

    def cancel(*_):
        raise InterruptedError

    with pytest.raises(InterruptedError):
        tiny_session.stream(TEXTS, POINTS, cancel, [STEERING])
    assert torch.equal(tiny_session.logits(TEXTS[1]), clean)


def test_others_get_their_turn_between_batches(tiny_session):
    holders = []

    def note(_share, _words):
        holders.append(tiny_session._turn._owner)

    tiny_session.stream(TEXTS, POINTS[:1], lambda *_: None, progress=note, batch_tokens=20)
    assert set(holders) == {None}


def test_a_text_that_is_too_long_is_refused(tiny_session):
    with pytest.raises(UserError, match="has 65 tokens"):
        tiny_session.stream([(5,) * 65], POINTS, lambda *_: None)


def test_batches_hold_every_text_once_and_no_more_tokens_than_allowed():
    texts = [[7] * (1 + (index * 37) % 50) for index in range(700)]
    made = list(batches(texts, 128))
    assert sorted(index for rows in made for index, _ in rows) == list(range(700))
    assert max(len(rows) * max(len(tokens) for _, tokens in rows) for rows in made) <= 128


def test_nothing_is_gathered_where_nothing_is_padded():
    batch = make_batch([(3, (5, 6)), (4, (7, 8))], torch.device("cpu"))
    assert batch.real is None
    assert (batch.text_index.tolist(), batch.pos.tolist()) == ([3, 3, 4, 4], [0, 1, 0, 1])


def test_skipped_batches_are_told_of_but_not_run(tiny_session):
    groups = list(batches(TEXTS, 20))
    shares, seen = [], set()
    tiny_session.stream(
        TEXTS,
        POINTS[:1],
        lambda *given: seen.update(given[2].tolist()),
        progress=lambda share, _: shares.append(share),
        batch_tokens=20,
        skip_batches=2,
    )
    assert seen == {text for rows in groups[2:] for text, _ in rows}
    assert shares[0] == pytest.approx(sum(map(len, groups[:3])) / len(TEXTS))
