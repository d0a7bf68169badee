"""The latents lens against the equations written out, planted latents, and SAEs that do not fit."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from analysis.latent_findings import findings_of
from analysis.latent_view import Coded, Counts
from analysis.latents import LENS, points_of, settle
from capture.errors import UserError
from sae import shelf
from sae.library import save_sae
from tests.analysis.test_lens_laws import TEXTS, on_set, on_text
from tests.models import tiny_tokenizer
from tests.saes import made
from tests.shelves import D_SAE, HOOK, K, sae_for, shelve_for


@pytest.fixture
def oracle(tiny_session):
    """Activations from position 1 on, the dense top-k code of each, and its reconstruction."""
    sae, tokens = sae_for(tiny_session), tiny_session.tokens(TEXTS[0], True)
    x = tiny_session.capture(tokens, points_of(tiny_session.shape, {"sae": shelve_for(tiny_session)}))
    (rows,) = (one[1:].float() for one in x.values())
    pre = ((rows - sae.b_dec) @ sae.W_enc + sae.b_enc).relu()
    kept = pre.topk(K, dim=1)
    code = torch.zeros_like(pre).scatter(1, kept.indices, kept.values)
    return rows, code.numpy(), code @ sae.W_dec + sae.b_dec


def dense(arrays) -> np.ndarray:
    """The code of every position as [pos d_sae]."""
    code = np.zeros((len(arrays["values"]), D_SAE), np.float32)
    for pos, (values, indices) in enumerate(zip(arrays["values"], arrays["indices"], strict=True)):
        np.add.at(code[pos], indices, values)
    return code


def test_codes_are_those_of_the_dense_top_k(tiny_session, oracle):
    _, code, _ = oracle
    arrays = on_text(LENS, tiny_session).arrays
    np.testing.assert_allclose(dense(arrays)[1:], code, atol=1e-5)
    assert not dense(arrays)[0].any()
    np.testing.assert_array_equal(arrays["l0"], [np.nan, *(code > 0).sum(axis=1)])


def test_error_shares_and_fvu_are_their_formulas(tiny_session, oracle):
    x, _, guess = oracle
    measured = on_text(LENS, tiny_session)
    error = ((x - guess) ** 2).sum(dim=1)
    np.testing.assert_allclose(measured.arrays["error_share"][1:], error / (x**2).sum(dim=1), rtol=1e-4)
    expected = float(error.sum() / ((x - x.mean(dim=0)) ** 2).sum())
    assert measured.numbers["fvu"] == pytest.approx(expected, rel=1e-5)


def test_counts_of_a_latent_are_those_of_its_column(tiny_session, oracle):
    _, code, _ = oracle
    arrays = on_text(LENS, tiny_session).arrays
    latents = arrays["fired"]
    assert latents.tolist() == np.nonzero((code > 0).any(axis=0))[0].tolist()
    np.testing.assert_array_equal(arrays["fired_n"], (code > 0).sum(axis=0)[latents])
    np.testing.assert_allclose(arrays["fired_total"], code.sum(axis=0)[latents], rtol=1e-5)
    np.testing.assert_allclose(arrays["fired_max"], code.max(axis=0)[latents], rtol=1e-5)
    np.testing.assert_array_equal(arrays["fired_max_pos"], 1 + code.argmax(axis=0)[latents])


def test_a_text_set_of_one_text_counts_as_the_text_does(tiny_session):
    one, as_set = on_text(LENS, tiny_session), on_set(LENS, tiny_session, TEXTS[:1])
    for name in ("fired", "fired_n", "fired_max_pos"):
        np.testing.assert_array_equal(one.arrays[name], as_set.arrays[name])
    np.testing.assert_allclose(one.arrays["fired_total"], as_set.arrays["fired_total"], rtol=1e-5)
    assert one.numbers["fvu"] == pytest.approx(as_set.numbers["fvu"], rel=1e-5)


def counts_of(code: np.ndarray, tokens: list[int]) -> Counts:
    """Counts of a dense code [pos d_sae], with an error of 1 and a norm of 10 at each position."""
    counts, n = Counts.empty(code.shape[1], 2), len(code)
    indices = np.tile(np.arange(code.shape[1]), (n, 1))
    coded = Coded(code.astype(np.float32), indices, np.ones(n), np.full(n, 10.0))
    counts.add(coded, np.zeros((n, 2)), np.zeros(n, np.int64), np.arange(n), np.array(tokens))
    return counts


def sentences(counts, tokens, usual_fvu=None, is_text_set=False):
    share = {token: tokens.count(token) / len(tokens) for token in tokens}
    strongest = None if is_text_set else np.ones(len(tokens))
    found = findings_of(
        counts, lambda text, pos: f"t{tokens[pos]}", share.__getitem__, strongest, usual_fvu, is_text_set
    )
    return {one.sentence: one for one in found}


def test_a_planted_latent_of_one_token_is_found_and_scored_by_the_tokens_rarity():
    tokens = [7, 1, 2, 7, 3, 4, 7, 5]
    code = np.ones((8, 3)) * 0.5
    code[:, 1] = [2.0 * (token == 7) for token in tokens]
    code[:, 2] = [1.0, 0, 0, 1.0, 0, 0, 0, 1.0]
    found = [one for words, one in sentences(counts_of(code, tokens), tokens).items() if "fires only" in words]
    assert [one.sentence.split(" here")[0] for one in found] == ["Latent 1 fires only on 't7'"]
    assert found[0].score == pytest.approx(np.log2(8 / 3))
    assert found[0].place == {"latent": 1, "pos": 0}


def test_two_tokens_are_too_few_for_a_latent_of_one_kind():
    tokens = [7, 1, 2, 7]
    code = np.zeros((4, 2))
    code[[0, 3], 1] = 1.0
    assert not any("fires only" in words for words in sentences(counts_of(code, tokens), tokens))


@pytest.mark.parametrize(("usual", "is_said"), [(0.02, True), (0.2, False), (None, False)])
def test_a_text_is_badly_told_where_its_fvu_is_above_that_of_the_card(usual, is_said):
    tokens = list(range(8))
    found = sentences(counts_of(np.ones((8, 2)), tokens), tokens, usual)
    assert any("FVU 0.1;" in words for words in found) == is_said


def test_silent_latents_of_a_set_are_compared_with_firing_at_random():
    tokens = list(range(64))
    code = np.zeros((64, 16))
    code[:, 0] = 1.0
    (finding,) = sentences(counts_of(code, tokens), tokens, None, True).values()
    assert finding.magnitude == pytest.approx(100 * 15 / 16)
    assert finding.score == pytest.approx(np.log2((15 / 16) / (1 / 16)))


def test_equal_maxima_are_placed_at_the_first_of_them_in_any_order():
    rows = [(1, 3), (0, 5), (0, 2), (1, 0)]
    for order in (rows, rows[::-1]):
        counts = Counts.empty(2, 1)
        for text, pos in order:
            coded = Coded(np.ones((1, 1), np.float32), np.ones((1, 1), np.int64), np.ones(1), np.ones(1))
            place = (np.array([text]), np.array([pos]))
            counts.add(coded, np.zeros((1, 1)), *place, np.zeros(1, np.int64))
        assert (counts.highest_text[1], counts.highest_pos[1]) == (0, 2)


def test_the_option_settles_on_the_digest_of_the_models_sae(tiny_session):
    digest = shelve_for(tiny_session)
    assert settle({"sae": ""}, tiny_session.fingerprint) == {"sae": digest}
    with pytest.raises(UserError, match="No SAE on the shelf"):
        settle({"sae": "0" * 32}, tiny_session.fingerprint)


def test_an_sae_of_a_deeper_model_is_refused_in_words(tiny_session):
    with pytest.raises(UserError, match="has blocks 0 to 0"):
        points_of(replace(tiny_session.shape, n_layers=1), {"sae": shelve_for(tiny_session)})


def test_an_sae_of_another_width_is_refused_in_words(tiny_session, tmp_path):
    save_sae(made("topk", hook_point=HOOK), tmp_path / "narrow")
    shelf.put_on_shelf(tmp_path / "narrow")
    with pytest.raises(UserError, match="reads activations of 12 numbers, and this model's have 32"):
        on_text(LENS, tiny_session, sae="narrow")


def test_an_sae_that_does_not_say_where_it_reads_is_refused_in_words(tiny_session, tmp_path):
    save_sae(made("relu"), tmp_path / "lost")
    shelf.put_on_shelf(tmp_path / "lost")
    with pytest.raises(UserError, match="do not say where it reads"):
        on_text(LENS, tiny_session, sae="lost")


def test_a_text_of_one_token_says_that_there_is_nothing_to_count(tiny_session):
    (token,) = tiny_tokenizer()("a")["input_ids"]
    measured = on_text(LENS, tiny_session, "a", bos=False)
    assert tiny_session.tokens("a", False) == (token,)
    assert measured.numbers["n_counted"] == 0
    assert "no token after it" in measured.numbers["sentence"]
    assert measured.arrays["values"].shape == (1, K)
