"""The model with its hooks: TransformerLens's bridge, what of it fires, and one forward pass with hooks that come off.

1. `wire` wraps a transformers model in place, after making a plain copy over the same weights to compare with.
2. A probe of six tokens finds which hook points fire, and how wide they are: the bridge lists some that never do.
3. `run` attaches changes and readers, runs, and takes them off again whatever happens.
"""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from capture.errors import UserError
from capture.experts import expert_points, open_experts
from capture.hook_point import BLOCK_SITES, GLOBAL_SITES, HookPoint
from capture.intervention import Intervention
from capture.placing import Placed, editing
from capture.reading import Reader

_LEVEL = 1_000
_NEURON_SITES = ("mlp_pre", "mlp_pre_linear", "mlp_post")


@dataclass(frozen=True)
class Wiring:
    """A wrapped model (`bridge`), its untouched copy over the same weights (`plain`) and the hook points that fire."""

    bridge: Any
    plain: Any
    points: Mapping[HookPoint, Any]
    widths: Mapping[HookPoint, int]
    flat: frozenset[HookPoint]
    mixtures: frozenset[int]
    device: torch.device
    experts: Mapping[int, Any]
    row_norms: dict[int, Tensor] = field(default_factory=dict)


class _EnoughError(Exception):
    """Raised by a hook where nothing after it is wanted."""


def wire(model: Any) -> Wiring:
    """The model wrapped, probed and ready to run."""
    from transformer_lens.model_bridge import TransformerBridge

    if model.config.architectures is None:
        model.config.architectures = [type(model).__name__]
    model.eval()
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    plain = copy.deepcopy(model, shared)
    parameter = next(model.parameters())
    experts = open_experts(model)
    bridge = TransformerBridge.boot_transformers(
        "local", hf_model=model, tokenizer=_stand_in_tokenizer(), device=str(parameter.device), dtype=parameter.dtype
    )
    hooks = bridge.hook_dict
    mixtures = frozenset(layer for layer in range(bridge.cfg.n_layers) if _is_mixture(hooks, layer))
    listed = {at: hooks[str(at)] for at in _listed_points(bridge.cfg.n_layers) if str(at) in hooks}
    neurons = {at: hook for at, hook in listed.items() if _means_what_it_says(at, mixtures)}
    neurons |= expert_points(experts)
    wiring = Wiring(bridge, plain, neurons, {}, frozenset(), mixtures, parameter.device, experts)
    probed = _probe(wiring)
    if HookPoint(0, "pattern") in listed and HookPoint(0, "pattern") not in probed.points:
        # Where the bridge leaves attention to transformers (OPT), a pattern exists only if that is computed eagerly.
        bridge.original_model.set_attn_implementation("eager")
        # The bridge then reports the pattern under the name of the scores too.
        true = {at: hook for at, hook in neurons.items() if at.site != "attn_scores"}
        probed = _probe(replace(wiring, points=true))
    return probed


def _stand_in_tokenizer() -> Any:
    """A tokenizer with nothing in it: given a real one, the bridge would load it again, or change it."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a"))
    return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="b")


def _listed_points(n_layers: int) -> list[HookPoint]:
    blocks = [HookPoint(layer, site) for layer in range(n_layers) for site in BLOCK_SITES]
    return blocks + [HookPoint(None, site) for site in GLOBAL_SITES]


def _is_mixture(hooks: Mapping[str, Any], layer: int) -> bool:
    """Whether `mlp.hook_post` is another name for the MLP's output, as the bridge has it for experts."""
    post = hooks.get(f"blocks.{layer}.mlp.hook_post")
    return post is not None and post.name == f"blocks.{layer}.mlp.hook_out"


def _means_what_it_says(at: HookPoint, mixtures: frozenset[int]) -> bool:
    if at.layer is None:
        return True
    # In a dense gated MLP the name of the router's logits leads to the gate's pre-activations.
    return at.site not in _NEURON_SITES if at.layer in mixtures else at.site != "router_logits"


def _probe(wiring: Wiring) -> Wiring:
    """Keep the points that fire in a run of 2 x 3 tokens; note their widths, and which merge batch and pos."""
    seen: dict[HookPoint, tuple[int, ...]] = {}
    readers = {at: _shape_reader(at, seen) for at in wiring.points}
    ids = torch.zeros((2, 3), dtype=torch.long, device=wiring.device)
    run(wiring, ids, readers)
    flat = frozenset(at for at, shape in seen.items() if shape[0] == 6)
    points = {at: hook for at, hook in wiring.points.items() if at in seen}
    widths = {at: shape[-1] for at, shape in seen.items()}
    return replace(wiring, points=points, widths=widths, flat=flat)


