"""Everything that is asked about an SAE at once: the table, probes on labels, ablation sparsity, explanations."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from capture.hook_point import HookPoint
from capture.session import ModelSession
from sae.ablation_sparsity import ablation_rows
from sae.autoencoder import Autoencoder
from sae.evaluation import Evaluation, Row, evaluate
from sae.explaining import Explained, explain_rows
from sae.explanation import Pattern
from sae.labelled_texts import LabelledTexts
from sae.probing import probe_rows

Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Asked:
    """What is measured beside the table: labelled texts or None, and how many latents and places, 0 for none."""

    labelled: LabelledTexts | None = None
    n_explained: int = 0
    n_places: int = 0


@dataclass(frozen=True)
class WideEvaluation:
    """The table with the rows that were asked for, and what stands behind them as plain JSON."""

    table: Evaluation
    rows: tuple[Row, ...]
    tasks: tuple[dict[str, Any], ...]
    explanations: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """The whole as plain JSON."""
        return {
            "facts": self.table.facts,
            "rows": [asdict(row) for row in self.rows],
            "n_tokens": self.table.n_tokens,
            "n_texts": self.table.n_texts,
            "tasks": list(self.tasks),
            "explanations": list(self.explanations),
        }


def evaluate_widely(
    sae: Autoencoder,
    session: ModelSession,
    texts: Sequence[tuple[int, ...]],
    at: HookPoint,
    from_pos: int,
    asked: Asked,
    progress: Progress = lambda share, words: None,
) -> WideEvaluation:
    """The table on texts and whatever else is asked; see each part for what it raises."""
    table = evaluate(sae, session, texts, at, from_pos, lambda share, words: progress(0.4 * share, words))
    rows: tuple[Row, ...] = table.rows
    tasks: tuple[dict[str, Any], ...] = ()
    explained: tuple[Explained, ...] = ()
    if asked.labelled is not None:
        probed, tasks = probe_rows(sae, session, asked.labelled, at, from_pos, _part(progress, 0.4))
        rows += probed
    if asked.n_places:
        rows += ablation_rows(sae, session, texts, at, from_pos, asked.n_places, progress=_part(progress, 0.6))
    if asked.n_explained:
        found, explained = explain_rows(
            sae, session, texts, at, asked.n_explained, from_pos, progress=_part(progress, 0.8)
        )
        rows += found
    return WideEvaluation(table, rows, tasks, tuple(described(session, one) for one in explained))


def _part(progress: Progress, start: float) -> Progress:
    return lambda share, words: progress(start + 0.2 * share, words)


def described(session: ModelSession, explained: Explained) -> dict[str, Any]:
    """A latent's patterns in words and how they do, as plain JSON."""
    held_out = explained.held_out
    return {
        "latent": explained.latent,
        "patterns": [
            {"words": pattern_words(session, one), "value": one.value} for one in explained.explanation.patterns
        ],
        "precision": held_out.precision,
        "recall": held_out.recall,
        "n_active": held_out.n_active,
        "n_predicted": held_out.n_predicted,
        "n_tokens": held_out.n_tokens,
    }


def pattern_words(session: ModelSession, pattern: Pattern) -> list[str]:
    """The tokens of a pattern, ∗ for any one, and ^ before them where it holds at a text's start alone."""
    tokens = ["∗" if token is None else session.token_texts((token,))[0] for token in pattern.tokens]
    return ["^", *tokens] if pattern.is_at_start else tokens
