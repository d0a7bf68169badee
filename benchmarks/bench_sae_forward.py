"""A whole SAE forward (encode and decode) beside SAELens's TopK SAE and the bare products; peak memory apart.

Peak memory is the growth of the process's largest resident size over its size with the weights in place, each variant
in a process of its own: `python -m benchmarks.bench_sae_forward --peak NAME D_IN D_SAE K` prints it.
Run: python -m benchmarks.bench_sae_forward
"""

import ctypes
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from benchmarks.record import interleaved, percentiles, ratios, record
from benchmarks.sae_problem import SHAPES, Problem, problem
from kernels.encoder_pack import pack_encoder
from kernels.sparse_decode import sparse_decode
from kernels.topk_encode import topk_encode

ROUNDS, BUDGET_S = 11, 40.0
_LOG = logging.getLogger(__name__)


def ours(given: Problem) -> Callable[[], Tensor]:
    """Encode with packed weights, decode."""
    pack = pack_encoder(given.W_enc, given.b_enc)

    def forward() -> Tensor:
        codes = topk_encode(given.x, given.W_enc, given.b_enc, given.k, pack=pack).codes
        return sparse_decode(*codes, given.W_dec, given.b_dec)

    return forward


def dense(given: Problem) -> Callable[[], Tensor]:
    """Plain torch: product, top-k, codes written out, product."""

    def forward() -> Tensor:
        values, indices = (given.x @ given.W_enc + given.b_enc).relu().topk(given.k, dim=1)
        codes = torch.zeros(len(given.x), len(given.W_dec)).scatter_(1, indices, values)
        return codes @ given.W_dec + given.b_dec

    return forward


def saelens(given: Problem) -> Callable[[], Tensor]:
    """SAELens's TopK SAE, encode and decode."""
    sae = saelens_sae(given)
    return lambda: sae(given.x)


def saelens_sae(given: Problem) -> Any:
    """SAELens's TopK SAE with the same weights."""
    from sae_lens import TopKSAE, TopKSAEConfig

    d_in, d_sae = given.W_enc.shape
    sae = TopKSAE(TopKSAEConfig(d_in=d_in, d_sae=d_sae, k=given.k, apply_b_dec_to_input=False))
    weights = {"W_enc": given.W_enc, "b_enc": given.b_enc, "W_dec": given.W_dec, "b_dec": given.b_dec}
    for name, value in weights.items():
        getattr(sae, name).data = value
    return sae


def bag_decode(given: Problem) -> Callable[[], Tensor]:
    """Plain torch with embedding_bag in place of the written-out codes."""

    def forward() -> Tensor:
        values, indices = (given.x @ given.W_enc + given.b_enc).relu().topk(given.k, dim=1)
        return embedding_bag(indices, given.W_dec, per_sample_weights=values, mode="sum") + given.b_dec

    return forward


def float32_product(given: Problem) -> Callable[[], Tensor]:
    """The encoder's product alone, in float32."""
    return lambda: given.x @ given.W_enc


def bf16_product(given: Problem) -> Callable[[], Tensor]:
    """The encoder's product alone, in bfloat16: the floor."""
    low, weight = given.x.bfloat16(), given.W_enc.t().contiguous().bfloat16()
    return lambda: low @ weight.t()


VARIANTS = {
    "ours": ours,
    "dense torch": dense,
    "SAELens TopK": saelens,
    "torch + embedding_bag": bag_decode,
    "bf16 product": bf16_product,
    "float32 product": float32_product,
}
WHOLE = ("ours", "dense torch", "SAELens TopK", "torch + embedding_bag")


def peak_mb(name: str, shape: tuple[int, int, int]) -> float:
    """Peak memory of one forward over the memory that inputs and weights hold, in MB, in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.bench_sae_forward", "--peak", name, *map(str, shape)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def _print_peak(name: str, shape: tuple[int, ...]) -> None:
    given = problem(*shape)
    small = problem(shape[0], 256, min(shape[2], 32), rows=8)
    with torch.no_grad():
        # Libraries are loaded and their threads started by a call on a small problem.
        VARIANTS[name](small)()
        forward = VARIANTS[name](given)
        forward_small = VARIANTS[name](small)
        forward_small()
        # What was freed but not given back would hide what the forward takes.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")
        before = _status_kb("VmRSS")
        forward()
    sys.stdout.write(f"{(_status_kb('VmHWM') - before) / 1000:.3f}\n")


def _status_kb(field: str) -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(field))


def main() -> None:
    """Measure every shape, append the rows, say the medians."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(2)
    for shape in SHAPES:
        given = problem(*shape)
        with torch.no_grad():
            made = {name: make(given) for name, make in VARIANTS.items()}
            torch.testing.assert_close(made["ours"](), made["SAELens TopK"](), atol=1e-3, rtol=1e-3)
            seconds = interleaved(made, ROUNDS, BUDGET_S)
        shared = {"kernel": "sae_forward", "backend": "cpu", "shape": given.name, "dtype": "float32"}
        rows = [
            {**shared, "mode": name, "metric": "time", "unit": "s", **percentiles(times)}
            for name, times in seconds.items()
        ]
        for name, over in (("dense torch", "ours"), ("SAELens TopK", "ours"), ("ours", "bf16 product")):
            found = percentiles(ratios(seconds, name, over))
            rows.append({**shared, "mode": f"{name} / {over}", "metric": "time", "unit": "ratio", **found})
        peaks = {name: peak_mb(name, shape) for name in WHOLE}
        for name, peak in peaks.items():
            rows.append({**shared, "mode": name, "metric": "peak memory", "unit": "MB", **percentiles([peak])})
        record(rows)
        for row in rows:
            _LOG.info("%s | %s %s: %.4g %s", row["shape"], row["mode"], row["metric"], row["p50"], row["unit"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--peak"]:
        _print_peak(sys.argv[2], tuple(map(int, sys.argv[3:6])))
    else:
        main()
