"""What our side wrote, as the peers' environment reads it: plain transformers, and nothing of ours."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file


class Exchange:
    """One model's folder: the model, our vectors and the logits that we say they give."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.expected = load_file(folder / "expected.safetensors")
        facts = json.loads((folder / "exchange.json").read_text())
        self.ids = torch.tensor([facts["tokens"]])
        self.layers, self.model_type = facts["layers"], facts["model_type"]
        self.snippets = facts["snippets"]

    def model(self):
        """The model as this transformers loads it."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM.from_pretrained(self.folder, torch_dtype=torch.float32).eval()

    def snippet(self, library: str) -> str:
        """What the bundle's README says is done with a library, in Python."""
        (found,) = [one for one in self.snippets if f"import {library}" in one or f"from {library}" in one]
        return found

    def vector(self, layer: int) -> torch.Tensor:
        """What we said is added to the output of a block."""
        return self.expected[f"block_{layer}"]

    def is_as_expected(self, logits: torch.Tensor, run: str) -> bool:
        """Whether they are our logits of the run, up to the rounding of other sums of the same numbers."""
        return self.distance(logits, run) < 1e-4

    def distance(self, logits: torch.Tensor, run: str) -> float:
        """The largest difference from our logits of the run, which are of size 10."""
        return float((logits[0] - self.expected[run]).abs().max())


@pytest.fixture(params=["llama", "gpt2"])
def given(request):
    """One of the models that our side wrote."""
    return Exchange(Path(os.environ["STEERSCOPE_EXCHANGE"]) / request.param)
