"""Steer a transformers model with the steps that lie beside this file: steps.json, steps.safetensors, controllers/.

    python apply_steering.py MODEL_FOLDER "Once upon a time" 40

In a program, for one prompt at a time, without padding:

    from apply_steering import steering
    with steering(model, prompt_ids):
        model.generate(prompt_ids, max_new_tokens=40)

It needs torch, safetensors and transformers, and nothing of Steerscope.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

HERE = Path(__file__).resolve().parent
BLOCKS = ("model.layers", "transformer.h", "gpt_neox.layers", "model.decoder.layers")
PARTS = {
    "attn_out": ("self_attn", "attn", "attention"),
    "mlp_out": ("mlp", "block_sparse_moe", "fc2"),
    "z": ("self_attn.o_proj", "attn.c_proj", "attention.dense", "self_attn.out_proj"),
}
"""What the parts of a block are called in one model or another."""
Change = Callable[[torch.Tensor], torch.Tensor]


@contextmanager
def steering(model: Any, prompt_ids: torch.Tensor, folder: Path = HERE) -> Iterator[None]:
    """While this is open, every forward pass of the model is steered; the hooks come off whatever happens."""
    spelled = json.loads((folder / "steps.json").read_text("utf-8"))
    tensors = load_file(folder / "steps.safetensors")
    prompt, special = prompt_ids.flatten().tolist(), frozenset(spelled["special_tokens"])
    steps = list(_steps(model, prompt_ids, spelled["steps"], tensors, folder))
    first = {"pos": 0}
    handles = [model.register_forward_pre_hook(_place_keeper(first), with_kwargs=True)]
    try:
        for step, vector in steps:
            handles.append(_attach(model, step, _changer(step, vector, first, prompt, special)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def _steps(
    model: Any, prompt_ids: torch.Tensor, steps: Sequence[dict[str, Any]], tensors: dict[str, torch.Tensor], home: Path
) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
    """Each step with its vector; a controller is what it decides on this prompt."""
    for step in steps:
        if "controller" in step:
            yield from decided(model, prompt_ids, step, home / step["controller"])
        else:
            yield step, tensors[step["tensor"]]


def decided(
    model: Any, prompt_ids: torch.Tensor, step: dict[str, Any], folder: Path
) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
    """What a controller adds behind this prompt: it reads a clean run of it, once (the formula is in its manifest)."""
    told = json.loads((folder / "manifest.json").read_text("utf-8"))
    net = load_file(folder / "controller.safetensors")
    x = _inputs(model, prompt_ids, [int(name.split(".")[1]) for name in told["inputs"]])
    out = (((x - net["mean"]) / net["std"]) @ net["W_1"] + net["b_1"]).relu() @ net["W_2"] + net["b_2"]
    s = {"raw": out[0], "clamp": out[0].clamp(0, 1), "sigmoid": out[0].sigmoid()}[step["output"]]
    weights = out[1:].sigmoid() if told["facts"]["variant"] != "fixed" else torch.full_like(out[1:], 0.5)
    for place, block in enumerate(told["layers"]):
        direction = net["directions"][place]
        if step["unit"] == "relative":
            direction = net["mean_norms"][place] * direction / direction.norm()
        behind = {"operator": "add", "block": block, "site": "resid_post", "from_pos": prompt_ids.numel()}
        everywhere = {"scope": {"kind": "all", "ranges": []}, "schedule": {"kind": "constant"}}
        yield {**behind, **everywhere}, s * weights[place] * step["strength"] * direction


def _inputs(model: Any, prompt_ids: torch.Tensor, blocks: Sequence[int]) -> torch.Tensor:
    """The outputs of some blocks at the last token of the prompt, end to end, in a run without changes."""
    seen: dict[int, torch.Tensor] = {}

    def keep(block: int) -> Callable[..., None]:
        def hook(_module: Any, _given: Any, output: Any) -> None:
            rows = output[0] if isinstance(output, tuple) else output
            seen[block] = rows.reshape(-1, rows.shape[-1])[-1].float().cpu()

        return hook

    handles = [_first_of(model, BLOCKS)[block].register_forward_hook(keep(block)) for block in blocks]
    try:
        with torch.no_grad():
            model(prompt_ids)
    finally:
        for handle in handles:
            handle.remove()
    return torch.cat([seen[block] for block in blocks])


def _place_keeper(first: dict[str, int]) -> Callable[..., None]:
    """Notes how many tokens a key/value cache holds: the position that the forward pass begins at."""

    def before(_model: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        mask = kwargs.get("attention_mask")
        if mask is not None and mask.ndim == 2 and not bool(mask.all()):
            raise ValueError("Prompts must not be padded: steer one prompt at a time.")
        past = kwargs.get("past_key_values")
        first["pos"] = past.get_seq_length() if past is not None else 0

    return before


def _changer(
    step: dict[str, Any], vector: torch.Tensor, first: dict[str, int], prompt: Sequence[int], special: frozenset[int]
) -> Change:
    def change(x: torch.Tensor) -> torch.Tensor:
        # OPT lays the tokens of all rows in one.
        places = range(first["pos"], first["pos"] + x.shape[-2])
        factors = torch.tensor([factor(step, pos, prompt, special) for pos in places], device=x.device)
        if not factors.any():
            return x
        moved = changed(step, x.float(), vector.to(x.device), factors[:, None])
        return torch.where((factors != 0)[:, None], moved.to(x.dtype), x)

    return change


def factor(step: dict[str, Any], pos: int, prompt: Sequence[int], special: frozenset[int]) -> float:
    """How strongly a step acts at a position: 0 outside its scope, else what its schedule says."""
    n, ranges, n_ends = len(prompt), step["scope"]["ranges"], step["scope"].get("n_ends", 0)
    is_inside = {
        "all": True,
        "skip_special": pos >= n or prompt[pos] not in special,
        "prompt": pos < n,
        "prompt_ends": pos < n and (pos < n_ends or pos >= n - n_ends),
        "generated": pos >= n,
        "last_prompt": pos == n - 1,
        "last_prompt_and_generated": pos >= n - 1,
        "ranges": any(start <= pos and (end is None or pos < end) for start, end in ranges),
    }[step["scope"]["kind"]]
    return _scheduled(step["schedule"], pos, n) if is_inside and pos >= step["from_pos"] else 0.0


def _scheduled(schedule: dict[str, Any], pos: int, n_prompt: int) -> float:
    if schedule["kind"] == "constant":
        return 1.0
    if schedule["kind"] == "window":
        start, end = schedule["start"], schedule["end"]
        return float((not start or pos >= n_prompt + start) and (end is None or pos < n_prompt + end))
    t, n = min(max(pos - n_prompt, 0), schedule["n_tokens"]), schedule["n_tokens"]
    return float((schedule["low"] * (n - t) + schedule["high"] * t) / n)


def changed(step: dict[str, Any], x: torch.Tensor, v: torch.Tensor, factor: torch.Tensor) -> torch.Tensor:
    """The activation after a step: `add` has its strength in v, `affine` has matrices, of the others v has length 1."""
    if step["operator"] == "add":
        return x + factor * v
    if step["operator"] == "affine":
        width = x.shape[-1]
        rotation, apart, bias = v[:, :width], v[:, width : 2 * width], v[:, 2 * width]
        return x + factor * step["strength"] * ((x @ apart.T + bias) @ rotation)
    along, strength = (x * v).sum(dim=-1, keepdim=True), factor * step["strength"]
    wanted = {"project_out": 0.0, "replace": step["value"], "clamp": step["value"]}[step["operator"]]
    return x + strength * (wanted - (along.relu() if step["operator"] == "clamp" else along)) * v


def _attach(model: Any, step: dict[str, Any], change: Change) -> Any:
    """The change hooked to its place: before or after a block, after a part of it, or before its output projection."""
    block = _first_of(model, BLOCKS)[step["block"]]
    if step["site"] == "resid_post":
        return block.register_forward_hook(lambda _m, _given, output: _with_first(output, change))
    if step["site"] == "resid_pre":
        return block.register_forward_pre_hook(_before(change), with_kwargs=True)
    part = _first_of(block, PARTS[step["site"]])
    if step["site"] == "z":
        return part.register_forward_pre_hook(_before(change), with_kwargs=True)
    return part.register_forward_hook(lambda _m, _given, output: _with_first(output, change))


def _first_of(module: Any, names: Sequence[str]) -> Any:
    for name in names:
        found = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if found is not None:
            return found
    raise ValueError(f"This model has none of: {', '.join(names)}.")


def _with_first(output: Any, change: Change) -> Any:
    return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)


def _before(change: Change) -> Callable[..., Any]:
    def hook(_module: Any, given: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if given:
            return (change(given[0]), *given[1:]), kwargs
        return given, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    return hook


def main(model_name: str, prompt: str, n_tokens: int = 40) -> str:
    """The model's text behind a prompt, steered, by the likeliest token each time."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_name)
    # Steps were measured in this precision; in another one rounding leads to other texts.
    precision = getattr(torch, json.loads((HERE / "steps.json").read_text("utf-8"))["dtype"])
    model = AutoModelForCausalLM.from_pretrained(model_name).to(precision).eval()
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=False).input_ids
    if tokenizer.bos_token_id is not None:
        ids = torch.cat([torch.tensor([[tokenizer.bos_token_id]]), ids], dim=1)
    with torch.no_grad(), steering(model, ids):
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=n_tokens, do_sample=False)
    return str(tokenizer.decode(out[0], skip_special_tokens=True))


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:4])) + "\n")
