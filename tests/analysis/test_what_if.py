"""What if the found entries were zero, or their mean."""

import numpy as np
import pytest
import torch

from analysis.lens import Subject
from analysis.what_if import N_NEW_TOKENS, Target, try_edit
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from tests.analysis.test_outliers import TEXT, measured, over_set, session_of

AT = HookPoint(1, "resid_post")


def quiet(share, words):
    pass


def subject_of(session, text=TEXT):
    return Subject(session, (session.tokens(text, True),), {}, True)


def test_losses_and_kl_are_those_of_the_edited_model():
    session = session_of()
    subject = subject_of(session)
    result = try_edit(subject, "zero", "loudest_dims", [Target(AT, 0, None, 3), Target(AT, 0, None, 4)], quiet)
    edits = [operator_from_recipe(recipe) for recipe in result["recipes"]]
    tokens = subject.texts[0]
    clean, edited = session.loss(tokens), session.loss(tokens, edits)
    assert result["loss_clean"] == pytest.approx(float(clean.mean()), rel=1e-5)
    assert result["delta_loss_nats"] == pytest.approx(float(edited.mean() - clean.mean()), abs=1e-5)
    p, q = (session.logits(tokens, some).log_softmax(-1) for some in ((), edits))
    np.testing.assert_allclose(result["per_token_kl"], (p.exp() * (p - q)).sum(-1), atol=1e-5)
    assert result["kl_nats"] == pytest.approx(np.mean(result["per_token_kl"]), rel=1e-5)
    assert result["kl_nats"] > 0


def test_the_edit_puts_zero_where_it_says():
    session = session_of()
    subject = subject_of(session)
    result = try_edit(subject, "zero", "spike", [Target(AT, 0, 2, 3)], quiet)
    edits = [operator_from_recipe(recipe) for recipe in result["recipes"]]
    before = session.capture(subject.texts[0], [AT])[AT]
    after = session.capture(subject.texts[0], [AT], edits)[AT]
    changed = torch.nonzero(before != after).tolist()
    assert changed == [[2, 3]]
    assert after[2, 3] == 0


def test_an_entry_at_position_0_is_its_own_mean():
    # Position 0 sees itself only, so its value is the same in every shuffle of the rest.
    result = try_edit(subject_of(session_of()), "mean", "massive_activation", [Target(AT, 0, 0, 3)], quiet)
    assert result["delta_loss_nats"] == pytest.approx(0, abs=1e-6)
    assert result["kl_nats"] == pytest.approx(0, abs=1e-6)


def test_zero_and_mean_of_a_massive_entry_differ():
    session = session_of("massive")
    zero, mean = (
        measured(session, criterion="massive_activation", what_if=choice).numbers["what_if"]
        for choice in ("zero", "mean")
    )
    assert zero["n_entries"] == mean["n_entries"] == 3
    assert zero["kl_nats"] > 1e-4
    assert mean["kl_nats"] < 1e-6


def test_the_mean_of_a_dimension_is_over_the_tokens():
    session = session_of("channel")
    recipes = measured(session, criterion="channel_outlier", what_if="mean").numbers["what_if"]["recipes"]
    at = HookPoint(1, "ln2_out")
    values = {(recipe["at"], dim): value for recipe in recipes for _, dim, value in recipe["entries"]}
    x = session.capture(session.tokens(TEXT, True), [at])[at]
    assert values[str(at), 9] == pytest.approx(float(x[:, 9].mean()), rel=1e-5)


def test_where_nothing_is_found_nothing_is_changed_and_the_sentence_says_so():
    numbers = measured(session_of(), criterion="massive_activation", what_if="zero").numbers
    assert numbers["what_if"] is None
    assert "nothing to change" in numbers["what_if_sentence"]


def test_loudest_dims_always_finds_five():
    result = measured(session_of(), criterion="loudest_dims", what_if="zero").numbers["what_if"]
    assert result["n_entries"] == 5
    assert sum(len(recipe["entries"]) for recipe in result["recipes"]) == 5


def test_texts_are_greedy_continuations_of_the_first_half():
    session = session_of()
    subject = subject_of(session)
    result = try_edit(subject, "zero", "spike", [Target(AT, 0, None, 3)], quiet)
    half = subject.texts[0][: len(subject.texts[0]) // 2]
    new = session.generate(half, N_NEW_TOKENS, temperature=0.0)
    assert result["text_prefix"] == "".join(session.token_texts(half))
    assert result["text_clean"] == "".join(session.token_texts(new))


@pytest.mark.parametrize("criterion", ["loudest_dims", "channel_outlier"])
def test_a_text_set_is_edited_text_by_text(criterion):
    session = session_of("channel")
    texts = [TEXT, "the cat", "the moon was bright"]
    result = over_set(session, texts, criterion=criterion, what_if="zero").numbers["what_if"]
    edits = [operator_from_recipe(recipe) for recipe in result["recipes"]]
    losses = [session.loss(session.tokens(text, True), edits) for text in texts]
    assert result["n_texts"] == 3
    assert result["loss_edited"] == pytest.approx(float(torch.cat(losses).mean()), rel=1e-4)


def test_single_entries_are_changed_in_their_own_texts_only():
    session = session_of()
    tokens = tuple(session.tokens(text, True) for text in ("the cat sat", TEXT))
    result = try_edit(Subject(session, tokens, {}, True, True), "zero", "spike", [Target(AT, 1, 2, 3)], quiet)
    assert result["n_texts"] == 1
    assert result["first_text"] == 1


def test_progress_may_cancel():
    def cancel(share, words):
        raise UserError("Cancelled.", "")

    with pytest.raises(UserError, match="Cancelled"):
        try_edit(subject_of(session_of()), "zero", "spike", [Target(AT, 0, None, 3)], cancel)
