"""Reading a model's weights, one spelling for all families."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from capture.errors import UserError
from capture.experts import w_out

if TYPE_CHECKING:
    from capture.wiring import Wiring

KINDS = ("W_in", "W_gate", "W_out", "W_out_norms", "W_out_experts", "ln1", "ln2", "ln_final", "W_E", "W_U")
_GLOBAL = ("ln_final", "W_E", "W_U")


def read_weight(wiring: "Wiring", kind: str, layer: int) -> Tensor:
    """A detached view of one weight, input axis first; raises UserError where the model has none of that kind."""
    if kind not in KINDS:
        raise UserError(f"No weight is called {kind!r}.", f"Choose one of: {', '.join(KINDS)}.")
    n_layers = wiring.bridge.cfg.n_layers
    if not 0 <= layer < n_layers:
        raise UserError(f"Layer {layer} does not exist: the model has layers 0 to {n_layers - 1}.", "Pick one of them.")
    if kind == "W_out_norms":
        return _row_norms(wiring, layer)
    weight = _global_weight(wiring, kind) if kind in _GLOBAL else _block_weight(wiring, kind, layer)
    if weight is None and kind in _GLOBAL:
        raise UserError(f"This model has no {kind} that can be read.", "Choose a model that has it.")
    if weight is None:
        raise UserError(f"Block {layer} of this model has no {kind}.", "Choose a model or a block that has it.")
    return weight.detach()


def _global_weight(wiring: "Wiring", kind: str) -> Tensor | None:
    if kind == "ln_final":
        return _gain(getattr(wiring.bridge, "ln_final", None), wiring.bridge.cfg)
    return getattr(wiring.bridge, kind, None)


def _row_norms(wiring: "Wiring", layer: int) -> Tensor:
    """The length of what each neuron writes at a value of 1, float32; computed once for a model."""
    if layer not in wiring.row_norms:
        kind = "W_out_experts" if layer in wiring.experts else "W_out"
        wiring.row_norms[layer] = read_weight(wiring, kind, layer).float().norm(dim=-1).flatten()
    return wiring.row_norms[layer]


def _block_weight(wiring: "Wiring", kind: str, layer: int) -> Tensor | None:
    block = wiring.bridge.blocks[layer]
    if kind in ("ln1", "ln2"):
        return _gain(getattr(block, kind, None), wiring.bridge.cfg)
    if kind == "W_out_experts":
        return w_out(wiring.experts[layer]) if layer in wiring.experts else None
    return None if layer in wiring.mixtures else getattr(block.mlp, kind, None)


def _gain(norm: Any, cfg: Any) -> Tensor | None:
    """What the normalized activation is multiplied by; Gemma stores it as an offset from 1."""
    weight = getattr(norm, "weight", None)
    return weight + 1.0 if weight is not None and getattr(cfg, "rmsnorm_uses_offset", False) else weight
