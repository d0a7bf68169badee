"""The report on concepts: every contestant on every concept, kept row by row, and means with intervals over concepts.

1. Rows are kept in a file of JSON lines beside the report as they come; a run that stopped goes on where it was.
2. Concepts held in and held out are summed up apart; intervals are of the mean over concepts, by bootstrap.
3. `above_random` is the mean, over the concepts that both met, of a contestant's score less that of the random vector;
   `above_first` the same less that of the contestant that was named first.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.written_file import replace_file
from steering.concept_contestants import RANDOM, Contestant
from steering.concept_evaluation import Arena, Row, field_of, measure, row_json
from steering.concepts import Concept, ConceptSet
from steering.method import Progress, silent
from steering.scores import Interval, interval

SCHEMA_VERSION = 1
PARTS = ("held_in", "held_out")
COMPARED = ("overall", "concept")
MEANS = ("overall", "concept", "fluency", "instruct", "kl", "perplexity_ratio", "repetition", "relevance_change")


@dataclass(frozen=True)
class Asked:
    """What is compared on what; `n` concepts of each part, 0 for all."""

    arena: Arena
    concepts: ConceptSet
    contestants: tuple[Contestant, ...]
    n_held_in: int = 0
    n_held_out: int = 0

    def chosen(self) -> tuple[Concept, ...]:
        """The concepts of both parts in turn, so that a run that stops has some of each; fewer are among more."""
        parts = (_some(self.concepts.held_in, self.n_held_in), _some(self.concepts.held_out, self.n_held_out))
        return tuple(one for both in zip_longest(*parts) for one in both if one is not None)

    def facts(self) -> dict[str, Any]:
        """Everything that decides the numbers of a row, but the contestant."""
        arena = self.arena
        return {
            "model": arena.session.name,
            "fingerprint": arena.session.fingerprint,
            "dtype": arena.session.dtype,
            "concepts": {"title": self.concepts.title, "digest": self.concepts.digest()},
            "hook_point": str(arena.at),
            "mean_norm": arena.mean_norm,
            "strengths": list(arena.strengths),
            "prompts": list(arena.prompts),
            "halves": [list(some) for some in arena.prompt_halves],
            "n_tokens": arena.material.n_tokens,
        }


def _some(concepts: Sequence[Concept], n: int) -> Sequence[Concept]:
    order = sorted(concepts, key=lambda one: hashlib.sha256(one.name.encode()).hexdigest())
    return order[:n] if n else order


def evaluate_concepts(asked: Asked, out: Path, progress: Progress = silent) -> dict[str, Any]:
    """The report, also written to `out`; rows that an earlier run has kept beside it are not made again.

    Raises UserError where the rows beside it are of another model, set or setting. `progress` may raise to stop.
    """
    path = out.with_suffix(".rows.jsonl")
    facts = asked.facts()
    rows = _kept(path, facts)
    done = {(one.concept, one.contestant) for one in rows}
    concepts = asked.chosen()
    if not concepts:
        raise UserError("At least one concept is compared on; the set has none of that part.", "Name another set.")
    meetings = {concept.name: [one for one in asked.contestants if meets(one, concept)] for concept in concepts}
    n_all, n_done = sum(map(len, meetings.values())), 0
    for concept in concepts:
        missing = [one for one in meetings[concept.name] if (concept.name, one.name) not in done]
        field = field_of(asked.arena, concept) if missing else None
        n_done += len(meetings[concept.name]) - len(missing)
        for contestant in missing:
            assert field is not None
            rows.append(measure(asked.arena, field, contestant))
            _keep(path, rows[-1])
            n_done += 1
            progress(n_done / n_all, f"{contestant.name} on {concept.name}, {n_done:,} of {n_all:,}")
    report = summary(asked, rows, facts)
    replace_file(out, (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    return report


def meets(contestant: Contestant, concept: Concept) -> bool:
    """Whether the contestant is measured on the concept: on the curve, what one has not learnt is not held in."""
    return concept.is_held_out or not contestant.is_on_curve


def _kept(path: Path, facts: Mapping[str, Any]) -> list[Row]:
    if not path.is_file():
        replace_file(path, (json.dumps(facts, ensure_ascii=False) + "\n").encode())
        return []
    try:
        # A line that a stop cut short has no end, and is made again.
        whole = path.read_text("utf-8").rpartition("\n")[0]
        first, *others = [json.loads(line) for line in whole.splitlines()]
        rows = [_row(one) for one in others]
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path.name} cannot be read: {str(error)[:160]}.", "Remove it, or name another file."
        ) from error
    if json.loads(json.dumps(facts)) != first:
        names = [name for name in facts if json.loads(json.dumps(facts[name])) != first.get(name)]
        raise UserError(
            f"The rows in {path.name} are of another comparison: {', '.join(names)} differ.",
            "Name another file, or ask for what was asked for then.",
        )
    replace_file(path, (whole + "\n").encode())
    return rows


def _keep(path: Path, row: Row) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row_json(row), ensure_ascii=False) + "\n")


def _row(given: Mapping[str, Any]) -> Row:
    return Row(**{**given, "choosing": tuple(given["choosing"]), "texts": tuple(given["texts"])})


def summary(asked: Asked, rows: Sequence[Row], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The report of some rows: a table, the curve over the number of learnt concepts, and the rows themselves."""
    names = {one.name for one in asked.contestants}
    wanted = {one.name for one in asked.chosen()}
    on_curve = {one.name for one in asked.contestants if one.is_on_curve}
    rows = [one for one in rows if one.contestant in names and one.concept in wanted]
    first = asked.contestants[0].name
    lines = [_line(one, part, rows, first) for part in PARTS for one in asked.contestants]
    table = [line for line in lines if line is not None]
    return {
        "schema_version": SCHEMA_VERSION,
        "facts": dict(facts),
        "contestants": {one.name: one.how for one in asked.contestants},
        "table": table,
        "curve": [line for line in table if line["contestant"] in on_curve],
        "costs": costs(asked.contestants, rows),
        "rows": [row_json(one) for one in rows],
    }


