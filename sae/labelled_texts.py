"""Labelled texts: sentences with one label each, and the yes-or-no tasks in them, which a probe is asked to learn."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from capture.errors import UserError

LABELS_FOLDER = Path(__file__).parent.parent / "data" / "labels"
MAX_FILE_BYTES = 100_000_000
MAX_LABELS = 100
MIN_TEXTS = 4
"""Texts of each label: two to learn from, two to be asked about."""
_DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


@dataclass(frozen=True)
class LabelledTexts:
    """Texts, and the label of each."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """One yes-or-no question: which texts take part, and which of them are of the label."""

    label: str
    rows: np.ndarray
    is_positive: np.ndarray


def labelled_sets() -> tuple[str, ...]:
    """Names of the labelled sets that ship, sorted."""
    return tuple(sorted(path.stem for path in LABELS_FOLDER.glob("*.csv")))


def read_labelled(named: str | Path) -> LabelledTexts:
    """A shipped set by its name, or a CSV, TSV or JSON-lines file with `text` and `label`.

    A TSV without a head line has the text first and the label last, as UCI's sentences have. Raises UserError for a
    file that cannot be read, for fewer than two labels, and for a label of fewer than four texts.
    """
    path = LABELS_FOLDER / f"{named}.csv" if str(named) in labelled_sets() else Path(named).expanduser()
    if not path.is_file():
        raise UserError(
            f"There is no file {path.name[:80]}, nor a labelled set of that name.",
            f"Name a CSV, TSV or JSON-lines file with text and label, or one of: {', '.join(labelled_sets())}.",
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(f"{path.name} has more than {MAX_FILE_BYTES / 1e6:.0f} MB.", "Give a part of it.")
    try:
        pairs = [(text.strip(), label.strip()) for text, label in _pairs(path)]
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise UserError(
            f"{path.name} cannot be read as labelled texts: {str(error)[:120] or 'it is empty'}.",
            "Each line must have a text and a label: CSV or TSV with the head line text,label, or JSON lines.",
        ) from error
    kept = [pair for pair in pairs if all(pair)]
    found = LabelledTexts(path.stem, tuple(text for text, _ in kept), tuple(label for _, label in kept))
    _check(found)
    return found


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    if path.suffix not in _DELIMITERS:
        for line in path.read_text("utf-8").splitlines():
            if line.strip():
                row = json.loads(line)
                yield row["text"], str(row["label"])
        return
    delimiter = _DELIMITERS[path.suffix]
    with path.open(encoding="utf-8", newline="") as file:
        # A quotation mark is a letter like any other in a file divided by tabs.
        is_csv = delimiter == ","
        lines = csv.reader(file) if is_csv else csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
        rows = [row for row in lines if row]
    head = [cell.strip().lower() for cell in rows[0]] if rows else []
    if {"text", "label"} <= set(head):
        places, body = (head.index("text"), head.index("label")), rows[1:]
    elif not is_csv:
        places, body = (0, -1), rows
    else:
        raise ValueError("its first line does not name text and label")
    for row in body:
        if len(row) < 2:
            raise ValueError(f"a line has {len(row)} column: {row[0][:40]!r}")
        yield row[places[0]], row[places[1]]


def _check(found: LabelledTexts) -> None:
    counts = {label: found.labels.count(label) for label in dict.fromkeys(found.labels)}
    if not 2 <= len(counts) <= MAX_LABELS:
        raise UserError(
            f"Labelled texts must have 2 to {MAX_LABELS} labels; {found.name} has {len(counts):,}.",
            "Give texts of at least two kinds.",
        )
    label, n = min(counts.items(), key=lambda item: item[1])
    if n < MIN_TEXTS:
        raise UserError(
            f"Each label must have at least {MIN_TEXTS} texts; {label[:40]!r} has {n} in {found.name}.",
            "Add texts of that label, or leave it out.",
        )


def tasks_of(found: LabelledTexts, seed: int = 0) -> tuple[Task, ...]:
    """One task for two labels; for more, one a label, against as many texts drawn from the others."""
    labels = np.array(found.labels)
    names = list(dict.fromkeys(found.labels))
    if len(names) == 2:
        return (Task(names[1], np.arange(len(labels)), labels == names[1]),)
    draw = np.random.default_rng(seed)
    tasks = []
    for name in names:
        own, others = np.flatnonzero(labels == name), np.flatnonzero(labels != name)
        drawn = draw.choice(others, size=min(len(own), len(others)), replace=False)
        rows = np.sort(np.concatenate([own, drawn]))
        tasks.append(Task(name, rows, labels[rows] == name))
    return tuple(tasks)
