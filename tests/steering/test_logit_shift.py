"""The logit shift between models: the formula written out, at every step and on every page; nothing at λ = 0."""

from dataclasses import replace

import pytest
import torch

from capture.companion import Companion, allow_companion, companion
from capture.errors import UserError
from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from capture.plain_path import PlainPath
from capture.session import ModelSession
from steering.method import methods
from steering.methods.add_direction import AddDirection
from steering.methods.logit_shift import LogitShift, pair_of
from steering.recipe import Step, step_of
from steering.token_scope import TokenScope
from tests.companions import other_tokenizer, tiny_companion, tiny_companions
from tests.models import tiny_gemma2, tiny_tokenizer

TOKENS = (0, 9, 8, 7, 30, 40)
OTHER = (0, 50, 51, 52, 53, 54, 55, 56)
SHIFT = LogitShift("tuned", "untuned", 0.7)
GREEDY = Sampling(temperature=0)


@pytest.fixture(scope="module", autouse=True)
def pair():
    with tiny_companions(other=tiny_companion(7, other_tokenizer())) as known:
        yield known


def written_out(session, pair, tokens, strength=0.7):
    """ℓ + λ (ℓ_tuned − ℓ_untuned) at every position, from runs of whole texts."""
    tuned, untuned = (pair[name].session.logits(tokens) for name in ("tuned", "untuned"))
    return session.logits(tokens) + strength * (tuned - untuned)


def test_on_a_page_it_moves_the_logits_of_every_position(pair, tiny_session):
    torch.testing.assert_close(
        tiny_session.logits(TOKENS, [SHIFT]), written_out(tiny_session, pair, TOKENS), atol=1e-4, rtol=0
    )


def test_a_generation_takes_the_likeliest_of_the_shifted_logits_at_each_step(pair, tiny_session):
    text = list(TOKENS)
    for _ in range(10):
        text.append(int(written_out(tiny_session, pair, text)[-1].argmax()))
    found = tiny_session.generate(TOKENS, 10, temperature=0, interventions=[SHIFT])
    assert found == tuple(text[len(TOKENS) :])[: len(found)]
    assert found != tiny_session.generate(TOKENS, 10, temperature=0)


def test_rows_of_one_batch_each_read_their_own_tokens(tiny_session):
    steered = AddDirection(HookPoint(1, "resid_post"), tuple(float(n % 3) for n in range(32)))
    rows = [GenerationRow(TOKENS, (SHIFT,)), GenerationRow(OTHER, (steered, SHIFT)), GenerationRow(OTHER)]
    found = tiny_session.generate_rows(rows, 8, GREEDY, remember=False)
    for row, tokens in zip(rows, found, strict=True):
        alone = tiny_session.generate(row.prompt, 8, temperature=0, interventions=row.interventions, use_cache=False)
        assert tokens == alone
    batch = tiny_session.capture_batch([TOKENS, OTHER], [HookPoint(None, "logits")], [SHIFT])
    for row, tokens in zip(batch, (TOKENS, OTHER), strict=True):
        expected = tiny_session.logits(tokens, [SHIFT])
        torch.testing.assert_close(row[HookPoint(None, "logits")], expected, atol=1e-4, rtol=0)


def test_log_probabilities_of_a_continuation_are_shifted(pair, tiny_session):
    (odds,) = tiny_session.row_logprobs([GenerationRow(TOKENS[:3], (SHIFT,))], [TOKENS[3:]])
    expected = written_out(tiny_session, pair, TOKENS).log_softmax(-1)[2:-1]
    torch.testing.assert_close(odds, expected, atol=1e-4, rtol=0)


def test_strength_zero_is_the_model_bit_for_bit_and_loads_nothing(tiny_session):
    idle = LogitShift("no such model", "neither", 0.0)
    assert torch.equal(tiny_session.logits(TOKENS, [idle]), tiny_session.logits(TOKENS))


def test_a_step_gives_it_a_scope(pair, tiny_session):
    scoped = Step("shift", (SHIFT,), scope=TokenScope("ranges", ((2, 4),)))
    clean, shifted = tiny_session.logits(TOKENS), tiny_session.logits(TOKENS, [scoped])
    assert torch.equal(shifted[[0, 1, 4, 5]], clean[[0, 1, 4, 5]])
    torch.testing.assert_close(shifted[2:4], written_out(tiny_session, pair, TOKENS)[2:4], atol=1e-4, rtol=0)


