"""Texts that a steering method is fitted on: contrast pairs, labelled texts, or a single pair; read from a file.

Our own layout is JSON: `title`, `labels` (the wanted one first), and either `pairs`, each with `positive`, `negative`
and perhaps a `prompt` before both, or `texts`, each with `text`, `label` and perhaps a `prompt`. CSV and JSON lines
have the same names as columns and keys.
"""

import csv
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capture.errors import UserError

MAX_FILE_BYTES = 64_000_000
MAX_TEXT_CHARS = 64_000
POSITIVE, NEGATIVE = "positive", "negative"
LAYOUTS = (".json", ".jsonl", ".csv")
FOLDER = Path(__file__).resolve().parent.parent / "data" / "pairs"


@dataclass(frozen=True)
class Example:
    """One text and its label; `prompt` stands before the text and is not what the label speaks of."""

    text: str
    label: str
    prompt: str = ""


@dataclass(frozen=True)
class Contrast:
    """Examples of two or more labels, the wanted one first; where paired, examples 2i and 2i + 1 are pair i.

    Made by `contrast_of`, which checks what a fit relies on.
    """

    title: str
    labels: tuple[str, ...]
    examples: tuple[Example, ...]
    is_paired: bool

    @property
    def pairs(self) -> tuple[tuple[Example, Example], ...]:
        """(positive, negative) of each pair; refuses texts that are not paired."""
        if not self.is_paired:
            raise UserError(
                f"The two texts of a pair are compared; {self.title!r} has {len(self.examples):,} single texts.",
                f"Give pairs: a file with the columns {POSITIVE} and {NEGATIVE}.",
            )
        return tuple(zip(self.examples[::2], self.examples[1::2], strict=True))

    def digest(self) -> str:
        """Digest of all texts, labels and their order."""
        content = [self.labels, self.is_paired, [(one.prompt, one.text, one.label) for one in self.examples]]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:20]

    def part(self, wanted: Sequence[int]) -> "Contrast":
        """The chosen pairs, or the chosen examples where they are not paired; checked as a whole set is."""
        chosen = [(2 * i, 2 * i + 1) if self.is_paired else (i,) for i in wanted]
        examples = tuple(self.examples[i] for group in chosen for i in group)
        return contrast_of(self.title, self.labels, examples, self.is_paired)

    def halves(self) -> tuple["Contrast", "Contrast"]:
        """Every second pair, and the others; of single texts every second one of each label.

        Raises UserError where a half would lack a label.
        """
        if self.is_paired:
            n = len(self.examples) // 2
            return self.part(range(0, n, 2)), self.part(range(1, n, 2))
        places = {label: [i for i, one in enumerate(self.examples) if one.label == label] for label in self.labels}
        first = sorted(i for one in places.values() for i in one[::2])
        return self.part(first), self.part(sorted(set(range(len(self.examples))) - set(first)))


def contrast_of(title: str, labels: Sequence[str], examples: Sequence[Example], is_paired: bool) -> Contrast:
    """The checked set; raises UserError for texts of one class only, equal pairs, empty and overlong texts."""
    if not examples:
        raise UserError(f"{title!r} must have at least one text of each label; it has none.", "Write some pairs.")
    for number, one in enumerate(examples, 1):
        _check_example(number, one, labels)
    used = [label for label in labels if any(one.label == label for one in examples)]
    if len(used) < 2:
        raise UserError(
            f"Texts of at least two labels are needed; all {len(examples):,} are {examples[0].label!r}.",
            "Add texts of the other label.",
        )
    if is_paired:
        _check_pairs(examples)
    return Contrast(title, tuple(used), tuple(examples), is_paired)


def _check_example(number: int, one: Example, labels: Sequence[str]) -> None:
    if not one.text.strip():
        raise UserError(f"Text {number:,} must have at least one character; it is empty.", "Write it, or remove it.")
    if (n_chars := len(one.text) + len(one.prompt)) > MAX_TEXT_CHARS:
        raise UserError(f"Text {number:,} has {n_chars:,} characters; {MAX_TEXT_CHARS:,} is the most.", "Shorten it.")
    if one.label not in labels:
        raise UserError(f"Text {number:,} has the label {one.label!r}.", f"Choose one of: {', '.join(labels)}.")


def _check_pairs(examples: Sequence[Example]) -> None:
    pairs = list(zip(examples[::2], examples[1::2], strict=True))
    same = [n for n, (first, second) in enumerate(pairs, 1) if first.text.strip() == second.text.strip()]
    if same:
        raise UserError(
            f"The two texts of a pair must differ; those of pair {same[0]:,} are the same"
            f"{f', and of {len(same) - 1:,} more' if len(same) > 1 else ''}.",
            "Change one of them, or remove the pair.",
        )


def single_pair(positive: str, negative: str, prompt: str = "") -> Contrast:
    """A set of one pair."""
    examples = (Example(positive, POSITIVE, prompt), Example(negative, NEGATIVE, prompt))
    return contrast_of("one pair", (POSITIVE, NEGATIVE), examples, is_paired=True)


