"""Making concept sets from a model's own continuations, after a plan: JSON with prompts and groups of concepts.

1. Each prompt is continued as it is: these texts are the plain ones.
2. Each prompt is continued after the concept's beginning, which leads the model to it; the beginning is then left out,
   so that what is to be learned is to write so without having been led.
3. A continuation is a positive where the concept's rule holds, at most one a prompt; prompts without one are tried
   again. A concept with too few positives is left out, and its name is kept.
4. Each positive has a negative with the same prompt: in turn a plain text and a positive of another concept of the
   group, for which the rule does not hold.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from capture.errors import UserError
from steering.concept_rule import Rule
from steering.concepts import Concept, ConceptSet, Example, check_sentence, concept_set

Sampler = Callable[[Sequence[str], int], Sequence[str]]
"""The continuations of some beginnings, drawn by a seed."""
Progress = Callable[[float, str], None]
N_PLAIN = 12
"""Plain continuations of each prompt."""
N_TRIES = 3
MIN_TRAINING, MIN_EVALUATION = 12, 6
NEEDED = f"{MIN_TRAINING} to fit and {MIN_EVALUATION} to evaluate"
MIN_CHARS = 30
FIELDS = ("where", "at_least", "sentences", "beginning")


@dataclass(frozen=True)
class Plan:
    """Prompts, and concepts that have no texts yet."""

    title: str
    prompts: tuple[str, ...]
    concepts: tuple[Concept, ...]
    n_tokens: int = 32


def read_plan(path: Path) -> Plan:
    """The plan in a JSON file; raises UserError for what is none."""
    try:
        data = json.loads(path.read_text("utf-8-sig"))
        every = data.get("hold_out_every", 0)
        prompts = tuple(data["prompts"])
        concepts = tuple(one for group in data["groups"] for one in _planned(group, every))
        if not prompts or not concepts or not all(isinstance(one, str) and one.strip() for one in prompts):
            raise ValueError("it has no prompts or no concepts")
        return Plan(str(data.get("title", path.stem)), prompts, concepts, int(data.get("n_tokens", 32)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(
            f"{path.name} cannot be read as a plan of concepts: {repr(error)[:160]}.",
            "data/concepts/recipe.json shows what one has: prompts, and groups of concepts.",
        ) from error


def _planned(group: Mapping[str, Any], every: int) -> Iterator[Concept]:
    for place, (name, own) in enumerate(group["concepts"].items()):
        given = {key: own.get(key, group.get(key)) for key in FIELDS}
        sentences = tuple(check_sentence(one.replace("{x}", name)) for one in given["sentences"] or ())
        rule = Rule(tuple(own["terms"]), given["where"] or "word", given["at_least"] or 1)
        is_held_out = group.get("is_held_out") is True or (every > 0 and place % every == every // 2)
        beginning = (given["beginning"] or "{x}.").replace("{x}", name)
        yield Concept(name, (), (), str(group["group"]), is_held_out, sentences, beginning, rule)


def make_concepts(
    plan: Plan, sample: Sampler, seed: int = 0, progress: Progress = lambda share, words: None
) -> ConceptSet:
    """The set that a plan and a model's continuations make; `made` has the names of those left out.

    Raises UserError for a plan with too few prompts, before anything is drawn, and where no concept has enough texts.
    """
    _check_prompts(plan)
    plain = _plain(plan, sample, seed)
    found = []
    for place, concept in enumerate(plan.concepts):
        progress(place / len(plan.concepts), concept.name)
        found.append(replace(concept, positives=tuple(_positives(plan, concept, sample, seed + 1 + place * N_TRIES))))
    kept = [one for one in found if _has_enough(one)]
    if not kept:
        most = max(found, key=lambda one: len(one.positives))
        raise UserError(
            f"No concept of the plan has enough texts that show it: {NEEDED}; {most.name!r}, which has most, has "
            f"{_counted(most.positives)}.",
            "Write beginnings that lead to it, rules that more texts meet, or more prompts.",
        )
    made = [_with_negatives(one, place, kept, plain) for place, one in enumerate(kept)]
    left_out = [one.name for one in found if not _has_enough(one)]
    facts = {"seed": seed, "n_tokens": plan.n_tokens, "n_prompts": len(plan.prompts), "left_out": left_out}
    return concept_set(plan.title, made, facts)


def _check_prompts(plan: Plan) -> None:
    prompts = [Example(prompt, "") for prompt in plan.prompts]
    if not _suffices(prompts):
        raise UserError(
            f"A concept takes at most one text from a prompt, and needs {NEEDED}; by the prompts of the plan it could "
            f"have {_counted(prompts)}.",
            "Give some fifty prompts: what is for evaluation is drawn by their digests.",
        )


def _plain(plan: Plan, sample: Sampler, seed: int) -> dict[str, list[str]]:
    rows = [prompt for prompt in plan.prompts for _ in range(N_PLAIN)]
    texts: dict[str, list[str]] = {prompt: [] for prompt in plan.prompts}
    for prompt, text in zip(rows, sample(rows, seed), strict=True):
        if len(text.strip()) >= MIN_CHARS:
            texts[prompt].append(text)
    return texts


def _positives(plan: Plan, concept: Concept, sample: Sampler, seed: int) -> Iterator[Example]:
    """One continuation that shows the concept for each prompt where one of N_TRIES does, in the prompts' order."""
    assert concept.rule is not None
    found: dict[str, str] = {}
    for turn in range(N_TRIES):
        missing = [prompt for prompt in plan.prompts if prompt not in found]
        texts = sample([f"{concept.beginning} {prompt}" for prompt in missing], seed + turn)
        for prompt, text in zip(missing, texts, strict=True):
            if len(text.strip()) >= MIN_CHARS and concept.rule.holds(text):
                found[prompt] = text
    return (Example(prompt, found[prompt]) for prompt in plan.prompts if prompt in found)


def _has_enough(concept: Concept) -> bool:
    return _suffices(concept.positives)


def _suffices(examples: Sequence[Example]) -> bool:
    n_evaluation = sum(one.is_for_evaluation for one in examples)
    return len(examples) - n_evaluation >= MIN_TRAINING and n_evaluation >= MIN_EVALUATION


def _counted(examples: Sequence[Example]) -> str:
    n_evaluation = sum(one.is_for_evaluation for one in examples)
    return f"{len(examples) - n_evaluation} and {n_evaluation}"


def _with_negatives(
    concept: Concept, place: int, others: Sequence[Concept], plain: Mapping[str, Sequence[str]]
) -> Concept:
    """A negative for each positive that has one; positives without one are left out."""
    assert concept.rule is not None
    family = [one for one in others if one.group == concept.group and one is not concept]
    by_prompt: dict[str, list[str]] = {}
    for one in family:
        for example in one.positives:
            by_prompt.setdefault(example.prompt, []).append(example.text)
    positives, negatives = [], []
    for number, example in enumerate(concept.positives):
        own, near = (_turned(some.get(example.prompt, ()), place) for some in (plain, by_prompt))
        order = (*near, *own) if number % 2 else (*own, *near)
        text = next((text for text in order if not concept.rule.holds(text)), None)
        if text is not None:
            positives.append(example)
            negatives.append(Example(example.prompt, text))
    return replace(concept, positives=tuple(positives), negatives=tuple(negatives))


def _turned(texts: Sequence[str], by: int) -> Sequence[str]:
    """The texts, beginning with another one for each concept."""
    start = by % max(1, len(texts))
    return [*texts[start:], *texts[:start]]
