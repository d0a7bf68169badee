"""`topk_encode` beside plain torch, SAELens's encoder, and the bare bfloat16 and float32 products.

Ratios are round by round within one run; a certified row is one that was not redone in float32.
Run: python -m benchmarks.bench_topk_encode
"""

import logging

import torch

from benchmarks.bench_sae_forward import saelens_sae
from benchmarks.record import interleaved, percentiles, ratios, record
from benchmarks.sae_problem import SHAPES, Problem, problem
from kernels.encoder_pack import pack_encoder
from kernels.topk_encode import topk_encode, topk_encode_reference

ROUNDS, BUDGET_S = 15, 40.0
_LOG = logging.getLogger(__name__)


def variants(given: Problem):
    """What is timed, by name."""
    pack = pack_encoder(given.W_enc, given.b_enc)
    low, weight = given.x.bfloat16(), pack.weight.bfloat16()
    sae = saelens_sae(given)
    return {
        "ours": lambda: topk_encode(given.x, given.W_enc, given.b_enc, given.k, pack=pack),
        "ours, not rescored": lambda: topk_encode(given.x, given.W_enc, given.b_enc, given.k, pack=pack, exact=False),
        "torch matmul + topk": lambda: (given.x @ given.W_enc + given.b_enc).relu().topk(given.k, dim=1),
        "SAELens encode": lambda: sae.encode(given.x),
        "bf16 product": lambda: low @ weight.t(),
        "float32 product": lambda: given.x @ given.W_enc,
        "pack": lambda: pack_encoder(given.W_enc, given.b_enc),
    }


def main() -> None:
    """Measure every shape, append the rows, say the medians."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(2)
    for shape in SHAPES:
        given = problem(*shape)
        found = topk_encode(given.x, given.W_enc, given.b_enc, given.k)
        expected = topk_encode_reference(given.x, given.W_enc, given.b_enc, given.k)
        same = (found.codes.indices.sort(1).values == expected.indices.sort(1).values).all(dim=1).float().mean()
        with torch.no_grad():
            seconds = interleaved(variants(given), ROUNDS, BUDGET_S)
        shared = {"kernel": "topk_encode", "backend": found.choice.backend, "shape": given.name, "dtype": "float32"}
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
            for name in ("torch matmul + topk", "SAELens encode", "bf16 product", "float32 product")
        ]
        share = {"p20": float(same), "p50": float(same), "p80": float(same)}
        rows.append({**shared, "mode": "rows with the reference's set", "metric": "share", "unit": "ratio", **share})
        held = percentiles([pack_encoder(given.W_enc, given.b_enc).n_bytes / 1e6])
        rows.append({**shared, "mode": "pack", "metric": "memory", "unit": "MB", **held})
        redone = found.n_redone / len(given.x)
        rows.append(
            {
                **shared,
                "mode": "rows redone",
                "metric": "share",
                "unit": "ratio",
                "p20": redone,
                "p50": redone,
                "p80": redone,
            }
        )
        record(rows)
        for row in rows:
            _LOG.info("%s | %s: %.4g %s", row["shape"], row["mode"], row["p50"], row["unit"])


if __name__ == "__main__":
    main()
