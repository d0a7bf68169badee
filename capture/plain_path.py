"""The quick way through a model: plain transformers over the same weights, where it carries every change asked for.

TransformerLens's bridge builds attention patterns and passes every activation by a hook point; of a small model a step
takes twice as long there. A change at the input or the output of a module of the plain model does the same there:

1. The bridge's canonical name of a hook point says which module of the plain model it is the input or output of.
2. Before a site is first used, both ways are run over a few tokens with a drastic change at that site in every block;
   where their logits differ by more than rounding, the site is left to the bridge.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from capture.hook_point import HookPoint
from capture.intervention import Recipe
from capture.placing import Placed, editing, everywhere
from capture.wiring import Wiring, run

SITES = ("resid_pre", "resid_post", "attn_out", "mlp_out", "mlp_post", "z", "ln1_out", "ln2_out", "embed", "logits")
ROUNDING = {"float32": 1e-3}
"""Share of the largest logit by which both ways may differ; of other dtypes 0.1, as in capture.faithfulness."""
_N_TOKENS = 4


@dataclass(frozen=True)
class _Reversed:
    """The activation with its entries in reverse order: a change as large as there is, of the same size."""

    at: HookPoint

    def hook_points(self) -> tuple[HookPoint, ...]:
        return (self.at,)

    def __call__(
        self, activation: Float[Tensor, "batch pos d"], at: HookPoint, first_pos: int
    ) -> Float[Tensor, "batch pos d"]:
        return activation.flip(-1)

    def recipe(self) -> Recipe:
        return {"kind": "reversed", "at": str(self.at)}


@dataclass(frozen=True)
class PlainPath:
    """The plain model of a wiring with what of it can carry changes."""

    wiring: Wiring
    _proven: dict[str, bool] = field(default_factory=dict)

    def forward(
        self, ids: Int[Tensor, "batch pos"], changes: Sequence[Placed], *, only_last: bool = False, **arguments: Any
    ) -> Float[Tensor, "batch pos_or_1 d_vocab"]:
        """Logits of one pass; with `only_last`, those of other positions may be left out.

        By the plain model where it carries all changes, else by the bridge; hooks are off again whatever happens.
        """
        if not self._carries(changes):
            logits: Tensor = run(self.wiring, ids, {}, changes, **self._known(arguments))
            return logits
        return self._plainly(ids, changes, only_last=only_last, **arguments)

    def _plainly(
        self, ids: Int[Tensor, "batch pos"], changes: Sequence[Placed], *, only_last: bool, **arguments: Any
    ) -> Float[Tensor, "batch pos_or_1 d_vocab"]:
        points = [(one, at) for one in changes for at in one.change.hook_points()]
        handles: list[Any] = []
        if only_last and self._can_keep_last and not any(at.site == "logits" for _, at in points):
            arguments = {**arguments, "logits_to_keep": 1}
        try:
            for one, at in points:
                handles.append(self._attach(one, at, ids.shape[1]))
            with torch.no_grad():
                found: Tensor = self.wiring.plain(ids, **{"use_cache": False, **self._known(arguments)}).logits
                return found
        finally:
            for handle in handles:
                handle.remove()

    def _carries(self, changes: Sequence[Placed]) -> bool:
        points = [at for one in changes for at in one.change.hook_points()]
        return all(at in self._modules for at in points) and all(map(self._is_proven, {at.site for at in points}))

    def _is_proven(self, site: str) -> bool:
        """Whether both ways give the same logits under a change at this site; looked at once."""
        if site not in self._proven:
            ids = torch.arange(_N_TOKENS, device=self.wiring.device)[None] % self.wiring.bridge.cfg.d_vocab
            drastic = everywhere([_Reversed(at) for at in self._modules if at.site == site])
            plain = self._plainly(ids, drastic, only_last=True)[:, -1].float()
            bridge = run(self.wiring, ids, {}, drastic)[:, -1].float()
            dtype = str(next(self.wiring.plain.parameters()).dtype).removeprefix("torch.")
            limit = ROUNDING.get(dtype, 0.1) * float(bridge.abs().max())
            self._proven[site] = bool((plain - bridge).abs().max() <= limit)
        return self._proven[site]

    @cached_property
    def _modules(self) -> Mapping[HookPoint, tuple[Any, bool]]:
        """The module of the plain model at each hook point, and whether the point is its input."""
        modules, found = dict(self.wiring.plain.named_modules()), {}
        for at, hook in self.wiring.points.items():
            name = _module_name(self.wiring, hook.name or "") if at.site in SITES else None
            if name in modules:
                found[at] = (modules[name], hook.name.endswith(".hook_in"))
        return found

    def _attach(self, one: Placed, at: HookPoint, n_pos: int) -> Any:
        module, is_input = self._modules[at]
        edit = editing(one, at, n_pos)
        if is_input:
            return module.register_forward_pre_hook(_input_hook(edit), with_kwargs=True)
        return module.register_forward_hook(_output_hook(edit))

    @cached_property
    def _parameters(self) -> frozenset[str]:
        return frozenset(inspect.signature(self.wiring.plain.forward).parameters)

    @property
    def _can_keep_last(self) -> bool:
        return "logits_to_keep" in self._parameters

    def _known(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Without the position ids where a model reads positions off the attention mask itself."""
        return {key: value for key, value in arguments.items() if key != "position_ids" or key in self._parameters}


def _module_name(wiring: Wiring, hook_name: str) -> str | None:
    """The plain model's name of the module whose input or output a bridge's hook point is; None where it has none."""
    parts = hook_name.split(".")
    if parts.pop() not in ("hook_in", "hook_out"):
        return None
    components, names = wiring.bridge.adapter.component_mapping, []
    for part in parts:
        if part.isdigit():
            names.append(part)
        elif part in components and components[part].name:
            names.append(components[part].name)
            components = components[part].submodules or {}
        else:
            return None
    return ".".join(names)


def _input_hook(edit: Callable[..., Tensor | None]) -> Callable[..., Any]:
    def hook(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        changed = edit(args[0] if args else kwargs["hidden_states"], None)
        if changed is None:
            return None
        return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})

    return hook


def _output_hook(edit: Callable[..., Tensor | None]) -> Callable[..., Any]:
    def hook(module: Any, args: tuple[Any, ...], output: Any) -> Any:
        is_tuple = isinstance(output, tuple)
        changed = edit(output[0] if is_tuple else output, None)
        return (changed, *output[1:]) if is_tuple and changed is not None else changed

    return hook
