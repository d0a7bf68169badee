"""What a dashboard says of a latent: its card, its row in the table of all latents, and the facts of the build."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from capture.store_labels import Label

__all__ = [
    "DashboardFacts",
    "Example",
    "ExampleGroup",
    "Histogram",
    "Label",
    "LatentCard",
    "LatentRow",
    "Neighbour",
    "TokenWeight",
]


@dataclass(frozen=True)
class DashboardFacts:
    """What a dashboard was built from, and how far it is: `n_done` of `n_tokens` tokens.

    Positions before `from_pos` are neither encoded nor counted, and `n_tokens` leaves them out. `sae` is the SAE's
    digest, `texts` the name of the text set or folder, `text_digest` that of its tokens; `made` is a time in UTC.
    `logit_rule` says how promoted tokens were found, or why there are none.
    """

    id: str
    sae: str
    sae_name: str
    d_sae: int
    model: str
    fingerprint: str
    dtype: str
    processing: str
    hook_point: str
    texts: str
    text_digest: str
    bos: bool
    n_texts: int
    n_tokens: int
    from_pos: int
    logit_rule: str
    n_done: int = 0
    made: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether all tokens were seen."""
        return self.n_done >= self.n_tokens

    @property
    def share(self) -> float:
        """How much of the text was seen, in [0, 1]."""
        return self.n_done / self.n_tokens if self.n_tokens else 1.0

    def to_json(self) -> dict[str, Any]:
        """The facts as plain JSON."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "DashboardFacts":
        """What `to_json` gave; what a newer program added is left out."""
        return cls(**{one.name: data[one.name] for one in fields(cls) if one.name in data})


@dataclass(frozen=True)
class Histogram:
    """How many firing values lie in each bin; `edges` has one more than `counts`, four to an octave (a log axis)."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Example:
    """A place where a latent fires: text number, position, value, and the tokens around it with the latent's values.

    `peak` is the place's own index in `tokens`, `texts`, `values`. Of near-identical contexts one is kept.
    """

    text: int
    pos: int
    value: float
    tokens: tuple[int, ...]
    texts: tuple[str, ...]
    values: tuple[float, ...]
    peak: int


@dataclass(frozen=True)
class ExampleGroup:
    """Examples of one kind: top, random, or a quantile range of the firing values, from `low` to `high`.

    `n_firing` says how many of the latent's firing tokens the group stands for.
    """

    kind: str
    title: str
    low: float
    high: float
    n_firing: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class TokenWeight:
    """A token and how much the latent's direction adds to its logit, per unit of value; see `logit_rule`."""

    token: int
    text: str
    weight: float


@dataclass(frozen=True)
class Neighbour:
    """Another latent, the cosine of the two decoder directions, and its newest label ("" where it has none)."""

    latent: int
    cosine: float
    label: str


@dataclass(frozen=True)
class LatentCard:
    """All that a dashboard says of one latent.

    `n_tokens` were seen when the card was written, of which it fired on `n_fired`; `density` is their ratio. Mean and
    mean square are over firing tokens; skew = mean(z³) / mean(z²)^1.5 and kurtosis = mean(z⁴) / mean(z²)², about zero,
    over firing tokens too; None for a latent that never fired. `promoted` and `suppressed` are the ten tokens whose
    logits its direction raises and lowers most, `logits` how the weights of all tokens are spread; all three are empty
    until they are worked out, a few seconds into a build, and where the facts' `logit_rule` says there are none.
    """

    facts: DashboardFacts
    latent: int
    n_tokens: int
    n_fired: int
    density: float
    max: float
    mean: float | None
    mean_square: float | None
    skew: float | None
    kurtosis: float | None
    histogram: Histogram
    groups: tuple[ExampleGroup, ...]
    promoted: tuple[TokenWeight, ...]
    suppressed: tuple[TokenWeight, ...]
    logits: Histogram
    neighbours: tuple[Neighbour, ...]
    label: Label | None

    def group(self, kind: str) -> tuple[ExampleGroup, ...]:
        """The groups of a kind: "top", "quantile" or "random"."""
        return tuple(group for group in self.groups if group.kind == kind)


@dataclass(frozen=True)
class LatentRow:
    """A latent as the table of all latents shows it; `histogram` is its sparkline.

    `fires_on` has the texts of the tokens it fires on most often among its examples, `promotes` and `suppresses` of
    those whose logits it raises and lowers most.
    """

    latent: int
    n_fired: int
    density: float
    max: float
    mean: float | None
    mean_square: float | None
    skew: float | None
    kurtosis: float | None
    histogram: Histogram
    fires_on: tuple[str, ...]
    promotes: tuple[str, ...]
    suppresses: tuple[str, ...]
    label: str
