"""A kept capture read from the store against the same capture run again, and the layouts that were tried for it.

A random model of the bundled model's shape, one thread, processor time. A ratio below 1 says that reading wins.
Run: python -m benchmarks.bench_store
"""

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import interleaved, percentiles, ratios, record
from capture.hook_point import HookPoint, residual_points
from capture.session import ModelSession
from capture.store import ActivationStore
from capture.store_codec import capture_key, from_bytes
from capture.store_objects import find
from capture.store_pieces import insert_pieces, read_pieces

N_LAYERS = 6
TOKENS = (32, 128, 512)
N_OTHERS = 100
BUDGET_S = 15.0
LAYOUTS = {"pieces of 1 KB": 1024, "pieces of 2 KB": 2048, "pieces of 8 KB": 8192, "one blob": 1 << 30}
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """A session, and a store that has many captures besides the ones that are read."""

    session: ModelSession
    store: ActivationStore


def setup(folder: Path, n_others: int = N_OTHERS) -> Setup:
    """A random model of the bundled shape, and a store with `n_others` captures of its size."""
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": N_LAYERS, "num_attention_heads": 8}
    config = LlamaConfig(vocab_size=4096, max_position_embeddings=512, tie_word_embeddings=True, **sizes)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    session = ModelSession(AutoModelForCausalLM.from_config(config).eval(), tokenizer, name="random stories")
    store = ActivationStore.open(folder / "bench.duckdb", limit_bytes=1 << 40)
    for seed in range(n_others):
        store.captures(session, _tokens(64, seed), residual_points(N_LAYERS), keep=True)
    return Setup(session, store)


def _tokens(n: int, seed: int) -> list[int]:
    return torch.randint(0, 4096, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


def variants(given: Setup, tokens: list[int], at: tuple[HookPoint, ...]) -> dict[str, Callable[[], Any]]:
    """Reading and running of one capture, which is kept first."""
    session, store = given.session, given.store
    store.captures(session, tokens, at, keep=True)

    def read() -> dict[HookPoint, Tensor]:
        # As `store.captures` reads, without its choice.
        model = (session.fingerprint, session.dtype, session.processing)
        keys = {point: capture_key(*model, tokens, point) for point in at}
        with store.file.snapshot() as cursor:
            kept = find(cursor, "capture", list(keys.values()))
            found = store.read(cursor, kept)
        return {point: from_bytes(kept[key].header, found[key]) for point, key in keys.items()}

    return {"recompute": lambda: session.capture(tokens, at), "read": read}


def layouts(folder: Path, n_objects: int = 4 * N_OTHERS, n_bytes: int = 128 * 1024) -> dict[str, Callable[[], Any]]:
    """Reading one object of many, cut into pieces of several sizes."""
    import duckdb

    reads: dict[str, Callable[[], Any]] = {}
    data = bytes(range(256)) * (n_bytes // 256)
    for name, size in LAYOUTS.items():
        connection = duckdb.connect(str(folder / f"{size}.duckdb"), config={"threads": "1"})
        connection.execute(
            "CREATE TABLE pieces (object_id BIGINT, n INTEGER, data BLOB USING COMPRESSION uncompressed)"
        )
        for identity in range(n_objects):
            insert_pieces(connection, identity, data, size)
        connection.execute("CHECKPOINT")
        reads[name] = lambda connection=connection: read_pieces(connection, [n_objects // 2])
    return reads


def main() -> None:
    """Measure, say and record."""
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        given = setup(Path(name))
        for n_tokens in TOKENS:
            at = residual_points(N_LAYERS)
            seconds = _measure(variants(given, _tokens(n_tokens, 10_000 + n_tokens), at))
            rows += _rows(seconds, f"stories x {n_tokens} tokens x {len(at)} residuals", "recompute", "cpu time")
        given.store.close()
        rows += _rows(_measure(layouts(Path(name))), "128 KB of 50 MB", "pieces of 2 KB", "layout_read")
    record(rows)


def _measure(given: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    return interleaved(given, rounds=41, budget_s=BUDGET_S, clock=time.process_time)


def _rows(seconds: dict[str, list[float]], shape: str, to: str, metric: str) -> list[dict[str, Any]]:
    """Milliseconds of each variant, and its ratio to one of them."""
    rows = []
    for mode, values in seconds.items():
        row = {"kernel": "store", "backend": "duckdb", "mode": mode, "shape": shape, "dtype": "float32"}
        share = percentiles(ratios(seconds, mode, to))
        rows.append({**row, "metric": metric, "unit": "ms", **percentiles([1e3 * value for value in values])})
        rows.append({**row, "metric": f"{metric} / {to}", "unit": "ratio", **share})
        _LOG.info("%-42s %-16s %8.2f ms  x %.2f", shape, mode, rows[-2]["p50"], share["p50"])
    return rows


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
