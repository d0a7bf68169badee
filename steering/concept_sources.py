"""Concept sets from what a person has: a folder of texts, a labelled file, or AxBench's data.

1. A folder with a plan: the sentences that a concept's rule holds for are its positives, each after the sentence
   before it; negatives are sentences of the same text for which it does not hold.
2. A folder without a plan: every file, or every folder in it, is a concept, and its paragraphs are the texts.
3. A labelled file: every label is a concept.
4. AxBench (Wu et al. 2025, arXiv 2501.17148): rows with `input`, `output`, `output_concept`, `concept_genre`,
   `category`; a concept's negatives are those of its genre, which all its concepts share, and its hard negatives.

Each positive is matched with the negative that is nearest to it in length and not yet taken. Some concepts are held
out, by the digest of their name.
"""

import hashlib
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from capture.errors import UserError
from sae.labelled_texts import LabelledTexts
from steering.concept_making import Plan
from steering.concepts import Concept, ConceptSet, Example, concept_set
from steering.contrast_pairs import MAX_FILE_BYTES

MAX_LINE_BYTES = 1_000_000
MIN_POSITIVES = 8
MOST_POSITIVES = 72
"""AxBench's number of positives of a concept."""
SENTENCE = re.compile(r"[^.!?\n]*[.!?]+[\"'”’)]*\s*|[^.!?\n]+\n*")
PARAGRAPH = re.compile(r"\n\s*\n")


def concepts_of_labels(given: LabelledTexts, share_held_out: float = 0.2) -> ConceptSet:
    """Every label as a concept; its negatives are texts of the other labels."""
    found = []
    for label in dict.fromkeys(given.labels):
        both = [(Example("", text), own == label) for text, own in zip(given.texts, given.labels, strict=True)]
        found.append(
            _matched(label, [one for one, is_own in both if is_own], [one for one, is_own in both if not is_own])
        )
    return _set(given.name, found, share_held_out)


def concepts_of_folder(folder: Path, plan: Plan | None = None, share_held_out: float = 0.2) -> ConceptSet:
    """The concepts of a folder of .txt files, by the rules of a plan or one for each file or folder in it."""
    files = sorted(folder.rglob("*.txt")) if folder.is_dir() else []
    if not files:
        raise UserError(f"{folder} must be a folder with .txt files; it has none.", "Name a folder with text.")
    texts = {path: _text(path) for path in files}
    if plan is not None:
        sentences = [list(_sentences(text)) for text in texts.values()]
        return _set(plan.title, [_ruled(one, sentences) for one in plan.concepts], None)
    by_name: dict[str, list[Example]] = {}
    for path, text in texts.items():
        name = path.relative_to(folder).parts[0].removesuffix(".txt").replace("_", " ")
        by_name.setdefault(name, []).extend(Example("", one.strip()) for one in PARAGRAPH.split(text) if one.strip())
    found = [
        _matched(name, own, [one for other, some in by_name.items() if other != name for one in some])
        for name, own in by_name.items()
    ]
    return _set(folder.name, found, share_held_out)


def _text(path: Path) -> str:
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(f"{path.name} has more than {MAX_FILE_BYTES:,} bytes.", "Divide it.")
    try:
        return path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} cannot be read: {error}.", "Give text files in UTF-8.") from error


def _sentences(text: str) -> Iterator[Example]:
    """Each sentence after the one before it."""
    before = ""
    for match in SENTENCE.finditer(text):
        sentence = match.group()
        if len(sentence.split()) > 2:
            if before:
                # What parts two sentences belongs to the second one, as a model would write it.
                space = before[len(before.rstrip()) :]
                yield Example(before.rstrip(), space + sentence.rstrip())
            before = sentence


def _ruled(concept: Concept, texts: Sequence[Sequence[Example]]) -> Concept:
    rule = concept.rule
    assert rule is not None
    positives: list[Example] = []
    negatives: list[Example] = []
    for sentences in texts:
        shown = [one for one in sentences if rule.holds(one.text)]
        positives += shown
        # Only texts that show it lend their other sentences: the negatives are of like matter otherwise.
        negatives += [one for one in sentences if not rule.holds(one.text)] if shown else []
    return _matched(concept.name, positives, negatives, concept)


