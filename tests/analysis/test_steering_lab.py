"""The steering lab's lens: panes are what plain runs give, at 0 the clean one; bad input is refused."""

import numpy as np
import pytest
import torch

import cli
from analysis.lens import Subject, unasked_lenses
from analysis.option import read_options
from analysis.pane_multiples import read_multiples
from analysis.pipeline import run
from analysis.report import read_report
from analysis.spec import Spec, to_code
from analysis.steered_text import _scored, departs
from analysis.steering_lab import LENS
from analysis.whole_view import answers_of
from capture.errors import UserError
from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint
from capture.intervention import AddVector, ReplaceEntries
from capture.scaling import scaled
from capture.session import ModelSession
from capture.store import ActivationStore
from tests.models import tiny_llama, tiny_tokenizer

TEXT = "the bear sat"
VECTOR = AddVector(HookPoint(1, "resid_post"), tuple(np.random.default_rng(0).normal(size=32).tolist()), 1.5)
FEW = {"tokens": 8, "seed": 3}


class Fixed:
    """A change that has no strength."""

    def hook_points(self):
        return ()

    def __call__(self, activation, at, first_pos):
        return activation

    def recipe(self):
        return {"kind": "fixed"}


def quiet(share, words):
    pass


def subject(session, *changes, texts=(TEXT,), is_set=False, **more):
    tokens = tuple(session.tokens(text, True) for text in texts)
    return Subject(session, tokens, {}, True, is_set, changes, **more)


def measured(session, *changes, texts=(TEXT,), is_set=False, progress=quiet, on_partial=lambda so_far: None, **options):
    chosen = LENS.settle(read_options(LENS.options, FEW | options), session.fingerprint)
    return LENS.measure(subject(session, *changes, texts=texts, is_set=is_set, on_partial=on_partial), chosen, progress)


def logprobs(session, texts, changes=()):
    return session.logits(texts, changes).log_softmax(dim=-1)


def test_a_pane_at_zero_is_the_clean_pane_and_its_kl_is_zero(tiny_session):
    found = measured(tiny_session, VECTOR, panes="0, 1")
    clean, zero, steered = found.numbers["panes"]
    assert zero["tokens"] == clean["tokens"] != steered["tokens"]
    assert zero["departs"] is None
    assert (found.arrays["kl"][:2] == 0).all()
    assert found.arrays["mean_kl"][2] > 0


def test_a_change_of_strength_zero_leaves_the_clean_text(tiny_session):
    found = measured(tiny_session, scaled((VECTOR,), 0)[0])
    clean, steered = found.numbers["panes"]
    assert steered["tokens"] == clean["tokens"]
    np.testing.assert_allclose(found.arrays["kl"], 0, atol=1e-6)


def test_kl_and_log_probabilities_are_those_of_two_plain_runs(tiny_session):
    found = measured(tiny_session, VECTOR)
    prompt = tiny_session.tokens(TEXT, True)
    (new,) = tiny_session.generate_rows([GenerationRow(prompt, (VECTOR,))], 8, Sampling(3))
    assert list(tiny_session.token_texts(new)) == found.numbers["panes"][1]["tokens"]
    places = slice(len(prompt) - 1, len(prompt) - 1 + len(new))
    clean, steered = (logprobs(tiny_session, (*prompt, *new), one)[places].double() for one in ((), (VECTOR,)))
    kl = (clean.exp() * (clean - steered)).sum(dim=1)
    np.testing.assert_allclose(found.arrays["kl"][1], kl, rtol=1e-4, atol=1e-6)
    for name, side in (("logprob", steered), ("logprob_clean", clean)):
        np.testing.assert_allclose(found.arrays[name][1], side[range(len(new)), list(new)], rtol=1e-4, atol=1e-5)
    assert found.arrays["mean_loglik"][1] == pytest.approx(float(clean[range(len(new)), list(new)].mean()), rel=1e-4)


def test_the_likeliest_tokens_are_named_in_order_for_both_sides(tiny_session):
    found = measured(tiny_session, VECTOR)
    prompt = tiny_session.tokens(TEXT, True)
    for name, changes in (("top_clean", ()), ("top", (VECTOR,))):
        first = logprobs(tiny_session, prompt, changes)[-1].topk(5)
        assert found.numbers["panes"][1][name][0] == list(tiny_session.token_texts(first.indices.tolist()))
        np.testing.assert_allclose(found.arrays[f"{name}_logprob"][1, 0], first.values, rtol=1e-4)


def test_a_pane_at_two_is_the_recipe_at_twice_its_strength(tiny_session):
    found = measured(tiny_session, VECTOR, panes="2")
    doubled = measured(tiny_session, AddVector(VECTOR.at, VECTOR.vector, 3.0))
    assert found.numbers["panes"][1]["tokens"] == doubled.numbers["panes"][1]["tokens"]
    np.testing.assert_allclose(found.arrays["kl"], doubled.arrays["kl"], rtol=1e-5)


def test_a_planted_preference_is_written_at_each_place(tiny_session):
    """The direction of one token's unembedding, added strongly after the last block, leaves that token alone."""
    (loud,) = tiny_session.tokens(" the", False)
    direction = tiny_session.weight("W_U", 0)[:, loud] / tiny_session.weight("ln_final", 0)
    found = measured(tiny_session, AddVector(HookPoint(2, "resid_post"), tuple((1e4 * direction).tolist())))
    clean, steered = found.numbers["panes"]
    assert steered["tokens"] == [" the"] * 8
    assert clean["tokens"][0] != " the"
    assert steered["departs"] == 0
    # Of five 4-grams of one token, four were there before.
    assert found.arrays["repeated"][1] == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("clean", "steered", "place"),
    [((1, 2), (1, 2), None), ((1, 2), (1, 3), 1), ((1, 2), (1,), 1), ((1,), (1, 2), 1), ((1,), (2,), 0)],
)
def test_a_text_departs_where_it_is_first_another_or_ends(clean, steered, place):
    assert departs(clean, steered) == place


