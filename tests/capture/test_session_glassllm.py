"""An independent implementation, NumPy from scratch, agrees with a session step by step on its own trained model."""

import glassllm
import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from capture.hook_point import HookPoint
from capture.session import ModelSession
from tests.models import tiny_tokenizer

TEXT = "Once upon a time there was a little girl who lived in a village near the forest."
SITES = {
    "resid.attn": "resid_mid",
    "resid.ffn": "resid_post",
    "norm.attn": "ln1_out",
    "norm.ffn": "ln2_out",
    "attn.out": "attn_out",
    "attn.softmax": "pattern",
    "ffn.gate": "mlp_pre",
    "ffn.up": "mlp_pre_linear",
    "ffn.act": "mlp_post",
    "ffn.down": "mlp_out",
}


def _halves(width: int, n_heads: int) -> np.ndarray:
    """Order of columns that turns glassllm's rotary pairs (0 1)(2 3) into transformers' (0 half)(1 half+1)."""
    head = np.arange(width).reshape(n_heads, -1)
    return np.concatenate([head[:, 0::2], head[:, 1::2]], axis=1).ravel()


def _llama(glass: glassllm.GlassLM) -> LlamaForCausalLM:
    """The same function as a transformers model."""
    cfg = glass.cfg
    config = LlamaConfig(
        vocab_size=cfg.vocab_size,
        hidden_size=cfg.d_model,
        intermediate_size=glass.blocks[0].ffn.W1.data.shape[1],
        num_hidden_layers=cfg.n_layers,
        num_attention_heads=cfg.n_heads,
        num_key_value_heads=cfg.n_kv_heads,
        max_position_embeddings=cfg.max_len,
        rms_norm_eps=cfg.eps,
        rope_parameters={"rope_type": "default", "rope_theta": cfg.rope_base},
        tie_word_embeddings=True,
    )
    weights = {"model.embed_tokens.weight": glass.E.data, "model.norm.weight": glass.norm_f.gamma.data}
    weights["lm_head.weight"] = glass.E.data
    for layer, block in enumerate(glass.blocks):
        attn, ffn, at = block.attn, block.ffn, f"model.layers.{layer}."
        weights |= {
            at + "input_layernorm.weight": block.norm1.gamma.data,
            at + "post_attention_layernorm.weight": block.norm2.gamma.data,
            at + "self_attn.q_proj.weight": attn.W_Q.data[:, _halves(attn.W_Q.data.shape[1], cfg.n_heads)].T,
            at + "self_attn.k_proj.weight": attn.W_K.data[:, _halves(attn.W_K.data.shape[1], cfg.n_kv_heads)].T,
            at + "self_attn.v_proj.weight": attn.W_V.data.T,
            at + "self_attn.o_proj.weight": attn.W_O.data.T,
            at + "mlp.gate_proj.weight": ffn.W1.data.T,
            at + "mlp.up_proj.weight": ffn.W3.data.T,
            at + "mlp.down_proj.weight": ffn.W2.data.T,
        }
    model = LlamaForCausalLM(config)
    model.load_state_dict({name: torch.tensor(np.ascontiguousarray(value)) for name, value in weights.items()})
    return model


@pytest.fixture(scope="module")
def both():
    """glassllm's trace and logits, and a session over the same weights with the same tokens."""
    glass, tokenizer = glassllm.load_pretrained("en")
    tokens = tuple(int(token) for token in tokenizer.encode(TEXT))
    trace = glassllm.Tracer()
    with glassllm.no_grad():
        glass.forward(tokens, trace=trace)
    return trace, ModelSession(_llama(glass), tiny_tokenizer(), name="glassllm en"), tokens


@pytest.mark.parametrize("step", SITES)
def test_each_step_agrees(both, step):
    """Tolerance: float32 through four blocks, entries up to about 100."""
    trace, session, tokens = both
    points = [HookPoint(layer, SITES[step]) for layer in range(session.shape.n_layers)]
    for point, found in session.capture(tokens, points).items():
        expected = trace.get(step, layer=point.layer).value
        assert np.abs(expected).max() > 0.1, "an agreement about nothing"
        np.testing.assert_allclose(found.numpy(), expected, atol=2e-4, rtol=1e-4)


def test_logits_agree(both):
    trace, session, tokens = both
    np.testing.assert_allclose(session.logits(tokens).numpy(), trace.get("logits").value, atol=2e-4, rtol=1e-4)


def test_the_model_is_trained_and_not_noise(both):
    """glassllm reports a loss of 4.19 on held-out text; a uniform guess over its tokens has 6.93."""
    _, session, tokens = both
    assert session.loss(tokens).mean() < 5.5
