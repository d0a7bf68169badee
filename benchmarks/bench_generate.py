"""Steered decoding against transformers' cached `generate` and TransformerLens's hooked one without cache, in one run.

The bundled model and a random one of GPT-2 small's shape, one row and four, one thread, processor time. Every row has a
vector of its own strength at every block; texts go on to the last token, and nothing is remembered between runs.
Targets in tokens/s: at least 0.9 of transformers with the same sampling; 5 times TransformerLens at 128 tokens.
Run: python -m benchmarks.bench_generate
"""

import copy
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.record import interleaved, percentiles, ratios, record
from capture.generation import GenerationRow, Sampling
from capture.hook_point import residual_points
from capture.session import ModelSession
from steering.methods.add_direction import AddDirection

N_ROWS = (1, 4)
N_PROMPT = 16
N_SLOW = 128
BUDGET_S = 90.0
SAMPLING = Sampling(temperature=0.8, top_p=0.95)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """The same weights three times: as transformers has them, in TransformerLens's bridge, and in a session."""

    name: str
    plain: Any
    bridge: Any
    session: ModelSession
    prompt: tuple[int, ...]
    n_new: int


def setup(name: str) -> Setup:
    """The bundled model, or a random GPT-2 small."""
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, GPT2Config, PreTrainedTokenizerFast

    from capture.model_source import stories_folder

    torch.manual_seed(0)
    if name == "stories":
        model = AutoModelForCausalLM.from_pretrained(stories_folder(), dtype=torch.float32).eval()
    else:
        model = AutoModelForCausalLM.from_config(GPT2Config()).eval()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()))
    plain, bridged = _over_the_same_weights(model), _bridged(_over_the_same_weights(model), tokenizer)
    session = ModelSession(model, tokenizer, name=name)
    session._stops = frozenset()
    draw = torch.Generator().manual_seed(1)
    prompt = torch.randint(1, session.shape.d_vocab, (N_PROMPT,), generator=draw).tolist()
    return Setup(name, plain, bridged, session, tuple(prompt), 128 if name == "stories" else 48)


def _over_the_same_weights(model: Any) -> Any:
    return copy.deepcopy(model, {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]})


def _bridged(model: Any, tokenizer: Any) -> Any:
    from transformer_lens.model_bridge import TransformerBridge

    tokenizer.add_special_tokens({"eos_token": "<end>"})
    return TransformerBridge.boot_transformers("local", hf_model=model, tokenizer=tokenizer, device="cpu")


def changes(given: Setup, row: int) -> tuple[AddDirection, ...]:
    """A vector at every block, with a strength of this row."""
    shape = given.session.shape
    vectors = torch.randn(shape.n_layers, shape.d_model, generator=torch.Generator().manual_seed(2))
    return tuple(
        AddDirection(at, tuple(vector.tolist()), 0.05 * (row + 1))
        for at, vector in zip(residual_points(shape.n_layers), vectors, strict=True)
    )


def against_transformers(given: Setup, n_rows: int) -> Mapping[str, Callable[[], Any]]:
    """What is compared, each making the same number of tokens of the same prompt."""
    from transformers import GenerationConfig

    ids = torch.tensor([given.prompt] * n_rows)
    config = GenerationConfig(
        max_new_tokens=given.n_new,
        do_sample=True,
        temperature=SAMPLING.temperature,
        top_p=SAMPLING.top_p,
        top_k=0,
        eos_token_id=None,
        pad_token_id=0,
    )
    steered = [GenerationRow(given.prompt, changes(given, row), seed=row) for row in range(n_rows)]
    clean = [GenerationRow(given.prompt, seed=row) for row in range(n_rows)]

    def ours(rows: list[GenerationRow]) -> Any:
        return given.session.generate_rows(rows, given.n_new, SAMPLING, remember=False)

    def plain() -> Any:
        given.plain.generation_config.eos_token_id = None
        return given.plain.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)

    return {"transformers": plain, "clean": lambda: ours(clean), "steered": lambda: ours(steered)}


def against_transformer_lens(given: Setup) -> Mapping[str, Callable[[], Any]]:
    """One row of 128 tokens under the same vectors."""
    made, tensors = changes(given, 0), {}
    for change in made:
        tensors[str(change.at)] = change.strength * torch.tensor(change.vector)

    def hooked() -> Any:
        hooks = [(name, lambda x, hook, v=vector: x + v) for name, vector in tensors.items()]
        with given.bridge.hooks(fwd_hooks=hooks), torch.no_grad():
            return given.bridge.generate(
                torch.tensor([given.prompt]),
                max_new_tokens=N_SLOW,
                stop_at_eos=False,
                use_past_kv_cache=False,
                temperature=SAMPLING.temperature,
                top_p=SAMPLING.top_p,
                return_type="tokens",
                verbose=False,
            )

    rows = [GenerationRow(given.prompt, made)]
    return {
        "transformer_lens without cache": hooked,
        "steered": lambda: given.session.generate_rows(rows, N_SLOW, SAMPLING, remember=False),
    }


def measure(given: Setup, variants: Mapping[str, Callable[[], Any]], n_rows: int, n_new: int) -> list[dict[str, Any]]:
    """Tokens per second of each, and how many times those of the first."""
    seconds = interleaved(variants, rounds=7, budget_s=BUDGET_S, clock=time.process_time)
    base, *_ = variants
    rows = []
    where = {"kernel": "generate", "shape": f"{given.name} x {n_rows} rows x {n_new} tokens", "dtype": "float32"}
    for name, values in seconds.items():
        row = {**where, "backend": base, "mode": name}
        speed = percentiles([n_rows * n_new / value for value in values])
        share = percentiles(ratios(seconds, base, name))
        rows.append({**row, "metric": "cpu tokens / s", "unit": "tokens/s", **speed})
        rows.append({**row, "metric": f"speed / {base}", "unit": "ratio", **share})
        _LOG.info("%-36s %-32s %8.1f tokens/s  x %.2f", where["shape"], name, speed["p50"], share["p50"])
    return rows


def main() -> None:
    """Measure, say and record."""
    torch.set_num_threads(1)
    for name in ("stories", "gpt2-small"):
        given, rows = setup(name), []
        for n_rows in N_ROWS:
            rows += measure(given, against_transformers(given, n_rows), n_rows, given.n_new)
        rows += measure(given, against_transformer_lens(given), 1, N_SLOW)
        record(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
