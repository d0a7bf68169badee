"""Facts: what an SAE is, without its weights; nothing heavy is imported, so that a list of SAEs is there at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KINDS = ("topk", "group_topk", "batch_topk", "jumprelu", "relu", "gated")


@dataclass(frozen=True)
class Facts:
    """What an SAE is. `hook_point` is where it reads, `hook_point_out` where it writes ("" for the same).

    `group_sizes` are the nested prefixes of a Matryoshka dictionary. `subtracts_b_dec` says whether b_dec is taken from
    the input. `provenance` is free: format, source, model, training data, step.
    """

    kind: str
    d_in: int
    d_sae: int
    k: int | None = None
    hook_point: str = ""
    hook_point_out: str = ""
    normalisation: str = "none"
    norm_constant: float = 1.0
    subtracts_b_dec: bool = True
    group_sizes: tuple[int, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_transcoder(self) -> bool:
        """Whether it predicts another activation than the one it reads."""
        return self.hook_point_out not in ("", self.hook_point)
