"""What a model will take in memory, from its config alone, and what there is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.errors import UserError, first_line

GB = 1e9
MAX_LAYERS = 1_000
N_TOKENS = 512
"""Length of the text that activations and cache are estimated for, or the model's context where that is shorter."""


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that a model takes: its weights, one captured text with its attention and logits, its key/value cache."""

    n_params: int
    weights: int
    activations: int
    cache: int

    @property
    def total(self) -> int:
        return self.weights + self.activations + self.cache

    def sentence(self) -> str:
        """The estimate as a person would say it."""
        parts = f"weights {_gb(self.weights)}, activations {_gb(self.activations)}, cache {_gb(self.cache)}"
        return f"about {_gb(self.total)} ({parts})"


def estimate(config: Any, dtype: str, n_tokens: int = N_TOKENS) -> MemoryEstimate:
    """The memory a transformers config will take in a dtype, with a text of up to `n_tokens`.

    Weights are counted on a model without storage, so exactly. Raises UserError for a config that makes no causal
    language model.
    """
    import torch

    width = getattr(torch, dtype).itemsize
    n_params = _n_params(config)
    sizes = config.get_text_config()
    n_layers, d_model, n_heads = sizes.num_hidden_layers, sizes.hidden_size, sizes.num_attention_heads
    n_tokens = min(n_tokens, getattr(sizes, "max_position_embeddings", None) or n_tokens)
    d_mlp = getattr(sizes, "intermediate_size", None) or getattr(sizes, "ffn_dim", None) or 4 * d_model
    n_kv_heads = getattr(sizes, "num_key_value_heads", None) or n_heads
    d_head = getattr(sizes, "head_dim", None) or d_model // n_heads
    # Four residual-wide and three MLP-wide tensors of every block are kept; scores, pattern and logits are float32.
    kept = n_layers * n_tokens * (4 * d_model + 3 * d_mlp) * width
    passing = 4 * (3 * n_heads * n_tokens**2 + 2 * n_tokens * sizes.vocab_size)
    cache = 2 * n_layers * n_kv_heads * d_head * n_tokens * width
    return MemoryEstimate(n_params, n_params * width, kept + passing, cache)


def _n_params(config: Any) -> int:
    """Parameters of the model that a config makes, tied ones once."""
    import torch
    from transformers import AutoModelForCausalLM

    n_layers = getattr(config.get_text_config(), "num_hidden_layers", None)
    if not isinstance(n_layers, int) or not 0 < n_layers <= MAX_LAYERS:
        raise UserError(
            f"A config must have from 1 to {MAX_LAYERS} layers; this one has {n_layers!r}.",
            "Choose a folder of a language model.",
        )
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError, ImportError, RuntimeError, ZeroDivisionError) as error:
        raise UserError(
            f"No language model can be made of this config (type {config.model_type!r}): {first_line(error)}.",
            "Choose a causal language model that transformers knows.",
        ) from error
    return sum(parameter.numel() for parameter in model.parameters())


def available_bytes(device: str = "cpu") -> int:
    """Free memory: of the GPU, or of the machine within the limit of its control group."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    free = _meminfo_available()
    limit, used = (_read_number(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else min(free, max(0, limit - used))


def check_fits(name: str, needed: MemoryEstimate, available: int, device: str = "cpu") -> None:
    """Raise UserError with the numbers where a model will not fit."""
    if needed.total <= available:
        return
    where = "on the GPU" if device.startswith("cuda") else "in memory"
    raise UserError(
        f"{name} has {_count(needed.n_params)} parameters and would take {needed.sentence()}; "
        f"{_gb(available)} is free {where}.",
        "Choose bfloat16, close other programs, or choose a smaller model.",
    )


def _meminfo_available() -> int:
    meminfo = Path("/proc/meminfo")
    if not meminfo.exists():
        import os

        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def _read_number(path: Path) -> int | None:
    """The number in a file; None where there is no file, or it says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _gb(n_bytes: int) -> str:
    return f"{n_bytes / GB:.1f} GB" if n_bytes >= 0.05 * GB else f"{n_bytes / 1e6:.1f} MB"


def _count(n: int) -> str:
    return f"{n / 1e9:.1f} billion" if n >= 1e9 else f"{n / 1e6:.1f} million"
