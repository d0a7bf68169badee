"""Capture of all residuals, and a stream over all sites, against the plain transformers forward, in one run.

A random model of GPT-2 small's shape, one thread, processor time.
Targets: capture at most 1.15 of the plain forward, stream over all sites at most 1.5.
Run: python -m benchmarks.bench_capture
"""

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.record import interleaved, percentiles, ratios, record
from capture.hook_point import BLOCK_SITES, HookPoint, residual_points
from capture.session import ModelSession

TOKENS = (128, 512)
BUDGET_S = 20.0
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """The same weights twice: as transformers has them, and in a session."""

    plain: Any
    session: ModelSession
    all_sites: tuple[HookPoint, ...]


def setup() -> Setup:
    """A random GPT-2 small."""
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(GPT2Config()).eval()
    plain = copy.deepcopy(model, {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    session = ModelSession(model, tokenizer, name="random gpt2-small")
    points = (HookPoint(layer, site) for layer in range(12) for site in BLOCK_SITES if not site.startswith("attn_sc"))
    return Setup(plain, session, tuple(point for point in points if session.has_site(point)))


def variants(given: Setup, n_tokens: int) -> dict[str, Callable[[], Any]]:
    """What is compared, over the same random tokens."""
    tokens = torch.randint(0, 50_000, (n_tokens,), generator=torch.Generator().manual_seed(n_tokens))
    ids, row = tokens[None], tokens.tolist()
    residuals = residual_points(12)
    logits = HookPoint(None, "logits")

    def plain() -> Tensor:
        with torch.no_grad():
            return given.plain(ids).logits

    return {
        "plain forward": plain,
        "capture residuals": lambda: given.session.capture(row, residuals),
        "capture residuals and logits": lambda: given.session.capture(row, [*residuals, logits]),
        "stream all sites": lambda: given.session.stream([row], given.all_sites, lambda *_: None),
    }


def main() -> None:
    """Measure, say and record."""
    torch.set_num_threads(1)
    given = setup()
    for n_tokens in TOKENS:
        rows = []
        seconds = interleaved(variants(given, n_tokens), rounds=5, budget_s=BUDGET_S, clock=time.process_time)
        where = {"kernel": "capture", "backend": "bridge", "shape": f"gpt2-small x {n_tokens} tokens"}
        for name, values in seconds.items():
            row = {**where, "mode": name, "dtype": "float32", "metric": "cpu time", "unit": "ms"}
            share = percentiles(ratios(seconds, name, "plain forward"))
            rows.append({**row, **percentiles([1e3 * value for value in values])})
            rows.append({**row, "metric": "cpu time / plain forward", "unit": "ratio", **share})
            _LOG.info("%4d tokens  %-30s %8.1f ms  x %.2f", n_tokens, name, rows[-2]["p50"], share["p50"])
        record(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
