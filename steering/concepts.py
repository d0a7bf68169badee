"""Concepts: what a text can be steered towards, with texts that show it and matched ones that do not.

Our own layout is JSON with `title`, `examples` and `concepts`. A concept has a `name`, `positives` and `negatives`, and
may have a `group`, `is_held_out`, `sentences` (ways to ask for it), a `beginning` that leads a model to it, a `rule`.
An entry of positives or negatives is the place of an example in `examples`, an object with `prompt` and `text`, or a
text alone; an entry of `examples` is the list of prompt and text, or such an object.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.written_file import replace_file
from steering.concept_rule import Rule
from steering.contrast_pairs import MAX_FILE_BYTES, MAX_TEXT_CHARS, NEGATIVE, POSITIVE, Contrast, contrast_of
from steering.contrast_pairs import Example as LabelledExample

SCHEMA_VERSION = 1
MAX_SENTENCE_CHARS = 1_000
MAX_CONCEPTS = 20_000
EVALUATION_SHARE = 3
"""Every third prompt, by its digest, is kept for evaluation."""
FOLDER = Path(__file__).resolve().parent.parent / "data" / "concepts"


@dataclass(frozen=True)
class Example:
    """A continuation and the prompt that it follows, which may be empty."""

    prompt: str
    text: str

    @cached_property
    def lot(self) -> int:
        """A number from the digest of the prompt, or of the text where there is none: equal prompts, equal lots."""
        return int(hashlib.sha256((self.prompt or self.text).encode()).hexdigest()[:12], 16)

    @property
    def is_for_evaluation(self) -> bool:
        """Whether it is kept from every fit."""
        return self.lot % EVALUATION_SHARE == 0


@dataclass(frozen=True)
class Concept:
    """A name, texts that show it (positives) and matched texts that do not (negatives).

    `is_held_out`: no hypernetwork may learn from its texts. `sentences` are ways to ask for it, the usual one first;
    without any, the name is the sentence. With `rule`, a new text can be judged too.
    """

    name: str
    positives: tuple[Example, ...]
    negatives: tuple[Example, ...]
    group: str = ""
    is_held_out: bool = False
    sentences: tuple[str, ...] = ()
    beginning: str = ""
    rule: Rule | None = None

    @property
    def asked(self) -> tuple[str, ...]:
        """Ways to ask for it, at least one, the usual one first."""
        return self.sentences or (self.name,)

    @property
    def training(self) -> "Concept":
        """The same concept with the examples that a fit may see."""
        return self._part(False)

    @property
    def evaluation(self) -> "Concept":
        """The same concept with the examples that no fit may see; no prompt is in both parts."""
        return self._part(True)

    def _part(self, is_for_evaluation: bool) -> "Concept":
        return self.where(lambda one: one.is_for_evaluation == is_for_evaluation)

    def where(self, wanted: Callable[[Example], bool]) -> "Concept":
        """The same concept with the examples for which `wanted(example)` holds."""
        positives, negatives = (tuple(filter(wanted, some)) for some in (self.positives, self.negatives))
        return replace(self, positives=positives, negatives=negatives)

    def contrast(self) -> Contrast:
        """Its texts as a steering method is fitted on them; raises UserError where one class has none."""
        examples = [
            LabelledExample(one.text, label, one.prompt)
            for label, some in ((POSITIVE, self.positives), (NEGATIVE, self.negatives))
            for one in some
        ]
        return contrast_of(self.name, (POSITIVE, NEGATIVE), examples, is_paired=False)


@dataclass(frozen=True)
class ConceptSet:
    """Concepts of different names; made by `concept_set`, which checks what a fit relies on."""

    title: str
    concepts: tuple[Concept, ...]
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def held_in(self) -> tuple[Concept, ...]:
        """Concepts that a hypernetwork may learn from."""
        return tuple(one for one in self.concepts if not one.is_held_out)

    @property
    def held_out(self) -> tuple[Concept, ...]:
        """Concepts that it may not."""
        return tuple(one for one in self.concepts if one.is_held_out)

    def named(self, name: str) -> Concept:
        """The concept of a name; raises UserError for an unknown one."""
        found = {one.name: one for one in self.concepts}
        if name not in found:
            raise UserError(
                f"No concept of {self.title!r} is called {name[:60]!r}.",
                f"It has {len(found):,}, such as {', '.join(list(found)[:5])}.",
            )
        return found[name]

    def digest(self) -> str:
        """Digest of all concepts, their texts and their order."""
        return hashlib.sha256(json.dumps(self.to_json()["concepts"], ensure_ascii=False).encode()).hexdigest()[:20]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; every example once."""
        places: dict[Example, int] = {}
        for concept in self.concepts:
            for one in (*concept.positives, *concept.negatives):
                places.setdefault(one, len(places))
        return {
            "schema_version": SCHEMA_VERSION,
            "title": self.title,
            "made": dict(self.made),
            "concepts": [_concept_json(one, places) for one in self.concepts],
            "examples": [[one.prompt, one.text] for one in places],
        }


