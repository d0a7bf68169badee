"""From a folder of text files to batches of token ids, the same ones after a resume."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from capture.errors import UserError
from data.recipes.training_recipe import TrainingRecipe

SEPARATOR = "<|endoftext|>"


def read_documents(path: Path) -> list[str]:
    """Documents of one text file, split at separator lines, without empty ones."""
    return [text for text in (part.strip() for part in path.read_text("utf-8").split(SEPARATOR)) if text]


def training_files(text_folder: Path, mix: str) -> dict[Path, int]:
    """Training files and their repeats; every `*.txt` once where the folder has none of the named sources."""
    named = dict(part.split(":") for part in mix.split(","))
    files = {text_folder / f"{name}.train.txt": int(times) for name, times in named.items()}
    found = {path: times for path, times in files.items() if path.is_file()}
    found = found or dict.fromkeys(sorted(text_folder.glob("*.txt")), 1)
    if not found:
        raise UserError(
            f"The folder {text_folder} must hold .txt files to train on; it has none.", "Name another folder."
        )
    return found


def learn_tokenizer(files: list[Path], d_vocab: int):
    """Byte-level BPE of `d_vocab` tokens whose token 0 is the separator, as a transformers tokenizer."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=d_vocab,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    documents = (document for path in files for document in read_documents(path))
    bpe.train_from_iterator(documents, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=SEPARATOR, eos_token=SEPARATOR, pad_token=SEPARATOR, model_max_length=512
    )


def encode_documents(tokenizer, documents: list[str]) -> list[np.ndarray]:
    """Token ids of each document, without BOS."""
    encoded = tokenizer.backend_tokenizer.encode_batch(documents, add_special_tokens=False)
    return [np.array(one.ids, dtype=np.uint16) for one in encoded]


def epoch_windows(sources: list[tuple[list[np.ndarray], int]], window: int, seed: int) -> np.ndarray:
    """One epoch as [windows, window] token ids: documents shuffled, joined by BOS, cut, each window led by BOS."""
    rng = np.random.default_rng(seed)
    documents = [document for source, times in sources for _ in range(times) for document in source]
    bos = np.zeros(1, dtype=np.uint16)
    joined = np.concatenate([part for i in rng.permutation(len(documents)) for part in (documents[i], bos)])
    start = int(rng.integers(window - 1))
    n_windows = (len(joined) - start) // (window - 1)
    cut = joined[start : start + n_windows * (window - 1)].reshape(n_windows, window - 1)
    cut = cut[rng.permutation(n_windows)]
    return np.concatenate([np.zeros((n_windows, 1), dtype=np.uint16), cut], axis=1)


def batches(sources, recipe: TrainingRecipe, first_step: int) -> Iterator[Tensor]:
    """Batches of token ids from a step on; the same step gives the same batch after a resume."""
    epoch_of: dict[tuple[int, int], np.ndarray] = {}
    for step in range(first_step, recipe.n_steps):
        window, stage_start = recipe.stage_at(step)
        rows = recipe.batch_tokens // window
        row = (step - stage_start) * rows
        n_per_epoch = _epoch_length(sources, window) // rows * rows
        if n_per_epoch <= 0:
            message = f"The text must fill a batch of {recipe.batch_tokens:,} tokens; it does not."
            raise UserError(message, "Add text, repeat a source in the mix, or make the batch smaller.")
        epoch, offset = divmod(row, n_per_epoch)
        if (window, epoch) not in epoch_of:
            epoch_of = {(window, epoch): epoch_windows(sources, window, seed=recipe.seed * 1000 + window + epoch)}
        yield torch.from_numpy(epoch_of[window, epoch][offset : offset + rows].astype(np.int64))


def _epoch_length(sources, window: int) -> int:
    """Windows that every epoch has, whatever its random start."""
    n_tokens = sum(times * sum(len(document) + 1 for document in source) for source, times in sources)
    return (n_tokens - window) // (window - 1)
