"""What a controller costs: each generated token with its patches, and the one reading of the prompt, in one run.

A random model of GPT-2 small's shape, one thread, processor time. All 12 blocks are patched.
Target: a generated token at most 1.03 of the base model's step.
Run: python -m benchmarks.bench_controller
"""

import logging
import time
from collections.abc import Callable
from typing import Any

import torch

from benchmarks.bench_capture import Setup, setup
from benchmarks.record import interleaved, percentiles, ratios, record
from capture.hook_point import HookPoint
from steering.controller import Controller, decide, patches
from steering.controller_checkpoint import initial_network
from steering.controller_recipe import ControllerRecipe, input_layers

N_PROMPT, N_TOKENS = 64, 24
ROUNDS, BUDGET_S = 15, 120.0
_LOG = logging.getLogger(__name__)


def controller_for(given: Setup) -> Controller:
    """A controller of the paper's shape for the model: last third of the blocks, 1,024 hidden units, all patched."""
    shape = given.session.shape
    inputs = tuple(HookPoint(layer, "resid_post") for layer in input_layers(shape.n_layers))
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(8, len(inputs) * shape.d_model, generator=draw)
    directions = torch.nn.functional.normalize(torch.randn(shape.n_layers, shape.d_model, generator=draw), dim=1)
    facts = {"variant": "paper", "output": "raw", "loss": "mse", "alpha": 0.1, "unit": "relative"}
    facts |= {"fingerprint": given.session.fingerprint}
    network = initial_network(x, ControllerRecipe(hidden=1024), shape.n_layers)
    layers = tuple(range(shape.n_layers))
    return Controller(inputs, layers, network, directions, torch.full((shape.n_layers,), 10.0), facts)


def variants(given: Setup) -> dict[str, Callable[[], Any]]:
    """Generation without and with the patches, over one prompt; and a forward pass and a reading of it."""
    session, controller = given.session, controller_for(given)
    prompt = torch.randint(0, 50_000, (N_PROMPT,), generator=torch.Generator().manual_seed(1)).tolist()
    changes = patches(controller, decide(controller, session, prompt), N_PROMPT, 0.1, "relative")

    def generate(some: Any) -> Any:
        return session.generate(prompt, N_TOKENS, temperature=0.0, interventions=some)

    return {
        "generate": lambda: generate(()),
        "generate with controller": lambda: generate(changes),
        "forward": lambda: session.logits(prompt),
        "read the prompt": lambda: decide(controller, session, prompt),
    }


def main() -> None:
    """Measure, say and record."""
    torch.set_num_threads(1)
    given = setup()
    seconds = interleaved(variants(given), ROUNDS, BUDGET_S, clock=time.process_time)
    where = {"kernel": "controller", "backend": "bridge", "shape": f"gpt2-small, {N_PROMPT} + {N_TOKENS} tokens"}
    rows = []
    for name, base in (("generate with controller", "generate"), ("read the prompt", "forward")):
        row = {**where, "mode": name, "dtype": "float32"}
        share = percentiles(ratios(seconds, name, base))
        a_token = N_TOKENS if base == "generate" else 1
        per = percentiles([1e3 * value / a_token for value in seconds[name]])
        rows.append({**row, "metric": "cpu time a token" if a_token > 1 else "cpu time", "unit": "ms", **per})
        rows.append({**row, "metric": f"cpu time / {base}", "unit": "ratio", **share})
        _LOG.info("%-26s %8.2f ms  x %.3f (%.3f to %.3f)", name, per["p50"], share["p50"], share["p20"], share["p80"])
    record(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
