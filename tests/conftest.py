"""Sessions shared by all tests; read-only."""

from collections.abc import Iterator

import pytest
import torch

from capture.session import ModelSession
from tests.models import tiny_llama, tiny_tokenizer


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Several test processes on few cores are slower with more threads, and tiny models gain nothing."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests make goes to no folder of a person's, and a test may put SAEs on a shelf."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEERSCOPE_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="session")
def tiny_session() -> ModelSession:
    """A random Llama of 3 blocks and d_model 32 whose tokenizer has a BOS token."""
    return ModelSession(tiny_llama(), tiny_tokenizer(), name="tiny llama")
