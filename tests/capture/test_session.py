"""What a session says about texts, tokens, hook points and weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from capture.errors import UserError
from capture.hook_point import HookPoint, residual_points
from capture.intervention import AddVector, Entry, ReplaceEntries
from capture.session import ModelSession
from tests.models import CONTEXT, tiny_llama, tiny_tokenizer

TEXT = "the bear sat on the mat and looked at the moon"
NO_CHANGE_AT_ALL = (0.0,) * 32


def test_bos_comes_only_where_it_is_asked_for(tiny_session):
    with_bos, without = tiny_session.tokens(TEXT, bos=True), tiny_session.tokens(TEXT, bos=False)
    assert with_bos == (0, *without)
    assert 0 not in without


def test_bos_is_refused_where_the_tokenizer_has_none():
    session = ModelSession(tiny_llama(), tiny_tokenizer(has_bos=False), name="tiny")
    with pytest.raises(UserError, match="no BOS token"):
        session.tokens(TEXT, bos=True)
    assert session.tokens("a", bos=False)


@pytest.mark.parametrize("bos", [True, False])
def test_an_empty_text_is_refused(tiny_session, bos):
    with pytest.raises(UserError, match="at least one character"):
        tiny_session.tokens("", bos)


def test_a_text_that_does_not_fit_is_refused_with_both_counts(tiny_session):
    with pytest.raises(UserError, match=r"has 100,000 tokens; tiny llama fits 64"):
        tiny_session.tokens("#" * 100_000, bos=False)


def test_a_text_that_just_fits_is_taken(tiny_session):
    assert len(tiny_session.tokens("#" * (CONTEXT - 1), bos=True)) == CONTEXT


@given(st.text(min_size=1, max_size=15))
def test_texts_of_ordinary_tokens_make_up_the_text(tiny_session, text):
    shown = "".join(tiny_session.token_texts(tiny_session.tokens(text, bos=False)))
    # Bytes of characters that the vocabulary splits are spelled out, so only ASCII comes back as it was.
    spelled = "".join(c if c.isascii() else "".join(f"<0x{byte:02X}>" for byte in c.encode()) for c in text)
    assert shown == spelled


def test_special_tokens_show_their_names(tiny_session):
    assert tiny_session.token_texts((0, 1)) == ("<|bos|>", "<|eos|>")


def test_tokens_beyond_the_vocabulary_are_refused(tiny_session):
    with pytest.raises(UserError, match="numbered 0 to 319; 320 was met"):
        tiny_session.capture((0, 320), [HookPoint(0, "resid_post")])


def test_a_capture_has_what_was_asked_for_and_nothing_else(tiny_session):
    tokens = tiny_session.tokens(TEXT, bos=True)
    wanted = [HookPoint(0, "resid_post"), HookPoint(1, "pattern"), HookPoint(2, "mlp_post"), HookPoint(None, "logits")]
    captured = tiny_session.capture(tokens, wanted)
    n_pos = len(tokens)
    shapes = [tuple(captured[point].shape) for point in wanted]
    assert list(captured) == wanted
    assert shapes == [(n_pos, 32), (4, n_pos, n_pos), (n_pos, 48), (n_pos, 320)]
    assert torch.equal(captured[wanted[-1]], tiny_session.logits(tokens))


def test_two_names_of_one_activation_are_equal(tiny_session):
    """`resid_post` is an alias of the block's output, and the next block's input is the same tensor."""
    tokens = tiny_session.tokens(TEXT, bos=True)
    post, pre = HookPoint(0, "resid_post"), HookPoint(1, "resid_pre")
    captured = tiny_session.capture(tokens, [post, pre, post])
    assert list(captured) == [post, pre]
    assert torch.equal(captured[post], captured[pre])


def test_attention_patterns_are_causal_and_sum_to_one(tiny_session):
    at = HookPoint(1, "pattern")
    pattern = tiny_session.capture(tiny_session.tokens(TEXT, bos=True), [at])[at]
    assert torch.allclose(pattern.sum(-1), torch.ones(pattern.shape[:2]), atol=1e-6)
    assert torch.equal(pattern, pattern.tril())


def test_a_capture_stops_after_the_last_block_that_is_needed(tiny_session):
    calls = []

    class Watch:
        def hook_points(self):
            return residual_points(3)

        def __call__(self, activation, at, first_pos):
            calls.append((at.layer, first_pos))
            return activation

        def recipe(self):
            return {"kind": "watch"}

    tiny_session.capture((0, 5, 6), [HookPoint(1, "mlp_post")], [Watch()])
    assert calls == [(0, 0), (1, 0)]


def test_an_unknown_layer_is_refused_with_those_there_are(tiny_session):
    with pytest.raises(UserError, match="layers 0 to 2"):
        tiny_session.capture((0, 1), [HookPoint(3, "resid_post")])


def test_a_site_that_this_model_lacks_is_refused_with_those_there_are(tiny_session):
    at = HookPoint(0, "router_logits")
    assert not tiny_session.has_site(at)
    with pytest.raises(UserError, match=r"no router_logits in block 0.*resid_pre, resid_mid"):
        tiny_session.capture((0, 1), [at])


@pytest.mark.parametrize("site", ["resid_mid", "attn_scores", "ln1_scale", "ln2_normalized", "pattern"])
def test_a_change_that_would_not_reach_the_model_is_refused(tiny_session, site):
    change = AddVector(HookPoint(0, site), NO_CHANGE_AT_ALL)
    with pytest.raises(UserError, match="can be read but not changed"):
        tiny_session.logits((0, 5, 6), [change])


def test_a_vector_can_be_added_to_the_heads_of_a_query(tiny_session):
    at = HookPoint(0, "q")
    tokens = (0, 5, 6)
    vector = tuple(float(index) for index in range(32))
    clean = tiny_session.capture(tokens, [at])[at]
    changed = tiny_session.capture(tokens, [at], [AddVector(at, vector)])[at]
    assert torch.allclose(changed - clean, torch.tensor(vector).reshape(4, 8), atol=1e-5)


def test_a_change_is_seen_by_a_capture_at_the_same_place_and_after_it(tiny_session):
    tokens = tiny_session.tokens(TEXT, bos=True)
    points = residual_points(3)
    change = ReplaceEntries(points[1], (Entry(2, 7, 100.0),))
    clean, changed = tiny_session.capture(tokens, points), tiny_session.capture(tokens, points, [change])
    assert torch.equal(changed[points[0]], clean[points[0]])
    assert changed[points[1]][2, 7] == 100.0
    assert torch.equal(changed[points[2]][:2], clean[points[2]][:2])
    assert (changed[points[2]][2:] - clean[points[2]][2:]).abs().amax(-1).min() > 1e-3


def test_a_dimension_that_does_not_exist_is_refused(tiny_session):
    change = ReplaceEntries(HookPoint(1, "resid_post"), (Entry(0, 32, 0.0),))
    with pytest.raises(UserError, match="dimensions 0 to 31; 32 was given"):
        tiny_session.logits((0, 5, 6), [change])


def test_the_loss_is_minus_the_log_probability_of_the_next_token(tiny_session):
    tokens = tiny_session.tokens(TEXT, bos=True)
    log_probabilities = tiny_session.logits(tokens).double().log_softmax(-1)
    expected = [-log_probabilities[pos, tokens[pos + 1]].item() for pos in range(len(tokens) - 1)]
    assert tiny_session.loss(tokens).tolist() == pytest.approx(expected, abs=1e-5)


def test_the_loss_of_one_token_is_refused(tiny_session):
    with pytest.raises(UserError, match="at least two tokens; there is 1"):
        tiny_session.loss((0,))


def test_weights_multiply_activations_into_activations(tiny_session):
    """W_gate, W_in, W_out and norm gains, read as documented, carry one capture into the next."""
    names = ("ln2_normalized", "ln2_out", "mlp_pre", "mlp_pre_linear", "mlp_post", "mlp_out")
    points = [HookPoint(1, name) for name in names]
    normalized, out, gate, up, post, mlp_out = tiny_session.capture((0, 9, 8, 7), points).values()
    assert torch.allclose(normalized * tiny_session.weight("ln2", 1), out, atol=1e-5)
    assert torch.allclose(out @ tiny_session.weight("W_gate", 1), gate, atol=1e-5)
    assert torch.allclose(out @ tiny_session.weight("W_in", 1), up, atol=1e-5)
    assert torch.allclose(torch.nn.functional.silu(gate) * up, post, atol=1e-5)
    assert torch.allclose(post @ tiny_session.weight("W_out", 1), mlp_out, atol=1e-5)


def test_weights_carry_no_gradient(tiny_session):
    assert not tiny_session.weight("W_out", 0).requires_grad


@pytest.mark.parametrize(("kind", "layer"), [("W_nothing", 0), ("W_in", 3), ("W_in", -1)])
def test_a_weight_that_does_not_exist_is_refused(tiny_session, kind, layer):
    with pytest.raises(UserError, match=r"No weight|does not exist"):
        tiny_session.weight(kind, layer)


def test_the_fingerprint_knows_weights_and_dtype_but_not_the_session():
    def fingerprint(**how):
        return ModelSession(tiny_llama(**how), tiny_tokenizer(), name=str(how)).fingerprint

    same, again = fingerprint(), fingerprint(seed=0)
    assert same == again
    assert len({same, fingerprint(seed=1), fingerprint(dtype=torch.bfloat16)}) == 3


def test_float16_is_never_computed_on_a_cpu():
    with pytest.raises(UserError, match="float16 is not computed on a CPU"):
        ModelSession(tiny_llama(dtype=torch.float16), tiny_tokenizer(), name="tiny")


def test_bfloat16_captures_stay_bfloat16():
    session = ModelSession(tiny_llama(dtype=torch.bfloat16), tiny_tokenizer(), name="tiny")
    at = HookPoint(2, "resid_post")
    assert (session.dtype, session.capture((0, 5, 6), [at])[at].dtype) == ("bfloat16", torch.bfloat16)
    assert session.logits((0, 5, 6)).dtype == torch.float32


def test_the_shape_says_what_the_model_is(tiny_session):
    shape = tiny_session.shape
    assert (shape.family, shape.n_layers, shape.d_model, shape.d_mlp) == ("llama", 3, 32, 48)
    assert (shape.n_heads, shape.n_kv_heads, shape.d_head, shape.d_vocab, shape.context) == (4, 2, 8, 320, CONTEXT)
    assert (shape.n_experts, shape.has_gate, shape.activation) == (None, True, "silu")
    assert shape.n_params == sum(parameter.numel() for parameter in tiny_llama().parameters())
