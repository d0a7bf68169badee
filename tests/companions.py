"""Tiny models beside another one, under names that need no folder."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from capture.companion import Companion, companion
from capture.session import ModelSession
from steering.methods import logit_shift
from tests.models import N_VOCAB, tiny_llama, tiny_tokenizer


def tiny_companion(seed: int, tokenizer: PreTrainedTokenizerFast | None = None) -> Companion:
    """A companion that is a random Llama of that seed."""
    return Companion(ModelSession(tiny_llama(seed), tokenizer or tiny_tokenizer(), name=f"tiny {seed}"))


def other_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of as many tokens that are other words."""
    words = {f"word{n}": n for n in range(N_VOCAB)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="word0")))


@contextmanager
def tiny_companions(**companions: Companion) -> Iterator[dict[str, Companion]]:
    """Let changes name these companions, and `tuned` and `untuned` in any case."""
    known = {"tuned": tiny_companion(5), "untuned": tiny_companion(6), **companions}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            logit_shift, "companion", lambda name, dtype, device: known.get(name) or companion(name, dtype, device)
        )
        yield known