@pytest.mark.parametrize("given", ["", "a", "1, 2, 3, 4", "nan", "1e9", "inf", "1;2", "<b>"])
def test_other_panes_than_one_to_three_numbers_are_refused(given):
    with pytest.raises(UserError, match="one to three multiples"):
        read_multiples(given)


def test_equal_panes_are_spelled_one_way():
    options = read_options(LENS.options, {"panes": " 0.50,1.0 ,, 2"})
    assert LENS.settle(options, "")["panes"] == "0.5, 1, 2"


def test_partial_texts_grow_to_the_final_ones(tiny_session):
    heard = []
    found = measured(tiny_session, VECTOR, panes="1, 2", on_partial=heard.append)
    assert [max(map(len, one["panes"])) for one in heard] == list(range(1, 9))
    assert [list(texts) for texts in heard[-1]["panes"]] == [pane["tokens"] for pane in found.numbers["panes"]]
    assert heard[0]["titles"] == ("clean", "× 1", "× 2")


def test_a_cancel_meets_the_next_token(tiny_session):
    heard = []

    def cancel(share, words):
        if words.startswith("token 3"):
            raise UserError("Cancelled.", "")

    with pytest.raises(UserError, match="Cancelled"):
        measured(tiny_session, VECTOR, progress=cancel, on_partial=heard.append)
    assert len(heard) == 3


def test_a_set_has_the_means_of_its_texts_alone(tiny_session):
    texts = (TEXT, "she said that the moon")
    whole = measured(tiny_session, VECTOR, texts=texts, is_set=True)
    alone = [measured(tiny_session, VECTOR, texts=(text,)) for text in texts]
    for name in ("mean_kl", "mean_loglik", "repeated", "kl"):
        mean = np.nanmean([one.arrays[name] for one in alone], axis=0)
        np.testing.assert_allclose(whole.arrays[name], mean, rtol=1e-3, atol=1e-5)
    assert [one["panes"][1]["text"] for one in whole.numbers["texts"]] == [
        one.numbers["panes"][1]["text"] for one in alone
    ]


def test_chat_mode_writes_behind_the_template(tiny_session):
    found = measured(tiny_session, VECTOR, mode="chat")
    assert "".join(found.numbers["tokens"]) == f"<|bos|>user: {TEXT}\nbear:"


def test_a_model_without_a_chat_template_gets_a_sentence():
    tokenizer = tiny_tokenizer.__wrapped__()
    tokenizer.chat_template = None
    session = ModelSession(tiny_llama(), tokenizer, name="tiny llama")
    with pytest.raises(UserError, match="tiny llama has no chat template"):
        measured(session, VECTOR, mode="chat")


def test_a_prompt_that_fills_the_context_is_refused(tiny_session):
    full = "a" * 63
    assert len(tiny_session.tokens(full, True)) == 64
    with pytest.raises(UserError, match="no room to write on"):
        measured(tiny_session, texts=(full,))


def test_a_recipe_that_breaks_the_model_is_refused(tiny_session):
    with pytest.raises(UserError, match="Lower the strength"):
        measured(tiny_session, AddVector(VECTOR.at, VECTOR.vector, 3e38))


def test_scaling_multiplies_strengths_and_refuses_what_has_none(tiny_session):
    entries = ReplaceEntries(VECTOR.at, (), 0.5)
    assert [one.strength for one in scaled((VECTOR, entries), -2)] == [-3.0, -1.0]
    assert scaled((VECTOR,), 1) == (VECTOR,)
    with pytest.raises(UserError, match="beyond float32"):
        scaled((AddVector(VECTOR.at, VECTOR.vector, 1e38),), 1000)
    with pytest.raises(UserError, match="no strength"):
        scaled((Fixed(),), 2)


def test_what_stands_out_does_not_write(tiny_session):
    shown = answers_of(Spec("what_stands_out", text=TEXT), lambda *_: tiny_session, None)
    assert "steering_lab" not in unasked_lenses()
    assert "steering_lab" not in {answer.report.spec.lens for answer in shown}


def test_the_same_view_is_read_from_the_store_and_another_seed_is_not(tiny_session, tmp_path):
    store = ActivationStore.open(tmp_path / "store.duckdb")
    spec = Spec("steering_lab", text=TEXT, options=FEW, interventions=(VECTOR.recipe(),))
    specs = [spec, spec.with_(pins={"pane": 1, "step": 2}), spec.with_(options=FEW | {"seed": 4})]
    answers = [run(one, lambda *_: tiny_session, store) for one in specs]
    store.close()
    assert [one.source for one in answers] == ["fresh", "store", "fresh"]
    assert answers[0].report.digest() == answers[1].report.digest() != answers[2].report.digest()


def test_kl_of_a_known_pair_of_distributions():
    clean, steered = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    assert float(_scored((0,), clean, steered).kl[0]) == pytest.approx(0.5108, abs=1e-4)


def test_the_command_line_makes_the_same_report(tiny_session, tmp_path, monkeypatch, capsys):

    monkeypatch.setattr("capture.models.load_session", lambda name, dtype: tiny_session)
    spec = Spec("steering_lab", text=TEXT, options=FEW, interventions=(VECTOR.recipe(),))
    expected = run(spec, lambda *_: tiny_session, None).report
    out = tmp_path / "report.json"
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "--view", to_code(spec), "--out", str(out)])
    assert ended.value.code == 0
    assert read_report(out.read_text("utf-8")).digest() == expected.digest()
    assert expected.numbers["sentence"] in capsys.readouterr().out
