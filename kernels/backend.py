"""Which implementation of a kernel runs, and why: decided for each call by where the tensors are."""

import os
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor

OVERRIDE = "STEERSCOPE_KERNELS"
"""Environment variable that forces `reference`, `cpu` or `triton` where that can run at all."""
LATENTS_PER_K = 40
ROWS_WORTH_PACKING = 64
BACKENDS = ("reference", "cpu", "triton")


@dataclass(frozen=True)
class Choice:
    """A backend and a sentence on why it was taken; `dtype` is what `topk_encode` multiplies in."""

    backend: str
    reason: str
    dtype: torch.dtype = torch.float32


def choose(x: Tensor) -> Choice:
    """The backend for a call on `x`; raises ValueError for an override that names none."""
    forced = os.environ.get(OVERRIDE, "")
    if forced and forced not in BACKENDS:
        raise ValueError(f"{OVERRIDE} must be one of {', '.join(BACKENDS)}; it is {forced!r}.")
    if forced == "reference":
        return Choice("reference", f"{OVERRIDE} asks for the reference.")
    if x.is_cuda and forced != "cpu":
        return _on_gpu()
    if forced == "triton":
        return _forced_triton()
    if x.device.type != "cpu":
        return Choice("reference", f"No kernel is written for {x.device.type}.")
    return Choice("cpu", "The tensors are on the CPU.")


def choose_encoder(x: Tensor, d_sae: int, k: int, is_packed: bool, exact: bool = True) -> Choice:
    """The same for `topk_encode`, with the dtype of its product and why that one."""
    choice = choose(x)
    if choice.backend == "triton":
        return replace(choice, dtype=torch.bfloat16)
    if choice.backend == "reference":
        return choice
    dtype, why = _cpu_dtype(len(x), d_sae, k, is_packed, exact)
    return Choice("cpu", f"{choice.reason} {why}", dtype)


def _cpu_dtype(n_rows: int, d_sae: int, k: int, is_packed: bool, exact: bool) -> tuple[torch.dtype, str]:
    """What a CPU multiplies in: whatever was measured to be quicker for the shape."""
    if not has_fast_bf16():
        return torch.float32, "This one has no fast bfloat16, so tiles are multiplied in float32."
    if exact and d_sae < LATENTS_PER_K * k:
        return torch.float32, f"With fewer than {LATENTS_PER_K} k latents, scoring again costs more than float32 tiles."
    if not is_packed and n_rows < ROWS_WORTH_PACKING:
        return torch.float32, f"Without a pack, fewer than {ROWS_WORTH_PACKING} rows are quicker in float32 tiles."
    return torch.bfloat16, "Tiles are multiplied in bfloat16."


def _on_gpu() -> Choice:
    if has_triton():
        return Choice("triton", "The tensors are on a GPU.")
    return Choice("reference", "The tensors are on a GPU, and triton is not installed.")


def _forced_triton() -> Choice:
    if os.environ.get("TRITON_INTERPRET") == "1" and has_triton():
        return Choice("triton", f"{OVERRIDE} asks for triton, which TRITON_INTERPRET runs on the CPU.")
    return Choice("cpu", f"{OVERRIDE} asks for triton, and tensors on the CPU cannot run it.")


@cache
def has_triton() -> bool:
    """Whether triton is installed; being installed does not mean that a GPU is there."""
    from importlib.util import find_spec

    return find_spec("triton") is not None


@cache
def has_fast_bf16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices by instructions of its own (AVX-512 BF16 or AMX)."""
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
