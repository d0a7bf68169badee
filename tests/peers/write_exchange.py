"""Our side, before: models, bundles of a recipe, and the logits that we say it gives. Run in our environment.

Everything goes to a folder, since the libraries that read it need another transformers than ours.
"""

import json
import os
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.bundle import make_bundle, write_bundle
from steering.controller_folder import write_controller
from steering.folding import fold, summed
from steering.methods.add_direction import AddDirection
from steering.methods.controller import change_by
from steering.recipe import Step
from steering.shelf import put_on_shelf
from tests.models import tiny_gpt2, tiny_llama, tiny_tokenizer
from tests.steering.planted_controller import made

TOKENS = (0, 40, 90, 33, 120, 77, 201, 5)
LAYERS = (1, 2)
N_NEW = 8


def write_exchange(folder: Path) -> None:
    """A folder for each model."""
    for make in (tiny_llama, tiny_gpt2):
        _write_model(make, folder / make.__name__.removeprefix("tiny_"))


def recipe_of(width: int) -> tuple[Step, ...]:
    """Two steps whose strengths, unit and weights are in the vectors of the bundle."""
    draw = torch.Generator().manual_seed(4)
    first, second = (
        AddDirection(HookPoint(layer, "resid_post"), tuple(torch.randn(width, generator=draw).tolist()))
        for layer in LAYERS
    )
    return (
        Step("glad", (first, second), 3.0, weights={2: 0.5}),
        Step("loud", (first,), 2.0, "relative", {first.at: 4.0}),
    )


def _write_model(make, folder: Path) -> None:
    make().save_pretrained(folder)
    model = make()
    model_type, width = model.config.model_type, model.config.hidden_size
    session = ModelSession(model, tiny_tokenizer(), name="tiny")
    recipe = recipe_of(width)
    bundle = make_bundle(session, recipe)
    write_bundle(bundle, folder / "bundle")
    expected = {"clean": session.logits(TOKENS), "steered": session.logits(TOKENS, recipe)}
    expected["decided"] = torch.tensor(_decided(session, folder))
    expected |= {f"block_{at.layer}": vector for at, vector in summed(fold(recipe).additions).items()}
    save_file(expected, folder / "expected.safetensors")
    snippets = re.findall(r"```python\n(.*?)```", bundle.files["README.md"].decode(), re.DOTALL)
    facts = {"tokens": TOKENS, "layers": LAYERS, "model_type": model_type, "snippets": snippets}
    (folder / "exchange.json").write_text(json.dumps(facts))


def _decided(session: ModelSession, folder: Path) -> tuple[int, ...]:
    """What the model writes behind the tokens under a controller, whose bundle is written as well."""
    os.environ["STEERSCOPE_HOME"] = str(folder / "home")
    controller = made(of=session)
    write_controller(controller, folder / "cheer")
    change = change_by(put_on_shelf("controllers", folder / "cheer", "cheer").digest, controller, 60.0)
    write_bundle(make_bundle(session, [change]), folder / "controller_bundle")
    (new,) = session.generate_rows([GenerationRow(TOKENS, (change,))], N_NEW, Sampling(temperature=0.0))
    return new


if __name__ == "__main__":
    write_exchange(Path(sys.argv[1]))
