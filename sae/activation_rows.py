"""Rows of activations for training: texts run through a session a buffer at a time, shuffled, cut into batches.

The order of texts and of rows follows from the seed alone, and a buffer can be made again from its number; so a
training that goes on after a stop sees the rows it would have seen.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.row_choice import RowChoice
from sae.token_windows import TokenWindows

SEPARATOR = "<|endoftext|>"
MAX_FILE_BYTES = 2_000_000_000


@dataclass(frozen=True)
class RowBatch:
    """A batch, and the buffer and place in it that it came from."""

    rows: Float[Tensor, "rows d"]
    buffer: int
    number: int


class ActivationRows:
    """Batches of activations at one hook point (and, for a transcoder, at a second one of the same tokens)."""

    def __init__(
        self, session: ModelSession, texts: Sequence[tuple[int, ...]], at: HookPoint, choice: RowChoice, seed: int = 0
    ) -> None:
        if not texts:
            raise UserError("There is no text to train on.", "Name a folder with .txt files.")
        self.session, self.texts, self.at, self.choice, self.seed = session, texts, at, choice, seed
        self.n_tokens = sum(map(len, texts))

    def batches(self, batch_rows: int, buffer: int = 0, number: int = 0) -> Iterator[RowBatch]:
        """Batches without end, from one batch of one buffer on; texts come again in another order each epoch.

        Rows that do not fill a batch at a buffer's end are left out. Raises UserError where a buffer has no batch.
        """
        while True:
            rows = self.buffer(buffer)
            n_batches = len(rows) // batch_rows
            if n_batches == 0:
                raise UserError(
                    f"A batch of {batch_rows:,} rows must fit into the text; it gives {len(rows):,} rows.",
                    "Add text, or make the batch smaller.",
                )
            for n in range(number, n_batches):
                yield RowBatch(rows[n * batch_rows : (n + 1) * batch_rows], buffer, n)
            buffer, number = buffer + 1, 0

    def buffer(self, index: int, progress: Callable[[float, str], None] | None = None) -> Float[Tensor, "rows d"]:
        """The shuffled rows of one buffer, in the model's number format."""
        kept: list[Tensor] = []
        first = 1 if self.choice.skip_first else 0

        def take(_: HookPoint, values: Tensor, __: Tensor, pos: Tensor) -> None:
            kept.append(values[pos >= first].cpu())

        self.session.stream(self._texts_of(index), (self.at,), take, progress=progress)
        rows = without_massive(torch.cat(kept), self.choice.massive_ratio)
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        return rows[torch.randperm(len(rows), generator=draw)]

    def _texts_of(self, index: int) -> list[tuple[int, ...]]:
        """The texts of a buffer: as many as fill it, in the shuffled order of their epoch."""
        starts = self._buffer_starts()
        epoch, within = divmod(index, len(starts) - 1)
        draw = torch.Generator().manual_seed(self.seed * 1_000_003 + 500_009 + epoch)
        order = torch.randperm(len(self.texts), generator=draw).tolist()
        return [self.texts[i] for i in order[starts[within] : starts[within + 1]]]

    def _buffer_starts(self) -> list[int]:
        """How the texts of an epoch are split; by their mean length, so that it is the same in every order."""
        per_buffer = max(1, int(self.choice.buffer_rows * len(self.texts) / self.n_tokens))
        return [*range(0, len(self.texts), per_buffer), len(self.texts)]


def without_massive(rows: Float[Tensor, "rows d"], ratio: float) -> Float[Tensor, "kept d"]:
    """The rows whose norm is at most a multiple of the median norm; all of them for a multiple of 0."""
    if not ratio:
        return rows
    norms = rows.float().norm(dim=1)
    return rows[norms <= ratio * norms.median()]


def check_point(session: ModelSession, at: HookPoint) -> None:
    """Raises UserError for a hook point that the model does not have, or that has not one vector a token."""
    shape = session.capture(session.tokens("a", bos=False), (at,))[at].shape
    if len(shape) != 2:
        raise UserError(
            f"An SAE reads one vector for each token; {at} has activations of shape {tuple(shape[1:])}.",
            "Choose another hook point, such as blocks.N.hook_resid_post.",
        )


def windows_of(session: ModelSession, folder: Path, choice: RowChoice) -> TokenWindows:
    """The texts of a folder's .txt files as windows of tokens, each led by BOS where chosen.

    Documents end at lines of `<|endoftext|>`. Files whose names say held-out or validation are left out. Raises
    UserError where there is nothing to read.
    """
    files = [path for path in sorted(folder.glob("*.txt")) if not _is_held_out(path)]
    if not files:
        raise UserError(f"The folder {folder} must hold .txt files to train on; it has none.", "Name another folder.")
    windows = TokenWindows()
    for path in files:
        windows.extend(windows_of_texts(session, documents_of(path), choice.window, choice.bos))
    return windows


def windows_of_texts(session: ModelSession, texts: Iterable[str], width: int, bos: bool) -> list[tuple[int, ...]]:
    """Texts as windows of tokens, each led by BOS where asked; windows of a single token are left out."""
    windows = [window for text in texts for window in session.windows(text, width, bos)]
    return [window for window in windows if len(window) > 1]


def _is_held_out(path: Path) -> bool:
    return path.stem.endswith((".heldout", ".valid", ".validation", ".test"))


def documents_of(path: Path) -> list[str]:
    """The documents of a text file, divided by lines of `<|endoftext|>`; raises UserError where it cannot be read."""
    if not path.is_file():
        raise UserError(f"There is no file {path.name}.", "Name a text file in UTF-8.")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(f"{path.name} has more than {MAX_FILE_BYTES / 1e9:.0f} GB.", "Split it into smaller files.")
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} cannot be read: {error}.", "Give text files in UTF-8.") from error
    return [part for part in (one.strip() for one in text.split(SEPARATOR)) if part]
