"""Sampled texts of a model folder, in batches."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch

TEMPERATURE = 0.8
TOP_P = 0.95
BATCH = 144


@torch.no_grad()
def sampled_texts(model_folder: Path, starts: Sequence[str], n_tokens: int, seed: int) -> Iterator[str]:
    """One continuation of each start (BOS before it), in float32, of at most `n_tokens` new tokens; starts included.

    Starts are run one by one, or together where they are equal; the same seed gives the same texts.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    torch.manual_seed(seed)
    for start in dict.fromkeys(starts):
        ids = [tokenizer.bos_token_id, *tokenizer(start, add_special_tokens=False)["input_ids"]]
        rows = torch.tensor([ids] * list(starts).count(start))
        made = model.generate(
            rows,
            attention_mask=torch.ones_like(rows),
            max_new_tokens=n_tokens,
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            top_k=0,
            pad_token_id=tokenizer.eos_token_id,
        )
        yield from tokenizer.batch_decode(made[:, 1:], skip_special_tokens=True)


def continuation_sampler(model_folder: Path, n_tokens: int) -> Callable[[Sequence[str], int], list[str]]:
    """What draws, by a seed, a continuation of each of some starts: at most `n_tokens` tokens, without the start.

    Starts of any lengths are run together, padded on the left, BOS before each; in float32, at most BATCH at once.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)

    @torch.no_grad()
    def sample(starts: Sequence[str], seed: int) -> list[str]:
        torch.manual_seed(seed)
        found: list[str] = []
        for first in range(0, len(starts), BATCH):
            rows = [tokenizer.bos_token + start for start in starts[first : first + BATCH]]
            given = tokenizer(rows, return_tensors="pt", padding=True, add_special_tokens=False)
            made = model.generate(
                given["input_ids"],
                attention_mask=given["attention_mask"],
                max_new_tokens=n_tokens,
                do_sample=True,
                temperature=TEMPERATURE,
                top_p=TOP_P,
                top_k=0,
                pad_token_id=tokenizer.eos_token_id,
            )
            found += tokenizer.batch_decode(made[:, given["input_ids"].shape[1] :], skip_special_tokens=True)
        return found

    return sample
