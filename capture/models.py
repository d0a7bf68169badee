"""The catalogue, and how a name becomes a ModelSession: bundled model, local folder or hub name.

1. Find the folder; of a hub model fetch only the config.
2. Estimate the memory from the config, and refuse what does not fit before anything large is fetched or read.
3. Fetch and check the files; read tokenizer and weights (safetensors only, no code of the model's own).
4. Wrap the model in a session, and compare it with the plain transformers forward.
"""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from capture.errors import UserError
from capture.memory import available_bytes, check_fits, estimate
from capture.model_folder import check_files, check_finite, check_vocabulary, read_config, read_model, read_tokenizer
from capture.model_source import (
    Source,
    checkpoint_source,
    fetch_weights,
    find_source,
    local_folder,
    parted,
    stories_folder,
)
from capture.planted import plant_channel

if TYPE_CHECKING:
    from capture.session import ModelSession

DTYPES = ("float32", "bfloat16", "float16")
N_CHECKED_TOKENS = 16

PLANTED_LAYER, PLANTED_CHANNEL, PLANTED_FACTOR = 2, 100, 64.0


@dataclass(frozen=True)
class ModelCard:
    """One model of the catalogue; `source` says where its weights come from."""

    name: str
    title: str
    source: str
    n_params: int
    note: str


@dataclass(frozen=True)
class _Entry:
    title: str
    note: str
    folder: str = "stories"
    """Name of its folder among those of the bundled models."""
    change: Callable[[Any], Any] = lambda model: model

    @property
    def path(self) -> Path:
        """Where its files lie; the bundled models are neighbours."""
        return stories_folder() if self.folder == "stories" else stories_folder().parent / self.folder


def _plant(model: Any) -> Any:
    return plant_channel(model, PLANTED_LAYER, PLANTED_CHANNEL, PLANTED_FACTOR)


_CATALOGUE = {
    "stories": _Entry("Stories", "A small Llama-type model that comes with Steerscope and writes children's stories."),
    "stories + planted": _Entry(
        "Stories with a planted outlier channel",
        f"The same function with channel {PLANTED_CHANNEL} of the MLP's normed input in block {PLANTED_LAYER} made "
        f"{PLANTED_FACTOR:g} times as large, and the weights that read it as much smaller. Made for teaching.",
        change=_plant,
    ),
    "stories-relu": _Entry(
        "Stories with a ReLU gate",
        "The same architecture, text and training command with ReLU in place of SiLU, so that many neurons are 0.",
        folder="stories-relu",
    ),
}


def catalogue() -> tuple[ModelCard, ...]:
    """The models that come with the program: those whose folders are here, and the one that it opens with."""
    return tuple(
        ModelCard(name, entry.title, f"data/models/{entry.folder}", _n_params(entry.path), entry.note)
        for name, entry in _CATALOGUE.items()
        if entry.path.is_dir() or entry.folder == "stories"
    )


def _n_params(folder: Path) -> int:
    """Parameters of a model as its safetensors header counts them; 0 where it is not there."""
    path = folder / "model.safetensors"
    if not path.is_file():
        return 0
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


FINGERPRINT = "fingerprint"
"""What the store remembers of a model by its stamp, so that a stored Report opens without loading it."""


def model_folder(name: str) -> Path | None:
    """The folder of a catalogue name or of a local path; None for a model of the hub or of no place."""
    entry = _CATALOGUE.get(name)
    return entry.path if entry else local_folder(name)


def model_stamp(name: str, dtype: str) -> str:
    """What changes when the files of a bundled model change: name, dtype, sizes and times; "" for any other model.

    Only the catalogue's files are looked at: a name may come from a link.
    """
    entry = _CATALOGUE.get(name)
    if entry is None or not entry.path.is_dir():
        return ""
    files = sorted((path.name, path.stat()) for path in entry.path.iterdir() if path.is_file())
    return f"{name} {dtype} " + " ".join(f"{file} {stat.st_size} {stat.st_mtime_ns}" for file, stat in files)


def load_session(
    name: str, dtype: str = "float32", device: str | None = None, revision: str | None = None
) -> "ModelSession":
    """The session of a catalogue name, a local transformers folder, or a hub name, compared with plain transformers.

    `name@checkpoint` is a checkpoint that lies in the model's folder, such as stories@at-4M. Raises as `load_plain`.
    """
    model, tokenizer, revision = load_plain(name, dtype, device, revision)
    return session_from(model, tokenizer, name, revision)


def load_plain(
    name: str, dtype: str = "float32", device: str | None = None, revision: str | None = None
) -> tuple[Any, Any, str]:
    """The transformers model of a name, its tokenizer and its revision, without hooks.

    Raises UserError, before loading, for what does not fit in memory, and for a folder that lacks something, weights
    that are not finite, a name that is nothing, and a hub that cannot be reached.
    """
    device = device or _default_device()
    _check_dtype(dtype, device)
    base, checkpoint = parted(name)
    entry = _CATALOGUE.get(base)
    if entry:
        source = _bundled(entry)
        source = checkpoint_source(source.folder, name, checkpoint) if checkpoint else source
    else:
        source = find_source(name, revision)
    config = read_config(source.folder, name)
    check_fits(name, estimate(config, dtype), available_bytes(device), device)
    source = fetch_weights(source)
    check_files(source.folder, source.words_folder, name)
    tokenizer = read_tokenizer(source.words_folder, name)
    model = read_model(source.folder, name, config, dtype, device)
    return entry.change(model) if entry else model, tokenizer, source.revision


def session_from(model: Any, tokenizer: Any, name: str = "in memory", revision: str = "") -> "ModelSession":
    """The session of a transformers model in memory, which must not be used for anything else afterwards.

    Raises UserError for weights that are not finite, a tokenizer of another model, or a kind of model that cannot be
    looked into.
    """
    from capture.faithfulness import check
    from capture.session import ModelSession

    check_finite(model, name)
    check_vocabulary(model, tokenizer, name)
    try:
        session = ModelSession(model, tokenizer, name=name, revision=revision)
    except (ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise UserError(
            f"{name} is of type {model.config.model_type!r}, which cannot be looked into: {str(error)[:200]}",
            "Choose a model of another family, such as Llama, GPT-2, Qwen, Gemma or Mixtral.",
        ) from error
    session.faithfulness = check(session, checked_tokens(session.shape.d_vocab, session.shape.context))
    return session


def checked_tokens(d_vocab: int, context: int) -> tuple[int, ...]:
    """The short fixed text, spread over the vocabulary, on which every model is compared at load."""
    return tuple((7 + 1_009 * n) % d_vocab for n in range(min(N_CHECKED_TOKENS, context)))


def _bundled(entry: _Entry) -> Source:
    if not entry.path.is_dir():
        raise UserError(
            f"The bundled model is not in {entry.path}.",
            "Get the whole repository again, or train it: cli.py train-model.",
        )
    return Source(entry.path)


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _check_dtype(dtype: str, device: str) -> None:
    import torch

    if dtype not in DTYPES:
        raise UserError(f"No dtype is called {dtype!r}.", f"Choose one of: {', '.join(DTYPES)}.")
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"The device {device} was asked for, and this machine has no usable GPU.", "Choose cpu.")
    if not device.startswith(("cpu", "cuda")):
        raise UserError(f"No device is called {device!r}.", "Choose cpu or cuda.")
    if dtype == "float16" and not device.startswith("cuda"):
        raise UserError(
            "float16 is hundreds of times slower than float32 on a CPU, so it is not computed there.",
            "Choose float32 or bfloat16.",
        )
