"""ReFT-r1: its formulas by hand, and a planted direction that says which token comes next."""

import math
from functools import cache

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.clean_batches import text_loss
from steering.contrast_pairs import contrast_of
from steering.fit_rows import fit_texts
from steering.fitted import Fitted, Setting
from steering.fitting import fit_method
from steering.method import methods
from steering.methods import reft_r1
from steering.methods.reft_r1 import tangent, top_k_mean
from tests.models import tiny_llama, tiny_tokenizer
from tests.steering.planted import DOWN, UP, direction, planted_pairs

AT = HookPoint(1, "resid_post")
OPTIONS = {option.name: option.default for option in reft_r1.METHOD.options}


@cache
def next_letter_session() -> ModelSession:
    """A tiny Llama whose blocks write nothing: UP letters lie along the direction, and are predicted along it."""
    model, tokenizer = tiny_llama(), tiny_tokenizer()
    v = direction()
    with torch.no_grad():
        for block in model.model.layers:
            block.self_attn.o_proj.weight.zero_()
            block.mlp.down_proj.weight.zero_()
        model.lm_head.weight *= 0.1
        embeddings = model.get_input_embeddings().weight
        for letter in UP + DOWN:
            (token,) = tokenizer(letter)["input_ids"]
            embeddings[token] += (float(letter in UP) - embeddings[token] @ v) * v
            if letter in UP:
                model.lm_head.weight[token] = v
    return ModelSession(model, tokenizer, name="next letter")


def fitted(**options):
    return fit_method(methods()["reft_r1"], next_letter_session(), planted_pairs(), [1], options)


def test_the_mean_of_the_top_latents_is_added():
    """Check of part 4.2: h·v = (1, 2, 0, 3), k = 2 → 2.5; the other latents' mean over four positions is 0.25."""
    counts = torch.ones(1, 4, dtype=torch.bool)
    amount, rest = top_k_mean(torch.tensor([[1.0, 2.0, 0.0, 3.0]]), counts, 2)
    assert (amount.tolist(), rest.tolist()) == ([2.5], [0.25])


def test_with_as_many_as_there_are_tokens_it_is_the_mean_of_all_latents():
    """Fact 4.5 (6)."""
    latents = torch.rand(3, 7, generator=torch.Generator().manual_seed(0))
    counts = torch.arange(7)[None] < torch.tensor([7, 4, 1])[:, None]
    for k in (7, 100):
        amount, rest = top_k_mean(latents, counts, k)
        wanted = torch.stack([row[:n].mean() for row, n in zip(latents, (7, 4, 1), strict=True)])
        torch.testing.assert_close(amount, wanted)
        torch.testing.assert_close(rest, torch.zeros(3), atol=1e-6, rtol=0)


def test_a_row_alone_and_in_a_batch_has_the_same_mean():
    latents = torch.rand(2, 6, generator=torch.Generator().manual_seed(1))
    counts = torch.tensor([[False] + [True] * 5, [False, True, True, True, False, False]])
    both = top_k_mean(latents, counts, 2)
    alone = top_k_mean(latents[1:, :4], counts[1:, :4], 2)
    for one, other in zip(both, alone, strict=True):
        torch.testing.assert_close(one[1:], other)


def test_the_gradient_is_turned_along_the_sphere():
    gradient, v = torch.tensor([3.0, 4.0]), torch.tensor([0.6, 0.8])
    torch.testing.assert_close(tangent(gradient, torch.tensor([1.0, 0.0])), torch.tensor([0.0, 4.0]))
    assert abs(float(tangent(gradient, v) @ v)) < 1e-6


@pytest.mark.parametrize(("seed", "start"), [(1, "random"), (0, "mean_difference")])
def test_the_planted_direction_is_found_and_has_length_1(seed, start):
    """Fact 4.5 (6). From a random start of another seed, all of whose latents are 0 on UP letters, it is not found."""
    found = fitted(seed=seed, start=start, n_epochs=6, learning_rate=0.1)
    (vector,) = found.vectors.values()
    assert math.isclose(float(vector.norm()), 1.0, abs_tol=1e-6)
    assert float(vector @ direction()) > 0.95
    assert len(found.facts["trained"][str(AT)]["losses"]) == 6 * 4


def test_every_step_leaves_length_1_and_bos_is_not_touched(monkeypatch):
    """Fact 4.5 (6)."""
    session, lengths, added = next_letter_session(), [], []
    own, own_step = session.with_gradient, reft_r1._step

    def watched(rows, changes):
        added.append(changes[AT].detach())
        return own(rows, changes)

    monkeypatch.setattr(session, "with_gradient", watched)
    monkeypatch.setattr(
        reft_r1, "_step", lambda v, *rest: (own_step(v, *rest), lengths.append(v.detach().norm().item()))
    )
    fit_method(methods()["reft_r1"], session, planted_pairs(6), [1], {"n_epochs": 2})
    assert lengths == pytest.approx([1.0] * 4, abs=1e-6)
    assert all(not one[:, 0].any() for one in added)
    assert any(one[:, 1:].any() for one in added)


def test_the_loss_is_that_of_the_session_over_the_tokens_that_the_label_speaks_of():
    session = next_letter_session()
    contrast = contrast_of("p", ("up", "down"), planted_pairs(2).examples, is_paired=True)
    texts = fit_texts(session, contrast, True)
    rows = [text.tokens for text in texts]
    zero = torch.zeros(1, 1, 32)
    found = text_loss(session.with_gradient(rows, {AT: zero}), texts)
    wanted = torch.cat([session.loss(text.tokens)[max(1, text.start) - 1 :] for text in texts]).mean()
    torch.testing.assert_close(found.detach(), wanted)


def test_an_absolute_strength_counts_in_the_largest_latent():
    vector = torch.zeros(32)
    vector[0] = 1.0

    def added(largest, **setting):
        fitted = Fitted("reft_r1", {AT: vector}, {AT: 3.0}, {"trained": {str(AT): {"max_latent": largest}}})
        (change,) = reft_r1.apply(fitted, Setting(**setting))
        return float(change(torch.zeros(1, 1, 32), AT, 0)[0, 0, 0])

    assert added(2.5, strength=2.0) == 5.0
    assert added(0.0, strength=1.0) == 50.0
    assert added(2.5, strength=2.0, unit="relative") == 6.0


def test_a_loss_that_is_no_number_stops_the_fit(monkeypatch):
    session = next_letter_session()
    monkeypatch.setattr(reft_r1, "text_loss", lambda logits, texts: logits.sum() * math.nan)
    texts = fit_texts(session, planted_pairs(4), True)
    with pytest.raises(UserError, match="at step 1 it is nan"):
        reft_r1.train_direction(session, texts, AT, OPTIONS)
