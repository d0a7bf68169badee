"""The activations that a method is fitted on, streamed: memory does not grow with the number of texts.

1. Texts become tokens, with the place where the part that the label speaks of begins.
2. The session streams them in batches; of each text the rows of the chosen positions are kept, without outliers.
3. They are added up as they come, by label here and by pair in `pair_differences`, or laid in a temporary file by
   `row_spool` where a fit reads them several times.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from capture.hook_point import HookPoint
from capture.option import Option, OptionValue
from capture.session import ModelSession
from steering.contrast_pairs import Contrast, Example

Take = Callable[[HookPoint, Float[Tensor, "rows d"], Int[Tensor, "rows"]], None]
Progress = Callable[[float, str], None]

POSITIONS = Option(
    "positions",
    "Positions",
    "Which tokens count: the last one, every token, each text's mean over its tokens, or the answer's first token.",
    "last",
    choices=("last", "all", "mean", "answer"),
)
SKIP_FIRST = Option(
    "skip_first", "Leave out position 0", "Of every token or the mean; it is often a sink with a huge activation.", True
)
MASSIVE_RATIO = Option(
    "massive_ratio",
    "Massive above",
    "Leave out rows whose norm is above this multiple of their text's median norm; 0 leaves none out.",
    0.0,
    minimum=0.0,
    maximum=10_000.0,
    unit="× median",
)
BOS = Option("bos", "BOS", "Begin each text with the BOS token.", True)


def row_options(positions: str) -> tuple[Option, ...]:
    """The options that say which rows a method is fitted on, with its paper's positions as the default."""
    own = Option(POSITIONS.name, POSITIONS.label, POSITIONS.help, positions, choices=POSITIONS.choices)
    return (own, SKIP_FIRST, MASSIVE_RATIO, BOS)


@dataclass(frozen=True)
class RowsAsked:
    """Which rows of a text are wanted."""

    positions: str = "last"
    skip_first: bool = True
    massive_ratio: float = 0.0
    bos: bool = True

    @classmethod
    def of(cls, options: Mapping[str, OptionValue]) -> "RowsAsked":
        """What a method's options ask for."""
        return cls(
            str(options["positions"]),
            bool(options["skip_first"]),
            float(options["massive_ratio"]),
            bool(options["bos"]),
        )


@dataclass(frozen=True)
class FitText:
    """A text as tokens; the part that its label speaks of begins at `start`."""

    tokens: tuple[int, ...]
    start: int


def fit_text(session: ModelSession, example: Example, bos: bool) -> FitText:
    """The tokens of an example; BOS counts as its prompt, and a token that straddles prompt and text as text."""
    tokens = session.tokens(example.prompt + example.text, bos)
    if not example.prompt:
        return FitText(tokens, min(int(bos), len(tokens) - 1))
    alone = session.tokens(example.prompt, bos)
    n_same = next((i for i, (a, b) in enumerate(zip(alone, tokens, strict=False)) if a != b), len(alone))
    return FitText(tokens, min(n_same, len(tokens) - 1))


def fit_texts(session: ModelSession, contrast: Contrast, bos: bool) -> list[FitText]:
    """The tokens of every example, in order."""
    return [fit_text(session, one, bos) for one in contrast.examples]


def stream_rows(
    session: ModelSession,
    texts: Sequence[FitText],
    at: Sequence[HookPoint],
    asked: RowsAsked,
    take: Take,
    progress: Progress | None = None,
) -> None:
    """Give the chosen rows of every text, float32 on the CPU, to `take(point, rows, text_index)` as they arise.

    Heads lie beside each other in a row. A text whose chosen tokens are all left out gives no row.
    """
    starts = torch.tensor([text.start for text in texts])
    lengths = torch.tensor([len(text.tokens) for text in texts])

    def update(point: HookPoint, values: Tensor, text_index: Tensor, pos: Tensor) -> None:
        rows = values.flatten(1).float().cpu()
        take(point, *_chosen(rows, text_index.cpu(), pos.cpu(), starts, lengths, asked))

    session.stream([text.tokens for text in texts], at, update, progress=progress)


def _chosen(
    rows: Float[Tensor, "n d"], text: Tensor, pos: Tensor, starts: Tensor, lengths: Tensor, asked: RowsAsked
) -> tuple[Float[Tensor, "rows d"], Int[Tensor, "rows"]]:
    kept = pos >= starts[text]
    if asked.skip_first and asked.positions in ("all", "mean"):
        kept &= (pos > 0) | (lengths[text] == 1)
    if asked.massive_ratio:
        kept &= ~_is_massive(rows, text, asked.massive_ratio)
    if asked.positions == "last":
        kept &= pos == lengths[text] - 1
    elif asked.positions == "answer":
        kept &= pos == starts[text]
    rows, text = rows[kept], text[kept]
    return _means_by_text(rows, text) if asked.positions == "mean" else (rows, text)


def _is_massive(rows: Float[Tensor, "n d"], text: Tensor, ratio: float) -> Tensor:
    """Rows whose norm is above a multiple of their text's median norm."""
    norms, limit = rows.norm(dim=1), torch.empty(len(rows))
    for one in text.unique():
        limit[text == one] = ratio * norms[text == one].median()
    return norms > limit


def _means_by_text(rows: Float[Tensor, "n d"], text: Tensor) -> tuple[Float[Tensor, "texts d"], Tensor]:
    found, place = text.unique(return_inverse=True)
    sums = torch.zeros(len(found), rows.shape[1], dtype=torch.float64).index_add_(0, place, rows.double())
    return (sums / torch.bincount(place, minlength=len(found))[:, None]).float(), found


@dataclass
class ClassSums:
    """Sums over the rows of each label at one hook point, in float64, from which means and norms follow."""

    total: Float[Tensor, "labels d"]
    n: Float[Tensor, "labels"]
    norm: float = 0.0

    def mean(self, label: int) -> Float[Tensor, "d"]:
        """Mean row of a label, float64."""
        return self.total[label] / self.n[label].clamp(min=1)

    @property
    def mean_norm(self) -> float:
        """Mean length of a row of any label."""
        return self.norm / max(1.0, float(self.n.sum()))


def class_sums(
    session: ModelSession,
    contrast: Contrast,
    at: Sequence[HookPoint],
    asked: RowsAsked,
    progress: Progress | None = None,
) -> dict[HookPoint, ClassSums]:
    """Sums of the chosen rows by label at every hook point, from one run over the texts."""
    label_of = labels_of(contrast)
    sums: dict[HookPoint, ClassSums] = {}
    n_labels = len(contrast.labels)

    def take(point: HookPoint, rows: Tensor, text: Tensor) -> None:
        if point not in sums:
            sums[point] = ClassSums(
                torch.zeros(n_labels, rows.shape[1], dtype=torch.float64), torch.zeros(n_labels, dtype=torch.float64)
            )
        one, label = sums[point], label_of[text]
        one.total.index_add_(0, label, rows.double())
        one.n += torch.bincount(label, minlength=n_labels)
        one.norm += float(rows.norm(dim=1).double().sum())

    stream_rows(session, fit_texts(session, contrast, asked.bos), at, asked, take, progress)
    return sums


def labels_of(contrast: Contrast) -> Int[Tensor, "examples"]:
    """The place of each example's label among the labels."""
    return torch.tensor([contrast.labels.index(one.label) for one in contrast.examples])
