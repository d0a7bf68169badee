"""A sweep's points measured as rows of few batches, against one generation and one text at a time, in one run.

The bundled model and a bundled vector, one thread, processor time; both ways give the same scores, which is checked.
Run: python -m benchmarks.bench_tuning
"""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmarks.record import interleaved, percentiles, ratios, record
from capture.generation import GenerationRow
from capture.intervention import Intervention
from capture.models import load_session
from steering.contrast_pairs import read_contrast
from steering.scores import concept, kl
from steering.scoring import SAMPLING, Material, material_of, token_logprobs, values_of
from steering.shelf_step import step_from_shelf
from steering.tune_plan import TunePlan

VECTOR = "happy_sad"
PROMPTS = Path(__file__).resolve().parent.parent / "data" / "texts" / "tour.json"
BUDGET_S = 240.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """What is measured, and the settings of a coarse sweep."""

    material: Material
    settings: tuple[tuple[Intervention, ...], ...]


def setup() -> Setup:
    """The bundled model, the tour's prompts, the vector's pairs, and the strengths of auto-tune."""
    session, step = load_session("stories"), step_from_shelf(VECTOR)
    texts = tuple(json.loads(PROMPTS.read_text("utf-8"))["texts"])
    contrast = read_contrast(Path(VECTOR))
    plan = TunePlan((step.recipe(),), texts, contrast, step=0)
    settings = tuple(plan.setting(point, {}) for point in plan.points())
    return Setup(material_of(session, contrast, texts), settings)


def one_at_a_time(material: Material, changes: Sequence[Intervention]) -> tuple[list[float], list[float]]:
    """Concept by pair and KL by prompt, each text in a forward pass of its own, each continuation alone."""
    session, some = material.session, tuple(changes)
    kls = []
    for seed, (prompt, clean) in enumerate(zip(material.prompts, material.continued, strict=True)):
        (new,) = session.generate_rows([GenerationRow(prompt, some, seed)], material.n_tokens, SAMPLING, remember=False)
        for before, after in ((prompt, new), (prompt[:1] + new, prompt[1:])):
            list(session.row_logprobs([GenerationRow(before)], [after]))
        (odds,) = session.row_logprobs([GenerationRow(prompt, some)], [clean])
        kls.append(kl(material.clean[seed], odds))
    read = [float(token_logprobs(session, [text], some)[0].mean()) for text in material.pairs]
    clean_read = [float(one.mean()) for one in material.read]
    return concept(read[::2], clean_read[::2], read[1::2], clean_read[1::2]), kls


def variants(given: Setup) -> dict[str, Callable[[], object]]:
    """Both ways through the same points."""
    return {
        "batched": lambda: values_of(given.material, given.settings),
        "one at a time": lambda: [one_at_a_time(given.material, one) for one in given.settings],
    }


def check(given: Setup) -> None:
    """Raises where the two ways do not agree."""
    (ours,) = values_of(given.material, given.settings[2:3])
    concepts, kls = one_at_a_time(given.material, given.settings[2])
    torch.testing.assert_close(torch.tensor(ours.concept), torch.tensor(concepts), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(torch.tensor(ours.kl), torch.tensor(kls), atol=1e-4, rtol=1e-3)


def main() -> None:
    """Measure, say and record."""
    torch.set_num_threads(1)
    given = setup()
    check(given)
    seconds = interleaved(variants(given), rounds=5, budget_s=BUDGET_S, clock=time.process_time)
    n_rows = len(given.settings) * len(given.material.prompts)
    where = {"kernel": "tuning", "shape": f"stories, {len(given.settings)} strengths, {n_rows} continuations"}
    rows = []
    for name, values in seconds.items():
        row = {**where, "mode": name, "dtype": "float32", "metric": "cpu time", "unit": "s"}
        rows.append({**row, **percentiles(values)})
        _LOG.info("%-14s %6.2f s", name, rows[-1]["p50"])
    share = percentiles(ratios(seconds, "one at a time", "batched"))
    rows.append({**where, "mode": "one at a time / batched", "metric": "cpu time", "unit": "ratio", **share})
    _LOG.info("one at a time takes %.2f times as long (%.2f to %.2f)", share["p50"], share["p20"], share["p80"])
    record(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
