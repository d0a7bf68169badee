"""A transformers folder: what must be in it, and its config, tokenizer and weights. Nothing in it is ever run."""

from pathlib import Path
from typing import Any

from capture.errors import UserError, first_line
from capture.model_source import TOKENIZER_FILES

_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt")
# What transformers, tokenizers and safetensors raise for files that they cannot read.
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)


def read_config(folder: Path, name: str) -> Any:
    """The transformers config of a folder; raises UserError where there is none that can be read without code."""
    from transformers import AutoConfig

    if not (folder / "config.json").is_file():
        raise UserError(
            f"A model folder must have a config.json; {folder} has none.", "Give a folder that transformers wrote."
        )
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except _UNREADABLE as error:
        raise UserError(
            f"The config of {name} cannot be read: {first_line(error)}.",
            "Models that bring their own code are not loaded; choose one that transformers knows.",
        ) from error
    if getattr(config, "quantization_config", None):
        raise UserError(
            f"The weights of {name} are quantised, and their activations would not be the model's own.",
            "Choose the same model without quantisation.",
        )
    return config


def check_files(folder: Path, words_folder: Path, name: str) -> None:
    """Refuse a folder without safetensors weights, or a folder of its tokenizer without one."""
    if not any(folder.glob("*.safetensors")):
        if any(True for pattern in _PICKLED for _ in folder.glob(pattern)):
            raise UserError(
                f"The weights of {name} are pickled, and reading a pickle can run any program.",
                "Convert them to safetensors first (save_pretrained of transformers does).",
            )
        raise UserError(f"{name} has no weights: {folder} has no .safetensors file.", "Give a complete folder.")
    if not any((words_folder / file).is_file() for file in TOKENIZER_FILES):
        raise UserError(
            f"{name} has no tokenizer: {words_folder} has none of {', '.join(TOKENIZER_FILES)}.",
            "Copy the tokenizer's files into the folder.",
        )


def read_tokenizer(folder: Path, name: str) -> Any:
    """The tokenizer of a folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except _UNREADABLE as error:
        raise UserError(
            f"The tokenizer of {name} cannot be read: {first_line(error)}.", "Copy its files from where it was made."
        ) from error


def read_model(folder: Path, name: str, config: Any, dtype: str, device: str) -> Any:
    """The model in a folder, from safetensors alone; refuses weights that are missing or of the wrong shape."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
    except (*_UNREADABLE, SafetensorError) as error:
        raise UserError(
            f"The weights of {name} cannot be read: {first_line(error)}.", "Get the folder again, or another model."
        ) from error
    missing = sorted(map(str, [*info["missing_keys"], *info["mismatched_keys"]]))
    if missing:
        # transformers would fill them with random numbers.
        raise UserError(
            f"{name} lacks {len(missing)} of its weights, for one {missing[0][:120]}.", "Give a complete folder."
        )
    return model.to(device).eval()


def check_finite(model: Any, name: str) -> None:
    """Refuse weights that are NaN or infinite, naming the first."""
    for weight_name, weight in model.named_parameters():
        n_bad = int((~weight.isfinite()).sum())
        if n_bad:
            raise UserError(
                f"{n_bad:,} of {weight.numel():,} entries of {weight_name} in {name} are NaN or infinite.",
                "The training went wrong or the file is damaged; choose another checkpoint.",
            )


def check_vocabulary(model: Any, tokenizer: Any, name: str) -> None:
    """Refuse a tokenizer with ids that the model has no embedding for."""
    n_embedded = model.get_input_embeddings().weight.shape[0]
    # Tokens added on top may lie beyond the embeddings (transformers adds one for Qwen2); a text rarely has them.
    if tokenizer.vocab_size > n_embedded:
        raise UserError(
            f"The tokenizer of {name} has {tokenizer.vocab_size:,} tokens, and the model embeds {n_embedded:,}.",
            "Give the tokenizer that belongs to the model.",
        )
