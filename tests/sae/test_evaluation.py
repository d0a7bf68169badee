"""The evaluation table: perfect and zero reconstructions, closed forms, and figures that do not depend on the split."""

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import AddVector
from sae import text_sums
from sae.autoencoder import Autoencoder
from sae.evaluation import evaluate
from sae.facts import Facts
from sae.splice import Ablate, Splice
from tests.saes import normal

AT = HookPoint(1, "resid_post")
TEXTS = ("the bear sat on the mat", "she said that the moon was bright", "the cat was small", "the night was long")


@pytest.fixture(scope="module")
def texts(tiny_session):
    return [tiny_session.tokens(text, True) for text in TEXTS]


def perfect(d):
    """ReLU(x) − ReLU(−x) is x: two latents for each dimension."""
    both = torch.cat([torch.eye(d), -torch.eye(d)])
    return Autoencoder(Facts("relu", d, 2 * d), both.t().contiguous(), torch.zeros(2 * d), both, torch.zeros(d))


def silent(d, b_dec):
    """Never fires; reconstructs b_dec."""
    off = torch.full((3,), -1e9)
    return Autoencoder(Facts("relu", d, 3, subtracts_b_dec=False), torch.zeros(d, 3), off, torch.zeros(3, d), b_dec)


def test_a_perfect_sae_recovers_everything(tiny_session, texts):
    found = evaluate(perfect(tiny_session.shape.d_model), tiny_session, texts, AT)
    ones = ("explained_variance", "cosine", "relative_reconstruction_bias", "loss_recovered_zero", "kl_recovered_zero")
    assert [found.value(name) for name in ones] == pytest.approx([1] * len(ones), abs=1e-3)
    assert found.value("delta_ce") == pytest.approx(0, abs=1e-5)
    assert found.value("l0") == tiny_session.shape.d_model
    assert found.n_tokens == sum(len(tokens) - 1 for tokens in texts)


def test_a_silent_sae_recovers_nothing(tiny_session, texts):
    d = tiny_session.shape.d_model
    found = evaluate(silent(d, torch.zeros(d)), tiny_session, texts, AT)
    assert found.value("loss_recovered_zero") == pytest.approx(0, abs=1e-6)
    assert found.value("kl_recovered_zero") == pytest.approx(0, abs=1e-6)
    assert (found.value("l0"), found.value("dead_share")) == (0, 1)
    assert found.value("relative_reconstruction_bias") is None


def test_predicting_the_mean_explains_no_variance_and_is_the_mean_ablation(tiny_session, texts):
    rows = torch.cat([tiny_session.capture(tokens, (AT,))[AT][1:].float() for tokens in texts])
    found = evaluate(silent(rows.shape[1], rows.mean(dim=0)), tiny_session, texts, AT)
    assert found.value("fvu") == pytest.approx(1, abs=1e-4)
    assert found.value("loss_recovered_mean") == pytest.approx(0, abs=1e-3)


def test_losses_are_those_of_the_session(tiny_session, texts):
    found = evaluate(perfect(tiny_session.shape.d_model), tiny_session, texts, AT, from_pos=0)
    clean = torch.cat([tiny_session.loss(tokens) for tokens in texts])
    zero = Ablate(AT, torch.zeros(tiny_session.shape.d_model))
    ablated = torch.cat([tiny_session.loss(tokens, (zero,)) for tokens in texts])
    assert found.value("ce_clean") == pytest.approx(float(clean.mean()), abs=1e-5)
    assert found.value("ce_zero") == pytest.approx(float(ablated.mean()), abs=1e-5)


def test_intervals_hold_the_value_and_come_from_texts(tiny_session, texts):
    d = tiny_session.shape.d_model
    noisy = Autoencoder(
        Facts("topk", d, 20, 4), normal(d, 20, seed=1), torch.zeros(20), normal(20, d, seed=2), torch.zeros(d)
    )
    found = evaluate(noisy, tiny_session, texts, AT)
    for row in found.rows:
        if row.low is not None:
            assert row.low <= row.value <= row.high, row
    assert next(row for row in found.rows if row.name == "ce_clean").low < found.value("ce_clean")
    alone = evaluate(noisy, tiny_session, texts[:1], AT)
    assert all(row.low is None for row in alone.rows)


def test_density_counts_tokens_on_which_a_latent_fires(tiny_session, texts):
    d = tiny_session.shape.d_model
    found = evaluate(perfect(d), tiny_session, texts, AT)
    rows = torch.cat([tiny_session.capture(tokens, (AT,))[AT][1:].float() for tokens in texts])
    expected = torch.cat([(rows > 0), (rows < 0)], dim=1).float().mean(dim=0)
    torch.testing.assert_close(torch.from_numpy(found.density), expected)