def _concept_json(concept: Concept, places: Mapping[Example, int]) -> dict[str, Any]:
    return {
        "name": concept.name,
        "group": concept.group,
        "is_held_out": concept.is_held_out,
        "sentences": list(concept.sentences),
        "beginning": concept.beginning,
        "rule": None if concept.rule is None else concept.rule.to_json(),
        "positives": [places[one] for one in concept.positives],
        "negatives": [places[one] for one in concept.negatives],
    }


def concept_set(title: str, concepts: Iterable[Concept], made: Mapping[str, Any] | None = None) -> ConceptSet:
    """The checked set; raises UserError for one class only, empty texts, contradictions and equal names."""
    given = tuple(concepts)
    if not 0 < len(given) <= MAX_CONCEPTS:
        raise UserError(
            f"A set must have 1 to {MAX_CONCEPTS:,} concepts; {title!r} has {len(given):,}.", "Add some, or divide it."
        )
    seen: set[str] = set()
    for concept in given:
        if concept.name in seen:
            raise UserError(f"Two concepts are called {concept.name!r}.", "Join them, or give one another name.")
        seen.add(concept.name)
        _check(concept)
    return ConceptSet(title, given, dict(made or {}))


def check_sentence(sentence: str) -> str:
    """The sentence without space around it; raises UserError where it is empty or too long."""
    if not sentence.strip():
        raise UserError("A concept is asked for in words; none was given.", "Write, e.g., make it about the sea.")
    if (n_chars := len(sentence)) > MAX_SENTENCE_CHARS:
        raise UserError(
            f"A concept is asked for in at most {MAX_SENTENCE_CHARS:,} characters; {n_chars:,} were given.",
            "Say it in one sentence.",
        )
    return sentence.strip()


def _check(concept: Concept) -> None:
    for sentence in (concept.name, *concept.sentences):
        check_sentence(sentence)
    parts = (("shows", True, concept.positives), ("does not show", False, concept.negatives))
    for shows, is_wanted, examples in parts:
        if not examples:
            raise UserError(
                f"A concept needs texts that show it and texts that do not; no text of {concept.name!r} {shows} it.",
                "Add some: one class alone says nothing.",
            )
        for one in examples:
            _check_example(concept.name, one)
            if concept.rule is not None and concept.rule.holds(one.text) != is_wanted:
                raise UserError(
                    f"By its rule {concept.name!r} is {'not ' if is_wanted else ''}shown by {one.text.strip()[:60]!r}, "
                    "which is given as the contrary.",
                    "Move the text, or change the rule.",
                )
    if both := set(concept.positives) & set(concept.negatives):
        text = min(one.text for one in both)
        raise UserError(
            f"A text cannot both show {concept.name!r} and not show it; {text.strip()[:60]!r} does.", "Leave it out."
        )


