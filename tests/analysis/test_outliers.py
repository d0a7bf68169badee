"""The outliers lens on models with planted outliers, and its tables against their definitions."""

from functools import cache

import numpy as np
import pytest
import torch

from analysis.flatness import channel_norms, flatness
from analysis.lens import Subject, find_lens
from analysis.option import read_options
from analysis.outlier_view import points_of
from capture.hook_point import HookPoint
from capture.planted import plant_aligned_gate, plant_channel, plant_massive_dimension
from capture.session import ModelSession
from tests.models import FAMILIES, tiny_llama, tiny_tokenizer

TEXT = "the bear sat on the mat and looked at the moon near the river"
LENS = find_lens("outliers")


@cache
def session_of(plant: str = "none") -> ModelSession:
    model = tiny_llama()
    if plant == "massive":
        # Small weights and a large start: so the planted value is the only extreme one.
        model = plant_massive_dimension(tiny_llama(initializer_range=0.02), 5, 4000.0)
    elif plant == "channel":
        model = plant_channel(model, 1, 9, 64.0)
    elif plant == "gate":
        model = plant_aligned_gate(model, 2, 17)
    return ModelSession(model, tiny_tokenizer(), name=f"tiny {plant}")


def measured(session, text=TEXT, bos=True, **options):
    chosen = read_options(LENS.options, options)
    tokens = session.tokens(text, bos)
    captures = session.capture(tokens, LENS.hook_points(session.shape, chosen))
    return LENS.measure(Subject(session, (tokens,), captures, bos), chosen, lambda share, words: None)


def over_set(session, texts, **options):
    chosen = read_options(LENS.options, options)
    tokens = tuple(session.tokens(text, True) for text in texts)
    return LENS.measure(Subject(session, tokens, {}, True, True), chosen, lambda share, words: None)


def found(result, criterion, *names):
    return {tuple(row[name] for name in names) for row in result.numbers["criteria"][criterion]["found"]}


def test_a_big_dimension_at_position_0_is_found_and_nothing_else():
    result = measured(session_of("massive"))
    assert found(result, "massive_activation", "pos", "dim") == {(0, 5)}
    assert found(result, "massive_activation", "layer") == {(0,), (1,), (2,)}
    # It is an isolated entry too, in the residual stream and where the norms' outputs carry it.
    assert found(result, "spike", "pos", "dim") <= {(0, 5)}
    assert found(result, "channel_outlier", "dim") == set()
    assert result.numbers["massive_tokens"][0]["pos"] == 0
    np.testing.assert_array_equal(result.arrays["max_dim"][:, 0], 5)
    assert any("massive activation" in finding.sentence for finding in result.findings)


def test_a_loud_channel_at_a_norm_is_found_where_it_is_and_nothing_else():
    before, after = measured(session_of()), measured(session_of("channel"))
    new = found(after, "channel_outlier", "layer", "site", "dim") - found(
        before, "channel_outlier", "layer", "site", "dim"
    )
    assert new == {(1, "ln2_out", 9)}
    assert found(after, "massive_activation", "dim") == set()
    # The function did not change, so the residual stream did not either.
    np.testing.assert_allclose(after.arrays["max_over_median"], before.arrays["max_over_median"], rtol=1e-4)
    assert after.arrays["flatness_raw"][1] > 5 * before.arrays["flatness_raw"][1]
    assert after.arrays["flatness_rotated"][1] < 0.5 * after.arrays["flatness_raw"][1]


def test_an_aligned_gate_is_found_and_ranked_first():
    before, after = measured(session_of()), measured(session_of("gate"))
    worst = after.numbers["gates"]["worst"][0]
    assert (worst["layer"], worst["neuron"]) == (2, 17)
    assert worst["cos"] == pytest.approx(1.0, abs=1e-6)
    others = np.ones_like(after.arrays["gate_cos"], bool)
    others[2, 17] = False
    np.testing.assert_array_equal(after.arrays["gate_cos"][others], before.arrays["gate_cos"][others])


