"""Tiny random models built in code, seeded, one for each family; and a tokenizer that fits them."""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    OlmoeConfig,
    OPTConfig,
    Phi3Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
)

BOS = "<|bos|>"
EOS = "<|eos|>"
N_VOCAB = 320
CONTEXT = 64
_TRAINING_TEXT = (
    "Once upon a time there was a small bear who lived near the river and the trees.",
    "The cat sat on the mat and looked at the moon. It was night, and the stars were bright.",
    "She said that the answer to the question was not known, but they would find it together.",
)


@cache
def tiny_tokenizer(has_bos: bool = True) -> PreTrainedTokenizerFast:
    """A byte-level BPE of 320 tokens, with or without a BOS token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=N_VOCAB,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_TRAINING_TEXT, trainer)
    template = f"{BOS}{{% for message in messages %}}user: {{{{ message.content }}}}\n{{% endfor %}}bear:"
    special = {"eos_token": EOS, "pad_token": EOS} | ({"bos_token": BOS} if has_bos else {})
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **special)


_IDS = {"vocab_size": N_VOCAB, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": CONTEXT,
    # Far larger than the usual 0.02, so that a model of this size attends and computes rather than copies.
    "initializer_range": 0.2,
}
_GROUPED = {"num_key_value_heads": 2, "intermediate_size": 48}
_EXPERTS = {**_SIZES, **_GROUPED, **_IDS, "num_experts_per_tok": 2}


def _build(config: PretrainedConfig, seed: int, dtype: torch.dtype) -> Any:
    """A model of that config with every weight random, norm gains and biases too."""
    from transformers import AutoModelForCausalLM

    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                # A gain of exactly 1 and a bias of exactly 0 would hide a gain or a bias that was forgotten.
                parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.to(dtype)


def tiny_llama(seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """Three Llama blocks: grouped keys and values, SwiGLU, RMSNorm."""
    return _build(LlamaConfig(**{**_SIZES, **_GROUPED, **_IDS, **changes}), seed, dtype)


def tiny_gpt2(seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """Three GPT-2 blocks: LayerNorm, learned positions, one fused matrix for query, key and value."""
    sizes = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": CONTEXT, "initializer_range": 0.2}
    return _build(GPT2Config(**{**sizes, **_IDS, **changes}), seed, dtype)


def tiny_neox(seed: int = 0, dtype: torch.dtype = torch.float32, **changes: Any) -> Any:
    """Three GPT-NeoX blocks, attention and MLP in parallel, so that there is no `resid_mid`."""
    return _build(GPTNeoXConfig(**{**_SIZES, **_IDS, "intermediate_size": 48, **changes}), seed, dtype)


def tiny_qwen2(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three Qwen2 blocks: as Llama, with biases on query, key and value."""
    return _build(Qwen2Config(**_SIZES, **_GROUPED, **_IDS), seed, dtype)


def tiny_qwen3(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three Qwen3 blocks: as Llama, with norms on query and key."""
    return _build(Qwen3Config(**_SIZES, **_GROUPED, **_IDS, head_dim=8), seed, dtype)


def tiny_gemma2(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three Gemma 2 blocks: norms before and after, soft caps, sliding windows, gains stored as offsets from 1."""
    own = {"head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}
    return _build(Gemma2Config(**_SIZES, **_GROUPED, **_IDS, **own), seed, dtype)


def tiny_mistral(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three Mistral blocks: as Llama, with a sliding window of 8."""
    return _build(MistralConfig(**_SIZES, **_GROUPED, **_IDS, sliding_window=8), seed, dtype)


def tiny_mixtral(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three Mixtral blocks: four experts, two for each token."""
    return _build(MixtralConfig(**_EXPERTS, num_local_experts=4), seed, dtype)


def tiny_qwen3_moe(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three Qwen3-MoE blocks; block 1 is dense, the others have four experts."""
    own = {"num_experts": 4, "moe_intermediate_size": 24, "head_dim": 8, "mlp_only_layers": [1]}
    return _build(Qwen3MoeConfig(**_EXPERTS, **own), seed, dtype)


def tiny_olmoe(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three OLMoE blocks: four experts, two for each token."""
    return _build(OlmoeConfig(**_EXPERTS, num_experts=4), seed, dtype)


def tiny_phi3(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three Phi-3 blocks: one fused matrix for gate and up."""
    return _build(Phi3Config(**_SIZES, **_GROUPED, **_IDS), seed, dtype)


def tiny_opt(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three OPT blocks: ReLU, learned positions with an offset of 2."""
    sizes = {key: value for key, value in _SIZES.items() if key != "initializer_range"}
    own = {"ffn_dim": 48, "word_embed_proj_dim": 32, "init_std": 0.2}
    return _build(OPTConfig(**sizes, **_IDS, **own), seed, dtype)


def tiny_gpt_oss(seed: int = 0, dtype: torch.dtype = torch.float32) -> Any:
    """Three GPT-OSS blocks: four experts, attention sinks, sliding windows."""
    return _build(GptOssConfig(**_EXPERTS, num_local_experts=4, head_dim=8, sliding_window=8), seed, dtype)


FAMILIES: dict[str, Callable[..., Any]] = {
    "gpt2": tiny_gpt2,
    "llama": tiny_llama,
    "gpt_neox": tiny_neox,
    "qwen2": tiny_qwen2,
    "qwen3": tiny_qwen3,
    "gemma2": tiny_gemma2,
    "mistral": tiny_mistral,
    "mixtral": tiny_mixtral,
    "qwen3_moe": tiny_qwen3_moe,
    "olmoe": tiny_olmoe,
    "phi3": tiny_phi3,
    "opt": tiny_opt,
    "gpt_oss": tiny_gpt_oss,
}