def _shape_reader(at: HookPoint, seen: dict[HookPoint, tuple[int, ...]]) -> Reader:
    return lambda activation: seen.__setitem__(at, tuple(activation.shape))


def run(
    wiring: Wiring,
    ids: Tensor,
    readers: Mapping[HookPoint, Reader],
    changes: Sequence[Placed] = (),
    *,
    only_read: bool = False,
    **arguments: Any,
) -> Any:
    """One forward pass of `ids` [batch pos]; the output of the model, or None where `only_read` let it stop early.

    Readers get activations as [batch pos ...] (attention patterns as [batch head pos pos]) after all changes,
    and must not write to them. Every hook is off again when this returns or raises.
    """
    n_batch, n_pos = ids.shape
    hooks = [(at, editing(one, at, n_pos)) for one in changes for at in one.change.hook_points()]
    hooks += [(at, _reading(reader, at in wiring.flat, (n_batch, n_pos))) for at, reader in readers.items()]
    attached = []
    try:
        for at, hook in hooks:
            wiring.points[at].add_hook(hook, level=_LEVEL)
            attached.append(wiring.points[at])
        if only_read and (last := _last_needed(wiring, readers)) is not None:
            last.add_hook(_stop, level=_LEVEL)
            attached.append(last)
        with torch.no_grad():
            return wiring.bridge(ids, **{"use_cache": False, **arguments})
    except _EnoughError:
        return None
    finally:
        for hook_point in attached:
            hook_point.remove_hooks(dir="fwd", level=_LEVEL)


def _last_needed(wiring: Wiring, readers: Mapping[HookPoint, Reader]) -> Any:
    """The TransformerLens hook point after which nothing is wanted, or None where the logits are."""
    hooks = wiring.bridge.blocks
    if any(at.layer is None and at.site != "embed" for at in readers):
        return None
    layers = [at.layer for at in readers if at.layer is not None]
    return hooks[max(layers)].hook_out if layers else hooks[0].hook_in


def _stop(activation: Tensor, hook: Any) -> None:
    raise _EnoughError


def _reading(reader: Reader, is_flat: bool, size: tuple[int, int]) -> Callable[..., None]:
    def hook_reader(activation: Tensor, hook: Any) -> None:
        reader(activation.reshape(*size, *activation.shape[1:]) if is_flat else activation)

    return hook_reader


def plain_run(wiring: Wiring, ids: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits and the output of each block by the plain model."""
    blocks: Any = wiring.plain
    for name in wiring.bridge.adapter.component_mapping["blocks"].name.split("."):
        blocks = getattr(blocks, name)
    outputs: list[Tensor] = []
    handles = [block.register_forward_hook(_output_keeper(outputs)) for block in blocks]
    try:
        with torch.no_grad():
            return wiring.plain(ids, use_cache=False).logits, outputs
    finally:
        for handle in handles:
            handle.remove()


def _output_keeper(outputs: list[Tensor]) -> Callable[..., None]:
    return lambda _block, _given, output: outputs.append(output[0] if isinstance(output, tuple) else output)


def check_points(wiring: Wiring, at: Sequence[HookPoint]) -> None:
    """Refuse a hook point that this model does not have, with the ones it has."""
    for point in at:
        if point in wiring.points:
            continue
        if point.layer is not None and point.layer >= wiring.bridge.cfg.n_layers:
            last = wiring.bridge.cfg.n_layers - 1
            raise UserError(
                f"Layer {point.layer} does not exist: the model has layers 0 to {last}.", "Pick one of them."
            )
        if point.layer in wiring.mixtures and point.site in _NEURON_SITES:
            raise UserError(
                f"Block {point.layer} is a mixture of experts, so its {point.site} has no neurons.",
                f"Choose one of: {', '.join(known_sites(wiring, point.layer))}.",
            )
        raise UserError(
            f"This model has no {point.site}{'' if point.layer is None else f' in block {point.layer}'}.",
            f"Choose one of: {', '.join(known_sites(wiring, point.layer))}.",
        )


def check_interventions(wiring: Wiring, interventions: Sequence[Intervention]) -> None:
    """Refuse an intervention at a hook point that is not there, or where a change would not reach the model."""
    for change in interventions:
        check_points(wiring, change.hook_points())
        for at in change.hook_points():
            if not at.is_editable:
                raise UserError(
                    f"{at} can be read but not changed: an edit there would not do what it says.",
                    "Change resid_pre, resid_post, attn_out, mlp_out or the output of the norm instead.",
                )


def known_sites(wiring: Wiring, layer: int | None) -> list[str]:
    """Sites of one block (or of the whole model) that can be read."""
    return [at.site for at in wiring.points if at.layer == layer]