def test_the_method_makes_a_step_of_two_names():
    step = step_of(pair_of("tuned", "untuned"), methods()["logit_shift"], "tuning", strength=0.7, scope=TokenScope())
    assert step.placed(TOKENS) == (SHIFT,)
    assert operator_from_recipe(SHIFT.recipe()) == SHIFT


def test_each_companion_runs_a_token_once(monkeypatch, tiny_session):
    """Own key/value caches: the prompt at first, then one position a step, also for rows side by side."""
    session, n_run, forward = tiny_companion(8), [], PlainPath.forward

    def counted(self, ids, changes, **arguments):
        n_run.extend([ids.numel()] * (self is session.session._decoder.path))
        return forward(self, ids, changes, **arguments)

    monkeypatch.setattr(PlainPath, "forward", counted)
    with tiny_companions(tuned=session):
        rows = [GenerationRow(TOKENS, (SHIFT,)), GenerationRow(OTHER, (SHIFT,))]
        made = tiny_session.generate_rows(rows, 5, GREEDY, remember=False)
    assert n_run == [len(TOKENS), len(OTHER)] + [1] * (sum(map(len, made)) - 2)


def test_a_new_strength_reads_the_prompt_off_what_is_remembered(tiny_session):
    """Logits leave keys and values alone, so nothing but the last token of the prompt is run again."""
    n_run, forward = [], PlainPath.forward
    tiny_session.generate_rows([GenerationRow(OTHER, (SHIFT,))], 5, GREEDY)
    stronger = GenerationRow(OTHER, (replace(SHIFT, strength=1.4),))
    with pytest.MonkeyPatch.context() as patch:

        def counted(self, ids, changes, **arguments):
            n_run.extend([ids.numel()] * (self is tiny_session._decoder.path))
            return forward(self, ids, changes, **arguments)

        patch.setattr(PlainPath, "forward", counted)
        found = tiny_session.generate_rows([stronger], 5, GREEDY)
    assert n_run == [1] * len(found[0])
    assert found == tiny_session.generate_rows([stronger], 5, GREEDY, remember=False)


def test_models_of_other_tokens_are_refused(tiny_session):
    with pytest.raises(UserError, match=r"those of other are not those of tiny llama. Choose two models with"):
        tiny_session.logits(TOKENS, [replace(SHIFT, tuned="other")])


def test_a_model_that_caps_its_logits_is_refused():
    session = ModelSession(tiny_gemma2(), tiny_tokenizer(), name="gemma")
    with pytest.raises(UserError, match=r"gemma caps or scales them last. Choose"):
        session.logits(TOKENS, [SHIFT])


def test_a_recipe_names_known_models_only(tmp_path):
    with pytest.raises(UserError, match=r"A change may read models that are known here; it names '/etc'. Choose"):
        companion("/etc", "float32", "cpu")
    allow_companion(str(tmp_path))
    with pytest.raises(UserError, match="config"):
        companion(str(tmp_path), "float32", "cpu")


@pytest.mark.parametrize("broken", [{"tuned": ""}, {"untuned": 3}, {"tuned": "x" * 300}, {"strength": float("nan")}])
def test_a_recipe_that_names_no_models_is_refused(broken):
    with pytest.raises(UserError, match="logit_shift recipe cannot be read"):
        operator_from_recipe(SHIFT.recipe() | broken)


def test_the_bundled_checkpoints_are_a_pair():
    """The stories after 30 M tokens of training less those after 4 M: what training did, twice as strongly."""
    late, early = (companion(f"stories@at-{n}M", "float32", "cpu") for n in (30, 4))
    assert isinstance(late, Companion)
    session = companion("stories", "float32", "cpu").session
    tokens = session.tokens("Once upon a time there was a little", bos=True)
    shifted = session.logits(tokens, [LogitShift("stories@at-30M", "stories@at-4M", 1.0)])
    expected = session.logits(tokens) + late.session.logits(tokens) - early.session.logits(tokens)
    torch.testing.assert_close(shifted, expected, atol=1e-3, rtol=0)
