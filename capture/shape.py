"""ModelShape: the sizes of a model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from capture.errors import UserError

_AFTER_UNEMBEDDING = ("final_logit_softcapping", "logit_scale", "logits_scaling")


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a model; `context` counts tokens, `n_experts` is None for a dense model."""

    family: str
    n_layers: int
    d_model: int
    d_mlp: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_vocab: int
    context: int
    n_experts: int | None
    has_gate: bool
    activation: str
    n_params: int
    n_open_mixtures: int = 0
    """Blocks of experts whose neurons are a hook point (`expert_post`)."""
    final_norm_centres: bool = False
    """Whether the norm before the unembedding takes the mean out (LayerNorm) or not (RMSNorm)."""
    changes_logits: bool = False
    """Whether what leaves the unembedding is capped or scaled before it is the logits."""


def read_shape(config: Any, cfg: Any, n_params: int, d_mlp: int | None) -> ModelShape:
    """The shape in a transformers config and TransformerLens's reading of it.

    `d_mlp` is the width seen in a run, where there are neurons; for experts it is the width of one expert.
    """
    n_experts = getattr(cfg, "num_experts", None)
    return ModelShape(
        family=config.model_type,
        n_layers=cfg.n_layers,
        d_model=cfg.d_model,
        d_mlp=d_mlp or getattr(config, "moe_intermediate_size", None) or cfg.d_mlp,
        n_heads=cfg.n_heads,
        n_kv_heads=cfg.n_key_value_heads or cfg.n_heads,
        d_head=cfg.d_head,
        d_vocab=cfg.d_vocab,
        context=cfg.n_ctx,
        n_experts=n_experts or None,
        has_gate=bool(cfg.gated_mlp),
        activation=cfg.act_fn,
        n_params=n_params,
        final_norm_centres=not (cfg.uses_rms_norm or cfg.final_rms),
        changes_logits=any(getattr(config, name, None) not in (None, 1.0) for name in _AFTER_UNEMBEDDING),
    )


def check_tokens(tokens: Sequence[int], shape: ModelShape, name: str) -> None:
    """Raises UserError for tokens that the model called `name` cannot run: none, too many, or of another vocabulary."""
    if not tokens:
        raise UserError("There must be at least one token; there is none.", "Type a sentence, or switch BOS on.")
    if len(tokens) > shape.context:
        raise UserError(f"The text has {len(tokens):,} tokens; {name} fits {shape.context:,}.", "Shorten the text.")
    if not 0 <= min(tokens) <= max(tokens) < shape.d_vocab:
        raise UserError(
            f"Tokens of {name} are numbered 0 to {shape.d_vocab - 1:,}; {max(tokens):,} was met.",
            "Load the tokenizer that belongs to the model.",
        )
