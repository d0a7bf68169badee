"""Sessions shared by all tests; read-only."""

import pytest
import torch

from capture.session import ModelSession
from tests.models import tiny_llama, tiny_tokenizer


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Several test processes on few cores are slower with more threads, and tiny models gain nothing."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_session() -> ModelSession:
    """A random Llama of 3 blocks and d_model 32 whose tokenizer has a BOS token."""
    return ModelSession(tiny_llama(), tiny_tokenizer(), name="tiny llama")
