"""A hypernetwork on the bundled model: seconds from a sentence to its vector, and examples a second of training.

Latency: a new sentence each time, alone, on one thread, beside a forward pass of the model on 32 tokens; with the
prompt of the tour's first text in the two variants that read one. Training: steps through the frozen model, with and
without the detection loss, beside steps that imitate a teacher, in float32 and bfloat16.
Run: python -m benchmarks.bench_hypernet
"""

import itertools
import json
import logging
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.record import interleaved, percentiles, ratios, record
from capture.hook_point import HookPoint
from capture.models import load_session
from steering.concepts import Concept, Example, concept_set
from steering.hypernetwork import Hypernetwork
from steering.hypernetwork_folder import TrainedHypernetwork
from steering.hypernetwork_recipe import VARIANTS, HypernetworkRecipe
from steering.hypernetwork_training import Run, batch_loss, material
from steering.sentence_vector import sentence_vector

AT, D_MODEL, BATCH = HookPoint(2, "resid_post"), 192, 32
ROUNDS, BUDGET_S = 15, 60.0
TOUR = Path(__file__).resolve().parent.parent / "data" / "texts" / "tour.json"
_LOG = logging.getLogger(__name__)


def tour() -> list[str]:
    """The tour's texts."""
    return [str(text) for text in json.loads(TOUR.read_text("utf-8"))["texts"]]


def untrained(session: Any, variant: str) -> TrainedHypernetwork:
    """A hypernetwork of the usual size; what it has learnt does not change how long it takes."""
    recipe = HypernetworkRecipe(variant=variant)
    network = Hypernetwork(recipe, D_MODEL).started(recipe).eval().requires_grad_(False)
    facts = {"model": session.name, "fingerprint": session.fingerprint, "dtype": session.dtype}
    known = torch.nn.functional.normalize(torch.randn(300, D_MODEL), dim=1)
    return TrainedHypernetwork(network, recipe, AT, 40.0, known, 1.0, tuple(map(str, range(300))), (), facts)


def latency_variants() -> dict[str, Callable[[], Any]]:
    """From a sentence to its vector, by variant; and a forward pass to compare with."""
    session = load_session("stories")
    prompt, number = session.tokens(tour()[0], True), itertools.count()

    def say(trained: TrainedHypernetwork) -> Callable[[], Any]:
        return lambda: sentence_vector(trained, session, f"make it about the sea {next(number)}", prompt)

    variants = {f"sentence, {name}": say(untrained(session, name)) for name in VARIANTS}
    return {**variants, "forward pass of 32 tokens": lambda: session.logits(prompt[:32])}


def training_run(precision: str, folder: Path, **changes: Any) -> Callable[[], Any]:
    """One step of training, forward and backward, on texts cut from the tour."""
    session = load_session("stories", precision)
    texts = [Example(f"{n} Once", f" {text[:140]}") for n, text in enumerate(tour())]
    concepts = concept_set(
        "bench", [Concept(f"the sea {n}", tuple(texts), (Example("0", " no."),)) for n in range(BATCH)]
    )
    recipe = HypernetworkRecipe(batch=BATCH, longest=40, **changes)
    run = Run(session, concepts, AT, recipe, folder)
    found = material(run, lambda share, words: None)
    network, number = Hypernetwork(recipe, D_MODEL).started(recipe), itertools.count()

    def step() -> None:
        network.zero_grad()
        batch_loss(run, found, network, next(number)).backward()

    return step


def main() -> None:
    """Measure, append the rows, say the medians."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(1)
    rows = _latency() + _training()
    record(rows)
    for row in rows:
        _LOG.info("%s %s: %.4g %s", row["mode"], row["metric"], row["p50"], row["unit"])


def _latency() -> list[dict[str, Any]]:
    seconds = interleaved(latency_variants(), ROUNDS, BUDGET_S)
    shared = {"kernel": "hypernetwork", "backend": "cpu", "shape": "d 192, 2 blocks", "dtype": "float32"}
    rows = [
        {**shared, "mode": name, "metric": "time", "unit": "s", **percentiles(times)} for name, times in seconds.items()
    ]
    ratio = ratios(seconds, "sentence, no_context", "forward pass of 32 tokens")
    mode = "sentence, no_context / forward pass"
    return [*rows, {**shared, "mode": mode, "metric": "time", "unit": "ratio", **percentiles(ratio)}]


def _training() -> list[dict[str, Any]]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for precision in ("float32", "bfloat16"):
            kinds = {
                "with detection": {"warm_start": 0},
                "without detection": {"warm_start": 0, "detection_weight": 0.0},
                "imitating": {"loss": "reconstruction"},
            }
            steps = {
                name: training_run(precision, Path(folder) / precision / name, **changes)
                for name, changes in kinds.items()
            }
            shared = {
                "kernel": "hypernetwork_step",
                "backend": "cpu",
                "shape": f"{BATCH} texts of 40 tokens",
                "dtype": precision,
            }
            for name, times in interleaved(steps, ROUNDS, BUDGET_S).items():
                speeds = percentiles([BATCH / one for one in times])
                rows.append({**shared, "mode": name, "metric": "examples", "unit": "1/s", **speeds})
    return rows


if __name__ == "__main__":
    main()
