"""StatStream over a run of texts against the plain transformers forward of the same tokens, in one run.

A random model of GPT-2 small's shape, one thread, processor time.
Target: all residual sites and all linear inputs at most 1.5 of the plain forward.
Run: python -m benchmarks.bench_stat_stream
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from analysis.stat_stream import StatStream
from benchmarks.bench_capture import Setup, setup
from benchmarks.record import interleaved, percentiles, ratios, record
from capture.hook_point import HookPoint

N_TEXTS, N_TOKENS = 4, 128
RESIDUAL = ("resid_pre", "resid_mid", "resid_post")
LINEAR_INPUTS = ("ln1_out", "z", "ln2_out", "mlp_post")
BUDGET_S = 60.0
_LOG = logging.getLogger(__name__)


def variants(given: Setup) -> dict[str, Callable[[], Any]]:
    """What is compared, over the same random tokens."""
    ids = torch.randint(0, 50_000, (N_TEXTS, N_TOKENS), generator=torch.Generator().manual_seed(0))
    texts = ids.tolist()

    def plain() -> Tensor:
        with torch.no_grad():
            return given.plain(ids).logits

    def stream(sites: tuple[str, ...]) -> dict[HookPoint, StatStream]:
        at = [HookPoint(layer, site) for layer in range(given.session.shape.n_layers) for site in sites]
        streams = {point: StatStream(point) for point in at}

        def update(point: HookPoint, *rows: Tensor) -> None:
            if point.layer is not None:
                streams[point].update(*rows)

        # The logits are asked for so that the run does the same work as the plain forward, which makes them.
        given.session.stream(texts, [*at, HookPoint(None, "logits")], update)
        return streams

    return {
        "plain forward": plain,
        "resid_post of every block": lambda: stream(("resid_post",)),
        "all residual sites": lambda: stream(RESIDUAL),
        "residual and all linear inputs": lambda: stream((*RESIDUAL, *LINEAR_INPUTS)),
    }


def main() -> None:
    """Measure, say and record."""
    torch.set_num_threads(1)
    given = setup()
    seconds = interleaved(variants(given), rounds=9, budget_s=BUDGET_S, clock=time.process_time)
    where = {"kernel": "stat_stream", "backend": "numpy, torch", "shape": f"gpt2-small x {N_TEXTS} x {N_TOKENS} tokens"}
    rows = []
    for name, values in seconds.items():
        row = {**where, "mode": name, "dtype": "float32", "metric": "cpu time", "unit": "ms"}
        share = percentiles(ratios(seconds, name, "plain forward"))
        rows.append({**row, **percentiles([1e3 * value for value in values])})
        rows.append({**row, "metric": "cpu time / plain forward", "unit": "ratio", **share})
        _LOG.info("%-32s %8.1f ms  x %.2f", name, rows[-2]["p50"], share["p50"])
    record(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
