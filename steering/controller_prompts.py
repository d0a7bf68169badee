"""The prompts of a controller: which are targets, checked; split into those to learn from and those held out."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from capture.errors import UserError
from capture.session import ModelSession
from steering.contrast_pairs import Contrast

HELD_OUT_SHARE = 0.3
MIN_OF_EACH = 4


@dataclass(frozen=True)
class Prompts:
    """Prompts as texts and tokens, and whether each is a target."""

    title: str
    target: str
    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    is_target: tuple[bool, ...]

    def of(self, wanted: bool) -> list[tuple[int, ...]]:
        """The tokens of the targets, or of the rest."""
        return [tokens for tokens, one in zip(self.tokens, self.is_target, strict=True) if one == wanted]


def prompts_of(session: ModelSession, contrast: Contrast, target: str, bos: bool) -> Prompts:
    """The texts of a set as prompts: those of the label `target` (the first one where it is empty) against all others.

    A text stands with what its row has as the prompt before it. Raises UserError for a label that is not there, fewer
    than four prompts of a kind, and a prompt that is labelled both ways.
    """
    wanted = target or contrast.labels[0]
    found = _targets(contrast, wanted)
    check_both_kinds(contrast.title, wanted, list(found.values()))
    tokens = tuple(session.tokens(text, bos) for text in found)
    return Prompts(contrast.title, wanted, tuple(found), tokens, tuple(found.values()))


def _targets(contrast: Contrast, wanted: str) -> dict[str, bool]:
    """Whether each prompt is a target, by its text; raises UserError for an unknown label and for both answers."""
    if wanted not in contrast.labels:
        raise UserError(
            f"No prompt of {contrast.title!r} has the label {wanted[:40]!r}.",
            f"Choose one of: {', '.join(contrast.labels)}.",
        )
    found: dict[str, bool] = {}
    for one in contrast.examples:
        text, is_target = one.prompt + one.text, one.label == wanted
        if found.setdefault(text, is_target) != is_target:
            raise UserError(
                f"The prompt {text[:60]!r} is labelled {wanted!r} and not: a controller cannot do both.",
                "Remove one of the two rows.",
            )
    return found


def check_both_kinds(title: str, target: str, is_target: Sequence[bool], least: int = MIN_OF_EACH) -> None:
    """Raises UserError unless there are enough prompts of both kinds."""
    n = sum(is_target)
    if min(n, len(is_target) - n) < least:
        halves = " where some of them are held out by lot" if least > MIN_OF_EACH else ""
        raise UserError(
            f"A controller learns from at least {least} prompts to act on and {least} others{halves}; {title!r} "
            f"has {n:,} labelled {target!r} and {len(is_target) - n:,} others.",
            "Add prompts of the other kind.",
        )


def split(contrast: Contrast, target: str = "", seed: int = 0) -> tuple[Contrast, Contrast]:
    """A set to learn from, and one held out: 30 % of each label, and at least four of a label, drawn by lot.

    A prompt that stands in several rows counts once. Raises UserError where either would have too few prompts labelled
    `target` (the first label where it is empty) or too few others, and as `prompts_of` does.
    """
    wanted = target or contrast.labels[0]
    check_both_kinds(contrast.title, wanted, list(_targets(contrast, wanted).values()), 2 * MIN_OF_EACH)
    draw = random.Random(seed)
    unique = tuple({one.prompt + one.text: one for one in reversed(contrast.examples)}.values())[::-1]
    singles = Contrast(contrast.title, contrast.labels, unique, is_paired=False)
    held_out: set[int] = set()
    for label in singles.labels:
        places = [i for i, one in enumerate(singles.examples) if one.label == label]
        n = max(round(HELD_OUT_SHARE * len(places)), min(MIN_OF_EACH, len(places) // 2))
        held_out |= set(draw.sample(places, n))
    everything = range(len(singles.examples))
    others = singles.part(sorted(held_out))
    return singles.part([i for i in everything if i not in held_out]), replace(
        others, title=f"{others.title}, held out"
    )