def bundled_sets() -> dict[str, Path]:
    """The contrast sets that come with the program, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.json"))}


def read_contrast(path: Path) -> Contrast:
    """The contrast set in a .json, .jsonl or .csv file, or of a bundled name; raises UserError for what is none."""
    if not path.suffix and str(path) in bundled_sets():
        path = bundled_sets()[str(path)]
    return contrast_of_text(path.name, _text_of(path))


def contrast_of_text(name: str, text: str) -> Contrast:
    """The contrast set in the text of a file; the ending of its name says how it is laid out. Raises as above."""
    stem, suffix = Path(name).stem, Path(name).suffix
    try:
        if suffix == ".json":
            return _contrast_of_json(json.loads(text), stem)
        if suffix == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = list(csv.DictReader(io.StringIO(text)))
    except (ValueError, RecursionError, csv.Error) as error:
        raise UserError(f"{name} cannot be read: {str(error)[:160]}.", "Write it anew as JSON or CSV.") from error
    return _contrast_of_rows(stem, rows, None)


def contrast_of_lines(text: str, title: str = "pasted pairs") -> Contrast:
    """Pairs that a person typed, one a line, the wanted text first and a | between; refuses any other line."""
    examples = []
    for number, line in enumerate((line for line in text.splitlines() if line.strip()), 1):
        parts = [part.strip() for part in line.split("|")]
        if len(parts) != 2 or not all(parts):
            raise UserError(
                f"Each line has the wanted text, a | and the other text; line {number} is {line.strip()[:60]!r}.",
                "Write, for example: She smiled. | She cried.",
            )
        examples += [Example(parts[0], POSITIVE), Example(parts[1], NEGATIVE)]
    return contrast_of(title, (POSITIVE, NEGATIVE), examples, is_paired=True)


def _text_of(path: Path) -> str:
    if path.suffix not in LAYOUTS:
        raise UserError(
            f"{path.name} is neither a bundled set nor a file of pairs.",
            f"Bundled are {', '.join(bundled_sets())}; files end in {', '.join(LAYOUTS)}.",
        )
    if not path.is_file():
        raise UserError(f"There is no file {path.name}.", "Name a file of pairs or labelled texts.")
    if (n_bytes := path.stat().st_size) > MAX_FILE_BYTES:
        raise UserError(f"{path.name} has {n_bytes:,} bytes; {MAX_FILE_BYTES:,} is the most.", "Give fewer texts.")
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} cannot be read: {error}.", "Give a text file in UTF-8.") from error


def _contrast_of_json(data: Any, stem: str) -> Contrast:
    if isinstance(data, list):
        return _contrast_of_rows(stem, data, None)
    rows = data.get("pairs", data.get("texts")) if isinstance(data, dict) else None
    if not isinstance(rows, list):
        raise UserError(f"{stem}.json must have a list of pairs or of texts; it has none.", "Call it pairs or texts.")
    labels = data.get("labels")
    if labels is not None and not (isinstance(labels, list) and all(isinstance(one, str) for one in labels)):
        raise UserError(f"The labels must be a list of words; {str(labels)[:60]!r} was given.", "Leave them out.")
    return _contrast_of_rows(str(data.get("title", stem)), rows, labels)


def _contrast_of_rows(title: str, rows: Sequence[Any], labels: Sequence[str] | None) -> Contrast:
    """Rows with `positive` and `negative` are pairs; rows with `text` and `label` are labelled texts."""
    if rows and all(isinstance(row, Mapping) and POSITIVE in row for row in rows):
        names = tuple(labels) if labels else (POSITIVE, NEGATIVE)
        if len(names) != 2:
            raise UserError(f"A pair has two labels; {len(names)} were given.", "Give the wanted one and the other.")
        examples = [
            Example(_word(row, key, number), name, _word(row, "prompt", number, ""))
            for number, row in enumerate(rows, 1)
            for key, name in zip((POSITIVE, NEGATIVE), names, strict=True)
        ]
        return contrast_of(title, names, examples, is_paired=True)
    examples = [
        Example(_word(row, "text", number), _word(row, "label", number), _word(row, "prompt", number, ""))
        for number, row in enumerate(rows, 1)
    ]
    found = tuple(labels) if labels else tuple(dict.fromkeys(one.label for one in examples))
    return contrast_of(title, found, examples, is_paired=False)


def _word(row: Any, key: str, number: int, default: str | None = None) -> str:
    value = row.get(key, default) if isinstance(row, Mapping) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = str(value)
    if value is None and default is not None:
        value = default
    if not isinstance(value, str):
        raise UserError(
            f"Row {number:,} must have a text called {key!r}; {_received(row, key)}.",
            f"Pairs have {POSITIVE} and {NEGATIVE}; labelled texts have text and label.",
        )
    return value


def _received(row: Any, key: str) -> str:
    if isinstance(row, Mapping) and key not in row:
        return f"it has {', '.join(repr(str(name)[:20]) for name in list(row)[:8]) or 'nothing'}"
    given = row[key] if isinstance(row, Mapping) else row
    return f"it has {str(given)[:40]!r}"
