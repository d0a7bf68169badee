"""Where an activation is read or changed: the only spelling of TransformerLens names."""

import re
from dataclasses import dataclass

from capture.errors import UserError

BLOCK_SITES = {
    "resid_pre": "hook_resid_pre",
    "resid_mid": "hook_resid_mid",
    "resid_post": "hook_resid_post",
    "attn_out": "hook_attn_out",
    "mlp_out": "hook_mlp_out",
    "ln1_scale": "ln1.hook_scale",
    "ln1_normalized": "ln1.hook_normalized",
    "ln1_out": "ln1.hook_out",
    "ln2_scale": "ln2.hook_scale",
    "ln2_normalized": "ln2.hook_normalized",
    "ln2_out": "ln2.hook_out",
    "q": "attn.hook_q",
    "k": "attn.hook_k",
    "v": "attn.hook_v",
    "attn_scores": "attn.hook_attn_scores",
    "pattern": "attn.hook_pattern",
    "z": "attn.hook_z",
    "mlp_in": "mlp.hook_in",
    "mlp_pre": "mlp.hook_pre",
    "mlp_pre_linear": "mlp.hook_pre_linear",
    "mlp_post": "mlp.hook_post",
    "router_logits": "mlp.gate.hook_out",
    "routing_weights": "mlp.experts.hook_routing",
    "expert_post": "mlp.experts.hook_post",
}
GLOBAL_SITES = {
    "embed": "hook_embed",
    "ln_final_normalized": "ln_final.hook_normalized",
    "logits": "unembed.hook_out",
}
# TransformerLens aliases resid_mid to the input of ln2, so an edit there would miss the residual stream; an edit of the
# router's logits, or of a scale that was already used, has no effect at all. Scores and patterns have no axis that
# positions could be picked from, and an edit of a normalized activation makes the bridge use another formula.
READ_ONLY_SITES = frozenset(
    {"resid_mid", "router_logits", "routing_weights", "ln1_scale", "ln2_scale", "attn_scores", "pattern"}
    | {"ln1_normalized", "ln2_normalized", "ln_final_normalized"}
)

_BLOCK_NAME = re.compile(r"blocks\.(\d{1,4})\.(.+)")


@dataclass(frozen=True, order=True)
class HookPoint:
    """One site of one block; `layer` is None for the sites that a model has once."""

    layer: int | None
    site: str

    def __post_init__(self) -> None:
        sites = GLOBAL_SITES if self.layer is None else BLOCK_SITES
        if self.site not in sites:
            kind = "once in a model" if self.layer is None else "in each block"
            raise UserError(
                f"No site that exists {kind} is called {self.site!r}.", f"Choose one of: {', '.join(sites)}."
            )
        if self.layer is not None and self.layer < 0:
            raise UserError(f"A layer is counted from 0; {self.layer} was given.", "Count the first block as 0.")

    def __str__(self) -> str:
        """The TransformerLens name."""
        if self.layer is None:
            return GLOBAL_SITES[self.site]
        return f"blocks.{self.layer}.{BLOCK_SITES[self.site]}"

    @property
    def is_editable(self) -> bool:
        """Whether a change here reaches the rest of the forward pass."""
        return self.site not in READ_ONLY_SITES

    @classmethod
    def parse(cls, name: str) -> "HookPoint":
        """Read a TransformerLens name such as `blocks.2.hook_resid_post`; refuse an unknown one."""
        if match := _BLOCK_NAME.fullmatch(name):
            for site, hook_name in BLOCK_SITES.items():
                if hook_name == match[2]:
                    return cls(int(match[1]), site)
        for site, hook_name in GLOBAL_SITES.items():
            if hook_name == name:
                return cls(None, site)
        known = [f"blocks.N.{hook_name}" for hook_name in BLOCK_SITES.values()] + list(GLOBAL_SITES.values())
        raise UserError(f"No hook point is called {name[:60]!r}.", f"Choose one of: {', '.join(known)}.")


def residual_points(n_layers: int) -> tuple[HookPoint, ...]:
    """The residual stream after every block, layer 0 first."""
    return tuple(HookPoint(layer, "resid_post") for layer in range(n_layers))