def _line(contestant: Contestant, part: str, rows: Sequence[Row], first: str) -> dict[str, Any] | None:
    own = [one for one in rows if one.contestant == contestant.name and one.is_held_out == (part == "held_out")]
    if not own:
        return None
    line: dict[str, Any] = {"contestant": contestant.name, "part": part, "n": len(own), "n_learnt": contestant.n_learnt}
    line |= {name: _interval([one.reported[name] for one in own]) for name in MEANS}
    line["shown"] = _interval([one.shown for one in own if one.shown is not None])
    line["detection"] = _interval([one.detection for one in own if one.detection is not None])
    line["strength"] = sum(one.strength for one in own) / len(own)
    line["length"] = sum(one.length for one in own) / len(own)
    line["above_random"] = _above(own, [one for one in rows if one.contestant == RANDOM])
    line["above_first"] = _above(own, [one for one in rows if one.contestant == first])
    return line


def _above(own: Sequence[Row], others: Sequence[Row]) -> dict[str, Any]:
    """Differences over the concepts that both met."""
    known = {one.concept: one for one in others}
    both = [(one, known[one.concept]) for one in own if one.concept in known]
    found = {name: _interval([one.reported[name] - other.reported[name] for one, other in both]) for name in COMPARED}
    shown = [(one.shown, other.shown) for one, other in both]
    found["shown"] = _interval([one - other for one, other in shown if one is not None and other is not None])
    return found


def _interval(values: Sequence[float]) -> dict[str, float] | None:
    return asdict(interval(values)) if values else None


def costs(contestants: Sequence[Contestant], rows: Sequence[Row]) -> list[dict[str, Any]]:
    """What a vector of one concept costs: seconds as measured, FLOP as estimated, what is shared divided among all.

    `shared_among` is the number of concepts that a hypernetwork learnt from: each more makes every one cheaper, but for
    `flops_each`, what the teacher of each cost. `cheaper_from` is the number of concepts from which it costs less FLOP
    a concept than each other way, if the same steps were shared by so many, each with its teacher; what is not named
    there is always cheaper.
    """
    found: list[dict[str, Any]] = []
    for one in contestants:
        own = [row for row in rows if row.contestant == one.name]
        if not one.has_vectors or not own:
            continue
        n = one.n_learnt or 1
        flops = [row.flops for row in own if row.flops is not None]
        found.append(
            {
                "contestant": one.name,
                "seconds": sum(row.seconds for row in own) / len(own) + one.seconds_before / n,
                "flops": sum(flops) / len(flops) + one.flops_each + one.flops_before / n if flops else None,
                "shared_among": one.n_learnt,
                "seconds_before": one.seconds_before,
                "flops_before": one.flops_before,
                "flops_each": one.flops_each,
            }
        )
    alone = {cost["contestant"]: cost["flops"] for cost in found if not cost["flops_before"] and cost["flops"]}
    for cost in found:
        if cost["flops_before"]:
            own = cost["flops"] - cost["flops_before"] / (cost["shared_among"] or 1)
            before = cost["flops_before"]
            cost["cheaper_from"] = {
                name: math.floor(before / (other - own)) + 1 for name, other in alone.items() if other > own
            }
    return found


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """The table in words, and what is above the random vector."""
    lines = [f"{'contestant':<32} part      n   overall (95 %)          concept  shown  detection  KL     above random"]
    for line in report["table"]:
        overall, random = line["overall"], line["above_random"]["overall"]
        lines.append(
            f"{line['contestant']:<32} {line['part']:<8} {line['n']:>3}   "
            f"{overall['mean']:.3f} ({overall['low']:.3f} to {overall['high']:.3f})  "
            f"{line['concept']['mean']:+.3f}   {_share(line['shown'])}  {_number(line['detection'])}      "
            f"{line['kl']['mean']:.3f}  {_signed(random)}"
        )
    return [*lines, "Overall: of 2, the harmonic mean of three proxies. Shown: by the concept's rule. See the README."]


def _share(found: Mapping[str, float] | None) -> str:
    return "    –" if found is None else f"{found['mean']:5.0%}"


def _number(found: Mapping[str, float] | None) -> str:
    return "    –" if found is None else f"{found['mean']:.3f}"


def _signed(found: Mapping[str, float] | None) -> str:
    if found is None or math.isnan(found["mean"]):
        return "–"
    return f"{found['mean']:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"


def plain_sentence(report: Mapping[str, Any], contestant: str) -> str:
    """Whether a contestant steers to concepts held out better than the random vector, in words."""
    lines = {line["part"]: line for line in report["table"] if line["contestant"] == contestant}
    said = []
    for part in PARTS:
        found: Interval | None = None
        if part in lines and (given := lines[part]["above_random"]["overall"]) is not None:
            found = Interval(**given)
        if found is not None:
            verdict = "beats" if found.low > 0 else "does not beat"
            said.append(
                f"of concepts {part.replace('_', ' ')} ({lines[part]['n']}) it {verdict} the random vector "
                f"({found.mean:+.3f} of 2, 95 % {found.low:+.3f} to {found.high:+.3f})"
            )
    return f"{contestant}: {'; '.join(said)}." if said else f"{contestant}: nothing to compare with."
