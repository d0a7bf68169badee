import os

import pytest
import torch
from transformers import DynamicCache, LlamaConfig

from capture.errors import UserError
from capture.memory import MemoryEstimate, available_bytes, check_fits, estimate
from tests.models import FAMILIES, tiny_llama

LLAMA_70B = {
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_are_counted_exactly_from_the_config_alone(family):
    model = FAMILIES[family]()
    n_params = sum(parameter.numel() for parameter in model.parameters())
    found = estimate(model.config, "float32")
    assert (found.n_params, found.weights) == (n_params, 4 * n_params)


def test_the_cache_is_as_large_as_the_one_that_a_run_fills():
    model = tiny_llama()
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(torch.zeros((1, 20), dtype=torch.long), past_key_values=cache)
    n_bytes = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert estimate(model.config, "float32", n_tokens=20).cache == n_bytes


def test_half_the_width_takes_half_the_weights_and_cache():
    wide, narrow = (estimate(tiny_llama().config, dtype) for dtype in ("float32", "bfloat16"))
    assert (wide.weights, wide.cache) == (2 * narrow.weights, 2 * narrow.cache)


def test_a_text_is_no_longer_than_the_context():
    config = tiny_llama().config
    assert estimate(config, "float32", 10_000) == estimate(config, "float32", config.max_position_embeddings)


def test_a_model_of_70_billion_parameters_is_estimated_without_making_it():
    found = estimate(LlamaConfig(**LLAMA_70B), "bfloat16")
    assert found.n_params == 70_553_706_496
    assert found.cache == 2 * 80 * 8 * 128 * 512 * 2


def test_what_does_not_fit_is_refused_with_the_numbers():
    needed = MemoryEstimate(7_000_000_000, 28_000_000_000, 500_000_000, 100_000_000)
    with pytest.raises(UserError) as refusal:
        check_fits("big/model", needed, 10_000_000_000)
    assert refusal.value.message == (
        "big/model has 7.0 billion parameters and would take about 28.6 GB (weights 28.0 GB, activations 0.5 GB, "
        "cache 0.1 GB); 10.0 GB is free in memory."
    )


def test_what_just_fits_is_not_refused():
    check_fits("model", MemoryEstimate(1, 4, 3, 2), 9)
    with pytest.raises(UserError):
        check_fits("model", MemoryEstimate(1, 4, 3, 2), 8)


@pytest.mark.parametrize("n_layers", [0, 1_001, 10**12])
def test_an_absurd_number_of_layers_is_refused_at_once(n_layers):
    config = tiny_llama().config
    config.num_hidden_layers = n_layers
    with pytest.raises(UserError, match="from 1 to 1000 layers"):
        estimate(config, "float32")


def test_free_memory_is_some_and_less_than_there_is():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 10_000_000 < available_bytes() < total
