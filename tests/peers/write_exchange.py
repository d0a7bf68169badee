"""Our side, before: models, vectors in our files, and the logits that we say they give. Run in our environment.

Everything goes to a folder, since the libraries that read it need another transformers than ours.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.methods.add_direction import AddDirection
from steering.vector_file import VectorFile, write_vector_file
from tests.models import tiny_gpt2, tiny_llama, tiny_tokenizer

TOKENS = (0, 40, 90, 33, 120, 77, 201, 5)
LAYERS = (1, 2)
FORMATS = ("repeng", "svec", "safetensors")


def write_exchange(folder: Path) -> None:
    """A folder for each model."""
    for make in (tiny_llama, tiny_gpt2):
        _write_model(make, folder / make.__name__.removeprefix("tiny_"))


def _write_model(make, folder: Path) -> None:
    make().save_pretrained(folder)
    model = make()
    model_type, width = model.config.model_type, model.config.hidden_size
    session = ModelSession(model, tiny_tokenizer(), name="tiny")
    draw = torch.Generator().manual_seed(4)
    vectors = {HookPoint(layer, "resid_post"): 3 * torch.randn(width, generator=draw) for layer in LAYERS}
    found = VectorFile(vectors, "tiny", "tiny", model_type, session.shape.n_layers)
    for name in FORMATS:
        for file, data in write_vector_file(name, found).items():
            (folder / file).write_bytes(data)
    added = [AddDirection(at, tuple(vector.tolist())) for at, vector in vectors.items()]
    logits = {"clean": session.logits(TOKENS), "steered": session.logits(TOKENS, added)}
    logits |= {f"block_{at.layer}": vector for at, vector in vectors.items()}
    save_file(logits, folder / "expected.safetensors")
    (folder / "exchange.json").write_text(json.dumps({"tokens": TOKENS, "layers": LAYERS, "model_type": model_type}))


if __name__ == "__main__":
    write_exchange(Path(sys.argv[1]))
