"""Which implementation of a kernel runs, and why: decided for each call by where the tensors are."""

import os
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

OVERRIDE = "STEERSCOPE_KERNELS"
"""Environment variable that forces `reference`, `cpu` or `triton` where that can run at all."""
BACKENDS = ("reference", "cpu", "triton")


@dataclass(frozen=True)
class Choice:
    """A backend and a sentence on why it was taken."""

    backend: str
    reason: str


def choose(x: Tensor, needs_bf16: bool = False) -> Choice:
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
    if needs_bf16 and not has_fast_bf16():
        return Choice("cpu", "The tensors are on the CPU, which has no fast bfloat16: tiles are multiplied in float32.")
    tiles = ": tiles are multiplied in bfloat16" if needs_bf16 else ""
    return Choice("cpu", f"The tensors are on the CPU{tiles}.")


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