def test_arrays_are_those_of_the_definitions():
    session = session_of()
    result = measured(session)
    tokens = session.tokens(TEXT, True)
    points = [HookPoint(layer, "resid_post") for layer in range(3)]
    x = torch.stack(list(session.capture(tokens, points).values())).numpy()
    magnitude = np.abs(x)
    arrays = result.arrays
    np.testing.assert_allclose(arrays["max_over_median"], magnitude.max(-1) / np.median(magnitude, -1), rtol=1e-5)
    np.testing.assert_array_equal(arrays["max_dim"], magnitude.argmax(-1))
    np.testing.assert_allclose(arrays["smoothness"], magnitude.max(-1) / np.sqrt((x**2).mean(-1)), rtol=1e-5)
    np.testing.assert_array_equal(np.take_along_axis(x, arrays["top_dims"].astype(int), -1), arrays["top_values"])
    norm = (x.astype(float) ** 2).sum(-1)
    np.testing.assert_allclose(arrays["position_norm_share"], norm / norm.sum(-1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(arrays["residual"], x)
    shares = (x.astype(float) ** 2).sum(1) / norm.sum(-1)[:, None]
    first = result.numbers["ranked_dims"][0]
    assert first["dim"] == shares.mean(0).argmax()
    assert first["norm_share"] == pytest.approx(shares.mean(0).max(), rel=1e-6)


def test_sink_share_is_the_mean_attention_to_position_0_of_later_queries():
    session = session_of()
    tokens = session.tokens(TEXT, True)
    points = [HookPoint(layer, "pattern") for layer in range(3)]
    pattern = torch.stack(list(session.capture(tokens, points).values())).numpy()
    np.testing.assert_allclose(measured(session).arrays["sink_share"], pattern[:, :, 1:, 0].mean(-1), rtol=1e-5)


def test_flatness_is_that_of_what_the_mlp_reads():
    session = session_of("channel")
    tokens = session.tokens(TEXT, True)
    x = session.capture(tokens, [HookPoint(1, "ln2_out")])[HookPoint(1, "ln2_out")].numpy()
    arrays = measured(session).arrays
    assert arrays["flatness_raw"][1] == pytest.approx(float(flatness(channel_norms(x))), rel=1e-5)
    np.testing.assert_allclose(arrays["channel_norms_raw"][1], np.sort(channel_norms(x))[::-1], rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_called_the_mlp_input_is_what_the_mlp_reads(family):
    session = ModelSession(FAMILIES[family](), tiny_tokenizer(), name=family)
    tokens = session.tokens(TEXT, True)
    for layer in range(session.shape.n_layers):
        out, read, pre = (HookPoint(layer, site) for site in ("ln2_out", "mlp_in", "mlp_pre"))
        if session.has_site(read):
            seen = session.capture(tokens, [out, read])
            torch.testing.assert_close(seen[out].reshape(seen[read].shape), seen[read], rtol=0, atol=0)
        else:
            seen = session.capture(tokens, [out, pre])
            # A difference of two tokens, so that the bias drops out.
            change = (seen[out] - seen[out][:1]) @ session.weight("W_in", layer)
            torch.testing.assert_close(change, seen[pre] - seen[pre][:1], rtol=1e-4, atol=1e-4)
    assert all(session.has_site(at) for at in points_of(session.shape))


@pytest.mark.parametrize("family", ["gpt2", "mixtral"])
def test_without_gated_neurons_the_gate_tables_say_why(family):
    result = measured(ModelSession(FAMILIES[family](), tiny_tokenizer(), name=family))
    assert result.arrays["gate_cos"].shape == (0, 0)
    assert result.numbers["gates"]["n_aligned"] is None
    assert result.numbers["gates"]["reason"].startswith("not applicable: ")


@pytest.mark.parametrize("text", ["a", "at"])
def test_texts_of_one_and_two_tokens_are_measured(text):
    session = session_of()
    result = measured(session, text, bos=False, what_if="zero")
    n_pos = len(session.tokens(text, False))
    assert result.arrays["max_over_median"].shape == (3, n_pos)
    assert np.isnan(result.arrays["sink_share"]).all() == (n_pos == 1)
    assert (result.numbers["what_if"] is None) == (n_pos == 1)


def test_one_token_has_no_loss_and_the_sentence_says_so():
    result = measured(session_of(), "a", bos=False, what_if="zero")
    assert result.numbers["n_tokens"] == 1
    assert "at least two tokens" in result.numbers["what_if_sentence"]


def test_a_text_set_of_one_text_gives_the_numbers_of_that_text():
    session = session_of("channel")
    one, many = measured(session), over_set(session, [TEXT])
    for name in ("sink_share", "gate_amplification", "flatness_raw", "flatness_rotated", "first_share"):
        np.testing.assert_allclose(many.arrays[name], one.arrays[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(many.arrays["layer_kurtosis"], one.arrays["layer_kurtosis"], rtol=1e-5)
    np.testing.assert_allclose(many.arrays["layer_median"], one.arrays["layer_median"], rtol=1 / 32)
    np.testing.assert_array_equal(many.arrays["max_abs"], one.arrays["max_abs"].max(axis=1))
    names = ("layer", "site", "dim")
    assert (1, "ln2_out", 9) in found(many, "channel_outlier", *names) & found(one, "channel_outlier", *names)
    assert "residual" not in many.arrays


def test_a_text_of_other_length_in_the_set_is_weighed_by_its_tokens():
    session = session_of()
    texts = [TEXT, "the cat", "the moon was bright"]
    shares, n_queries = [], []
    for text in texts:
        shares.append(measured(session, text).arrays["sink_share"])
        n_queries.append(len(session.tokens(text, True)) - 1)
    expected = np.average(shares, axis=0, weights=n_queries)
    np.testing.assert_allclose(over_set(session, texts).arrays["sink_share"], expected, rtol=1e-5)


def test_findings_are_ranked_by_the_stated_score():
    result = measured(session_of("massive"))
    scores = [finding.score for finding in result.findings]
    assert scores == sorted(scores, reverse=True)
    assert all(score > 0 for score in scores)
    first = next(finding for finding in result.findings if finding.sentence.startswith("Position 0"))
    even = 100 / result.numbers["n_tokens"]
    assert first.score == pytest.approx(np.log2(first.magnitude / even))
    assert first.place == {"layer": int(np.argmax(result.arrays["first_share"])), "pos": 0}
    np.testing.assert_allclose(first.series, result.arrays["first_share"], rtol=1e-6)
