"""Folders and files of SAEs that something is wrong with, by what it is, and a word of the sentence each must get."""

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sae.library import save_sae
from tests.saes import D_SAE, made

TEN_GB = 10_000_000_000


class Hostile:
    """Makes a folder `stolen` when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("stolen",)


def sound(folder: Path) -> Path:
    """A folder that nothing is wrong with."""
    save_sae(made("topk", hook_point="blocks.1.hook_resid_post"), folder)
    return folder


def _truncated(folder: Path) -> Path:
    weights = sound(folder) / "sae_weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return folder


def _with_tensor(name: str, value: torch.Tensor) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        weights = {key: one.contiguous() for key, one in made("topk").tensors().items()}
        save_file({**weights, name: value}, sound(folder) / "sae_weights.safetensors")
        return folder

    return make


def _without_a_key(folder: Path) -> Path:
    save_file({"W_enc": made("topk").W_enc.contiguous()}, sound(folder) / "sae_weights.safetensors")
    return folder


def _k_beyond(folder: Path) -> Path:
    config = sound(folder) / "cfg.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"k": D_SAE + 1}))
    return folder


def _hostile(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "v5.pt"
    path.write_bytes(pickle.dumps({"pre_bias": Hostile()}, protocol=2))
    return path


def _huge(folder: Path) -> Path:
    """Ten gigabytes of which the disk holds a header."""
    sound(folder)
    header = json.dumps({"W_enc": {"dtype": "F32", "shape": [50_000, 50_000], "data_offsets": [0, TEN_GB]}}).encode()
    with (folder / "sae_weights.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + TEN_GB)
    return folder


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "truncated": (_truncated, "cannot be read"),
    "not a number": (_with_tensor("b_enc", torch.full((D_SAE,), float("nan"))), "not finite"),
    "of another shape": (_with_tensor("b_enc", torch.zeros(3)), "b_enc must be (40,)"),
    "without a key": (_without_a_key, "lack W_dec"),
    "k beyond d_sae": (_k_beyond, "k must be from 1 to d_sae = 40"),
    "hostile pickle": (_hostile, "more than tensors"),
    "ten gigabytes": (_huge, "30.0 GB of memory"),
}