def _check_example(name: str, one: Example) -> None:
    if not one.text.strip():
        raise UserError(f"A text of {name!r} must have at least one character; it is empty.", "Write it.")
    if (n_chars := len(one.prompt) + len(one.text)) > MAX_TEXT_CHARS:
        raise UserError(
            f"A text of {name!r} has {n_chars:,} characters; {MAX_TEXT_CHARS:,} is the most.", "Shorten it."
        )


def bundled_concepts() -> dict[str, Path]:
    """The concept sets that come with the program, by name."""
    return {path.stem: path for path in sorted(FOLDER.glob("*.json")) if path.stem != "recipe"}


def write_concepts(found: ConceptSet, path: Path) -> None:
    """Write the set, one concept and one example a line."""
    data = found.to_json()
    parts = [f" {json.dumps(key)}: {json.dumps(data[key], ensure_ascii=False)}" for key in ("schema_version", "title")]
    parts.append(f' "made": {json.dumps(data["made"], ensure_ascii=False)}')
    for key in ("concepts", "examples"):
        rows = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in data[key])
        parts.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
    replace_file(path, ("{\n" + ",\n".join(parts) + "\n}\n").encode())


def read_concepts(path: Path | str) -> ConceptSet:
    """The set in a .json file, or of a bundled name; raises UserError for what is none."""
    path = bundled_concepts().get(str(path), Path(path).expanduser())
    if not path.is_file():
        raise UserError(
            f"There is no file {path.name[:80]}, nor a concept set of that name.",
            f"Name a JSON file of concepts, or one of: {', '.join(bundled_concepts())}.",
        )
    if (n_bytes := path.stat().st_size) > MAX_FILE_BYTES:
        raise UserError(f"{path.name} has {n_bytes:,} bytes; {MAX_FILE_BYTES:,} is the most.", "Give fewer texts.")
    try:
        return _read(json.loads(path.read_text("utf-8-sig")), path.stem)
    except (OSError, ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise UserError(
            f"{path.name} cannot be read as concepts: {str(error)[:160]}.", "The README says what such a file holds."
        ) from error


def _read(data: Any, stem: str) -> ConceptSet:
    if not isinstance(data, Mapping) or not isinstance(data.get("concepts"), list):
        raise TypeError("it has no list of concepts")
    if (version := data.get("schema_version", SCHEMA_VERSION)) != SCHEMA_VERSION:
        raise ValueError(f"version {str(version)[:20]} is not known, version {SCHEMA_VERSION} is read")
    table = [_read_example(one, ()) for one in data.get("examples", [])]
    concepts = [_read_concept(one, table) for one in data["concepts"]]
    return concept_set(str(data.get("title", stem)), concepts, data.get("made"))


def _read_concept(given: Any, table: Sequence[Example]) -> Concept:
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise TypeError("a concept has a name")
    sentences, rule = given.get("sentences", []), given.get("rule")
    if not isinstance(sentences, list) or not all(isinstance(one, str) for one in sentences):
        raise TypeError(f"the sentences of {given['name'][:40]!r} are no list of texts")
    return Concept(
        given["name"],
        tuple(_read_example(one, table) for one in given.get("positives", [])),
        tuple(_read_example(one, table) for one in given.get("negatives", [])),
        str(given.get("group", "")),
        given.get("is_held_out") is True,
        tuple(sentences),
        str(given.get("beginning", "")),
        None if rule is None else Rule.from_json(rule),
    )


def _read_example(given: Any, table: Sequence[Example]) -> Example:
    if isinstance(given, str):
        return Example("", given)
    if type(given) is int:
        if not 0 <= given < len(table):
            raise IndexError(f"there is no example {given:,}")
        return table[given]
    prompt, text = (given.get("prompt", ""), given["text"]) if isinstance(given, Mapping) else given
    if not isinstance(prompt, str) or not isinstance(text, str):
        raise TypeError("an example is a prompt and a text")
    return Example(prompt, text)