def concepts_of_axbench(path: Path, share_held_out: float = 0.2) -> ConceptSet:
    """The concepts of AxBench's train or evaluation data, .parquet or .jsonl."""
    rows = list(_axbench_rows(path))
    positives: dict[str, list[Example]] = {}
    hard: dict[str, list[Example]] = {}
    shared: dict[str, list[Example]] = {}
    genre_of: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        one = Example(_cell(row, "input", number), _cell(row, "output", number))
        name, category = _cell(row, "output_concept", number), _cell(row, "category", number)
        if not one.text.strip():
            continue
        if category == "positive":
            positives.setdefault(name, []).append(one)
            genre_of[name] = _cell(row, "concept_genre", number)
        elif category.startswith("hard"):
            hard.setdefault(name, []).append(one)
        else:
            shared.setdefault(_cell(row, "concept_genre", number), []).append(one)
    found = [
        _matched(name, some, [*hard.get(name, []), *shared.get(genre_of[name], [])], group=genre_of[name])
        for name, some in positives.items()
    ]
    return _set(path.stem, found, share_held_out)


def is_axbench(path: Path) -> bool:
    """Whether a file looks like AxBench's data: parquet, or JSON lines of which the first names an output's concept."""
    if path.suffix != ".jsonl" or not path.is_file():
        return path.suffix == ".parquet"
    with path.open("rb") as file:
        return b'"output_concept"' in file.readline(MAX_LINE_BYTES)


def _axbench_rows(path: Path) -> Iterable[Mapping[str, Any]]:
    if path.suffix not in (".parquet", ".jsonl") or not path.is_file():
        raise UserError(
            f"AxBench's data is a .parquet or .jsonl file; {path.name} is none.", "Name train_data.parquet."
        )
    if path.stat().st_size > MAX_FILE_BYTES:
        raise UserError(f"{path.name} has more than {MAX_FILE_BYTES:,} bytes.", "Give a part of it.")
    import pyarrow
    import pyarrow.parquet

    try:
        if path.suffix == ".parquet":
            return list(pyarrow.parquet.read_table(path).to_pylist())
        return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UserError(f"{path.name} cannot be read: {str(error)[:160]}.", "Get the file again.") from error


def _cell(row: Any, name: str, number: int) -> str:
    value = row.get(name) if isinstance(row, Mapping) else None
    if not isinstance(value, str):
        raise UserError(
            f"Row {number:,} must have a text called {name!r}; it has {str(value)[:40]!r}.",
            "AxBench's rows have input, output, output_concept, concept_genre and category.",
        )
    return value


def _matched(
    name: str, positives: Sequence[Example], negatives: Sequence[Example], given: Concept | None = None, group: str = ""
) -> Concept:
    """The concept with as many negatives as positives, those nearest in length; texts of both classes are left out."""
    both = {one.text for one in positives} & {one.text for one in negatives}
    wanted = [one for one in dict.fromkeys(positives) if one.text not in both][:MOST_POSITIVES]
    pool = sorted((one for one in dict.fromkeys(negatives) if one.text not in both), key=lambda one: len(one.text))
    lengths = [len(one.text) for one in pool]
    chosen: list[Example] = []
    for one in wanted[: len(pool)]:
        place = bisect_left(lengths, len(one.text))
        near = [at for at in (place - 1, place) if 0 <= at < len(pool)]
        best = min(near, key=lambda at: (abs(lengths[at] - len(one.text)), at))
        chosen.append(pool.pop(best))
        lengths.pop(best)
    base = given or Concept(name, (), (), group)
    return replace(base, positives=tuple(wanted[: len(chosen)]), negatives=tuple(chosen))


def _set(title: str, found: Sequence[Concept], share_held_out: float | None) -> ConceptSet:
    """Those with enough texts; `share_held_out` None leaves what is held out as it is."""
    kept = [one for one in found if len(one.positives) >= MIN_POSITIVES]
    if not kept:
        most = max((len(one.positives) for one in found), default=0)
        raise UserError(
            f"A concept needs {MIN_POSITIVES} texts that show it and as many others; the most of {title!r} is {most}.",
            "Give more texts, or divide them into paragraphs by empty lines.",
        )
    if share_held_out is not None:
        kept = [replace(one, is_held_out=_lot(one.name) < share_held_out) for one in kept]
    left_out = [one.name for one in found if len(one.positives) < MIN_POSITIVES]
    return concept_set(title, kept, {"left_out": left_out})


def _lot(name: str) -> float:
    """A number in [0, 1) from the digest of a name."""
    return int(hashlib.sha256(name.encode()).hexdigest()[:12], 16) / 16**12