@pytest.mark.parametrize("make", [lambda d: Splice(AT, perfect(d)), lambda d: Ablate(AT, torch.ones(d))])
def test_strength_0_and_positions_before_the_first_are_left_alone(make):
    x, change = normal(2, 5, 6, seed=0), make(6)
    assert type(change)(**{**vars(change), "strength": 0.0})(x, AT, 0) is x
    late = type(change)(**{**vars(change), "strength": 1.0, "from_pos": 3})
    assert torch.equal(late(x, AT, 0)[:, :3], x[:, :3])
    torch.testing.assert_close(late(x[:, 3:], AT, 3), late(x, AT, 0)[:, 3:])
    assert torch.equal(late(x[:, :2], AT, 0), x[:, :2])


def test_texts_that_are_too_short_are_refused(tiny_session):
    with pytest.raises(UserError, match="texts of a few tokens"):
        evaluate(perfect(tiny_session.shape.d_model), tiny_session, [tiny_session.tokens("a", True)], AT)


def test_a_transcoder_is_refused(tiny_session, texts):
    sae = Autoencoder(
        Facts("relu", 4, 2, hook_point="blocks.0.hook_resid_mid", hook_point_out="blocks.0.hook_mlp_out"),
        torch.zeros(4, 2),
        torch.zeros(2),
        torch.zeros(2, 4),
        torch.zeros(4),
    )
    with pytest.raises(UserError, match="this transcoder reads"):
        evaluate(sae, tiny_session, texts, AT)


def test_figures_by_token_add_up_to_those_of_the_table(tiny_session, texts):
    d = tiny_session.shape.d_model
    found = evaluate(silent(d, torch.ones(d)), tiny_session, texts, AT)
    assert float(torch.cat([torch.from_numpy(one) for one in found.token_fvu]).mean()) == pytest.approx(
        found.value("fvu"), rel=1e-4
    )
    rises = torch.cat([torch.from_numpy(one) for one in found.token_delta_ce])
    assert float(rises.mean()) == pytest.approx(found.value("delta_ce"), abs=1e-5)
    assert [len(one) for one in found.token_delta_ce] == [len(tokens) - 2 for tokens in texts]


def test_every_pass_is_made_under_the_interventions(tiny_session, texts):
    d = tiny_session.shape.d_model
    under = (AddVector(HookPoint(0, "resid_post"), tuple((3 * normal(d, seed=5)).tolist())),)
    found = evaluate(perfect(d), tiny_session, texts, AT, interventions=under)
    clean = torch.cat([tiny_session.loss(tokens, under)[1:] for tokens in texts])
    assert found.value("ce_clean") == pytest.approx(float(clean.mean()), abs=1e-5)
    assert found.value("delta_ce") == pytest.approx(0, abs=1e-5)


class Place:
    """Keeps what was saved last."""

    state: bytes | None = None

    def load(self):
        return self.state

    def save(self, state):
        self.state = state


def stop_at(wanted, told):
    def progress(share, words):
        told.append(words)
        if words == wanted:
            raise InterruptedError

    return progress


def test_a_stopped_evaluation_goes_on_at_its_text_and_ends_in_the_same_table(tiny_session, texts, monkeypatch):
    monkeypatch.setattr(text_sums, "SAVE_EVERY_S", 0.0)
    place, told, sae = Place(), [], perfect(tiny_session.shape.d_model)
    last = f"text {len(texts)} of {len(texts)}"
    with pytest.raises(InterruptedError):
        evaluate(sae, tiny_session, texts, AT, progress=stop_at(last, told), checkpoint=place)
    assert told[-1] == last
    del told[:]
    again = evaluate(sae, tiny_session, texts, AT, progress=stop_at("", told), checkpoint=place)
    assert told == [last]
    assert again.rows == evaluate(sae, tiny_session, texts, AT).rows


@pytest.mark.parametrize("state", [b"", b"PK", b"\x80\x02."])
def test_a_damaged_state_is_not_gone_on_from(tiny_session, texts, state):
    place, told, sae = Place(), [], perfect(tiny_session.shape.d_model)
    place.state = state
    evaluate(sae, tiny_session, texts, AT, progress=stop_at("", told), checkpoint=place)
    assert told[0] == f"text 1 of {len(texts)}"
