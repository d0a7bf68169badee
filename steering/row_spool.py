"""Rows in temporary files, for fits that read them several times; memory does not grow with their number."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO

import torch
from jaxtyping import Float, Int
from torch import Tensor

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.contrast_pairs import Contrast
from steering.fit_rows import Progress, RowsAsked, fit_texts, labels_of, stream_rows


@dataclass
class RowSpool:
    """Rows of one hook point in a temporary file, with their labels: a fit reads them as often as it likes."""

    file: IO[bytes] | BytesIO
    width: int = 0
    labels: list[Int[Tensor, "rows"]] = field(default_factory=list)
    texts: list[Int[Tensor, "rows"]] = field(default_factory=list)
    norm: float = 0.0

    @property
    def n_rows(self) -> int:
        return sum(map(len, self.labels))

    @property
    def mean_norm(self) -> float:
        """Mean length of a row."""
        return self.norm / max(1, self.n_rows)

    def batches(self, n_rows: int = 4096) -> Iterator[tuple[Float[Tensor, "rows d"], Int[Tensor, "rows"]]]:
        """Rows and their labels, in the order in which they came."""
        labels = torch.cat(self.labels)
        self.file.seek(0)
        for start in range(0, len(labels), n_rows):
            some = labels[start : start + n_rows]
            data = bytearray(self.file.read(len(some) * self.width * 4))
            yield torch.frombuffer(data, dtype=torch.float32).view(len(some), self.width), some


@contextmanager
def spooled(
    session: ModelSession,
    contrast: Contrast,
    at: Sequence[HookPoint],
    asked: RowsAsked,
    progress: Progress | None = None,
) -> Iterator[dict[HookPoint, RowSpool]]:
    """The chosen rows at every hook point in temporary files, which are gone afterwards; one run over the texts."""
    with ExitStack() as files:
        spools = {point: RowSpool(files.enter_context(tempfile.TemporaryFile())) for point in at}
        _fill(spools, session, contrast, asked, progress)
        yield spools


def _fill(
    spools: Mapping[HookPoint, RowSpool],
    session: ModelSession,
    contrast: Contrast,
    asked: RowsAsked,
    progress: Progress | None,
) -> None:
    label_of = labels_of(contrast)

    def take(point: HookPoint, rows: Tensor, text: Tensor) -> None:
        one = spools[point]
        one.width = rows.shape[1]
        one.file.write(rows.contiguous().numpy().tobytes())
        one.labels.append(label_of[text])
        one.texts.append(text)
        one.norm += float(rows.norm(dim=1).double().sum())

    stream_rows(session, fit_texts(session, contrast, asked.bos), tuple(spools), asked, take, progress)
