"""Training by several processes: each takes its share of a batch, gradients are averaged, all hold the same weights.

`torchrun` sets the environment; without it every function here leaves things as they are.
"""

import gc
import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from capture.errors import UserError


def begin() -> str | None:
    """Join the group that torchrun describes, NCCL on GPUs, gloo on CPUs; returns this process's GPU, if any."""
    if "RANK" not in os.environ or dist.is_initialized():
        return None
    has_gpu = torch.cuda.is_available()
    device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if has_gpu else None
    if device is not None:
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if has_gpu else "gloo")
    return device


def end() -> None:
    """Leave the group."""
    if dist.is_initialized():
        dist.destroy_process_group()
        # A group that is still referred to dies after Python does, and its threads then abort the process at times.
        gc.collect()


def rank() -> int:
    """The number of this process, 0 where there is one."""
    return dist.get_rank() if dist.is_initialized() else 0


def n_processes() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def own_share(batch: Tensor) -> Tensor:
    """The rows of a batch that are this process's; raises UserError where they cannot be shared out evenly."""
    n = n_processes()
    if len(batch) % n:
        raise UserError(
            f"A batch must be shared out evenly; {len(batch):,} rows cannot be, among {n} processes.",
            "Choose batch rows that are a multiple of the number of processes.",
        )
    return batch.chunk(n)[rank()] if n > 1 else batch


def averaged(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes."""
    if n_processes() == 1:
        return value
    total = value.clone()
    dist.all_reduce(total)
    return total / n_processes()


def average_gradients(weights: Iterable[Tensor]) -> None:
    """Put each weight's gradient, averaged over the processes, in place of its own."""
    if n_processes() == 1:
        return
    for weight in weights:
        if weight.grad is None:
            weight.grad = torch.zeros_like(weight)
        weight.grad = averaged(weight.grad)


def lowest(value: Tensor) -> Tensor:
    """The smallest of each entry over the processes."""
    if n_processes() == 1:
        return value
    least = value.clone()
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return least
