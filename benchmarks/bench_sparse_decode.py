"""`sparse_decode` beside the codes written out and multiplied, torch.sparse and the gathered directions.

Run: python -m benchmarks.bench_sparse_decode
"""

import logging

import torch

from benchmarks.record import interleaved, percentiles, ratios, record
from benchmarks.sae_problem import SHAPES, Problem, problem
from kernels.sparse_decode import sparse_decode, sparse_decode_reference
from kernels.topk_encode import topk_encode

ROUNDS, BUDGET_S = 15, 30.0
_LOG = logging.getLogger(__name__)


def variants(given: Problem):
    """What is timed, by name."""
    values, indices = topk_encode(given.x, given.W_enc, given.b_enc, given.k).codes

    def gathered():
        return torch.einsum("rk,rkd->rd", values, given.W_dec[indices]) + given.b_dec

    def bag():
        decoded = torch.nn.functional.embedding_bag(indices, given.W_dec, per_sample_weights=values, mode="sum")
        return decoded + given.b_dec

    return {
        "ours": lambda: sparse_decode(values, indices, given.W_dec, given.b_dec),
        "dense codes @ W_dec": lambda: sparse_decode_reference(values, indices, given.W_dec, given.b_dec),
        "gather + einsum": gathered,
        "embedding_bag": bag,
    }


def main() -> None:
    """Measure every shape, append the rows, say the medians."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(2)
    for shape in SHAPES:
        given = problem(*shape)
        with torch.no_grad():
            seconds = interleaved(variants(given), ROUNDS, BUDGET_S)
        shared = {"kernel": "sparse_decode", "backend": "cpu", "shape": given.name, "dtype": "float32"}
        rows = [
            {**shared, "mode": name, "metric": "time", "unit": "s", **percentiles(times)}
            for name, times in seconds.items()
        ]
        rows += [
            {
                **shared,
                "mode": f"ours / {name}",
                "metric": "time",
                "unit": "ratio",
                **percentiles(ratios(seconds, "ours", name)),
            }
            for name in seconds
            if name != "ours"
        ]
        record(rows)
        for row in rows:
            _LOG.info("%s | %s: %.4g %s", row["shape"], row["mode"], row["p50"], row["unit"])


if __name__ == "__main__":
    main()
