"""Dashboards as JSON in Neuronpedia's field names: one latent, or all of them in the layout of its bulk import.

`release.jsonl`, `model.jsonl`, `sourceset.jsonl`, `source.jsonl`, and in `features/`, `activations/`, `explanations/`
files of JSON lines, packed by gzip. Labels are the explanations, with their author and time.
"""

import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.store import ActivationStore
from capture.store_labels import Label, all_labels
from capture.written_file import write_file
from sae.dashboards import cards
from sae.latent_card import DashboardFacts, Example, ExampleGroup, Histogram, LatentCard

N_IN_BATCH = 1024
Line = dict[str, Any]


def feature_json(card: LatentCard, labels: Sequence[Label] = ()) -> Line:
    """One latent with its activations and explanations, as Neuronpedia's download has it.

    `labels` are those of the latent, of any author. Bars of `freq_hist` stand at the middle of bins whose width grows
    with the value; `logits_hist` has bins of one width. `maxActApprox` is the largest value seen.
    """
    return {**_feature(card), "activations": _activations(card), "explanations": _explanations(card, labels)}


def export_dashboard(
    store: ActivationStore,
    dashboard_id: str,
    folder: Path,
    progress: Callable[[float, str], None] = lambda share, words: None,
) -> int:
    """Write all latents of a dashboard to a folder; returns how many. Raises UserError where there is none."""
    labels: dict[int, list[Label]] = {}
    facts: DashboardFacts | None = None
    n = 0
    for number, batch in enumerate(_batches(cards(store, dashboard_id))):
        if facts is None:
            facts = batch[0].facts
            _write_heads(facts, folder)
            for one in all_labels(store, facts.sae):
                labels.setdefault(one.latent, []).append(one)
        _write_batch(batch, labels, folder, f"batch-{number:04}.jsonl.gz")
        n += len(batch)
        progress(n / facts.d_sae, f"{n:,} of {facts.d_sae:,} latents written")
    if facts is None:
        raise UserError(f"The store has no dashboard {dashboard_id[:12]!r}.", "Build it again.")
    return n


def _batches(found: Iterator[LatentCard]) -> Iterator[list[LatentCard]]:
    batch: list[LatentCard] = []
    for one in found:
        batch.append(one)
        if len(batch) == N_IN_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _write_heads(facts: DashboardFacts, folder: Path) -> None:
    """What the latents are of: model, source set, source; the source says how the dashboard was built."""
    model_id, source_id = _model_id(facts), _source_id(facts)
    source_set = source_id.partition("-")[2]
    heads: dict[str, Line] = {
        "release": {"name": source_set, "description": f"{facts.sae_name} on {facts.model}"},
        "model": {"id": model_id, "displayName": facts.model},
        "sourceset": {"modelId": model_id, "name": source_set, "releaseName": source_set},
        "source": {"id": source_id, "modelId": model_id, "setName": source_set, "hookName": facts.hook_point},
    }
    heads["source"]["creation"] = facts.to_json()
    for name, head in heads.items():
        write_file(folder / f"{name}.jsonl", _lines([head]))


def _write_batch(batch: Sequence[LatentCard], labels: dict[int, list[Label]], folder: Path, name: str) -> None:
    parts = {
        "features": [_feature(one) for one in batch],
        "activations": [line for one in batch for line in _activations(one)],
        "explanations": [line for one in batch for line in _explanations(one, labels.get(one.latent, ()))],
    }
    for part, lines in parts.items():
        # Without a time in it, so that the same dashboard gives the same bytes.
        write_file(folder / part / name, gzip.compress(_lines(lines), 6, mtime=0))


def _lines(lines: Sequence[Line]) -> bytes:
    return "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines).encode()


def _identity(card: LatentCard) -> Line:
    return {"modelId": _model_id(card.facts), "layer": _source_id(card.facts), "index": str(card.latent)}


def _model_id(facts: DashboardFacts) -> str:
    return Path(facts.model).name or facts.model


def _source_id(facts: DashboardFacts) -> str:
    """`<layer>-<source set>`, as Neuronpedia names a source."""
    return f"{HookPoint.parse(facts.hook_point).layer}-{facts.sae_name or facts.sae[:12]}"


def _feature(card: LatentCard) -> Line:
    return {
        **_identity(card),
        "hookName": card.facts.hook_point,
        "frac_nonzero": card.density,
        "maxActApprox": card.max,
        "pos_str": [one.text for one in card.promoted],
        "pos_values": [one.weight for one in card.promoted],
        "neg_str": [one.text for one in card.suppressed],
        "neg_values": [one.weight for one in card.suppressed],
        "freq_hist_data_bar_heights": list(card.histogram.counts),
        "freq_hist_data_bar_values": _middles(card.histogram),
        "logits_hist_data_bar_heights": list(card.logits.counts),
        "logits_hist_data_bar_values": _middles(card.logits),
        "topkCosSimIndices": [one.latent for one in card.neighbours],
        "topkCosSimValues": [one.cosine for one in card.neighbours],
    }


def _middles(histogram: Histogram) -> list[float]:
    return [(low + high) / 2 for low, high in zip(histogram.edges, histogram.edges[1:], strict=False)]


def _activations(card: LatentCard) -> list[Line]:
    """Every example; a quantile's say its range of values and the share of firing tokens in it."""
    return [
        {**_identity(card), **_activation(one), **_bin(group, card.n_fired)}
        for group in card.groups
        for one in group.examples
    ]


def _activation(example: Example) -> Line:
    return {
        "tokens": list(example.texts),
        "values": list(example.values),
        "maxValue": example.value,
        "maxValueTokenIndex": example.peak,
        "minValue": min(example.values),
        "dataIndex": f"{example.text}:{example.pos}",
    }


def _bin(group: ExampleGroup, n_fired: int) -> Line:
    if group.kind != "quantile":
        return {"binMin": None, "binMax": None, "binContains": None}
    return {"binMin": group.low, "binMax": group.high, "binContains": group.n_firing / n_fired}


def _explanations(card: LatentCard, labels: Sequence[Label]) -> list[Line]:
    return [
        {
            **_identity(card),
            "description": one.text,
            "authorName": one.author,
            "createdAt": datetime.fromtimestamp(one.made_at, UTC).isoformat(timespec="seconds"),
        }
        for one in labels
    ]
