"""Train a small Llama-type story model from a folder of text, on CPU, with checkpoints and resume.

1. Learn a byte-level BPE with one special token that is both BOS and EOS.
2. Encode every `<name>.train.txt` once; documents are separated by a line `<|endoftext|>`.
3. Cut windows that all start with BOS, so that the model can use position 0 as an attention sink (arXiv 2309.17453).
4. Muon (Jordan et al. 2024) for the block matrices, AdamW for the rest; constant rate, then linear decay.
5. Export the transformers folder in bf16.
"""

import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

SEPARATOR = "<|endoftext|>"
HELD_OUT = ("tinystories.valid", "simple.heldout", "chilit.heldout", "fairy.heldout")


@dataclass(frozen=True)
class TrainingRecipe:
    """Everything that decides the trained weights; the card and every checkpoint carry it."""

    d_model: int = 192
    n_layers: int = 5
    n_heads: int = 3
    d_mlp: int = 512
    d_vocab: int = 4096
    context: int = 512
    activation: str = "silu"
    windows: str = "128:0.6,256:0.85,512:1"
    """Sequence length in tokens and the share of the steps until which it holds: short ones are cheaper."""
    batch_tokens: int = 8192
    micro_tokens: int = 2048
    """Tokens of one forward and backward pass; small enough for the processor's cache."""
    total_tokens: int = 60_000_000
    learning_rate: float = 3e-3
    weight_decay: float = 0.1
    warmup_steps: int = 100
    decay_from: float = 0.55
    """Share of the steps after which the rate falls linearly to `final_rate`."""
    final_rate: float = 0.02
    mix: str = "simple:1,chilit:1,fairy:1,picture:2,tinystories:4"
    """Source name and how often one epoch repeats it."""
    seed: int = 0

    @property
    def n_steps(self) -> int:
        return math.ceil(self.total_tokens / self.batch_tokens)

    def stage_at(self, step: int) -> tuple[int, int]:
        """Sequence length in tokens, BOS included, at a step, and the first step that had it."""
        first_step = 0
        for part in self.windows.split(","):
            window, until = part.split(":")
            last = math.ceil(float(until) * self.n_steps)
            if step < last:
                return int(window), first_step
            first_step = last
        raise ValueError(f"Step {step} is beyond the recipe's {self.n_steps}.")

    def rate_at(self, step: int) -> float:
        """Learning rate at a step: linear warm-up, constant, linear decay."""
        decay_start = self.decay_from * self.n_steps
        share_left = (self.n_steps - step) / (self.n_steps - decay_start)
        decay = self.final_rate + (1 - self.final_rate) * min(1.0, share_left)
        return self.learning_rate * min(1.0, (step + 1) / self.warmup_steps) * decay


def read_documents(path: Path) -> list[str]:
    """Documents of one text file, split at separator lines, without empty ones."""
    return [text for text in (part.strip() for part in path.read_text("utf-8").split(SEPARATOR)) if text]


def training_files(text_folder: Path, mix: str) -> dict[Path, int]:
    """Training files and their repeats; every `*.txt` once where the folder has none of the named sources."""
    named = dict(part.split(":") for part in mix.split(","))
    files = {text_folder / f"{name}.train.txt": int(times) for name, times in named.items()}
    found = {path: times for path, times in files.items() if path.is_file()}
    return found or dict.fromkeys(sorted(text_folder.glob("*.txt")), 1)


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
    if n_windows == 0:
        raise ValueError(f"The text must have at least {window} tokens to train on; it has {len(joined)}.")
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
        epoch, offset = divmod(row, n_per_epoch)
        if (window, epoch) not in epoch_of:
            epoch_of = {(window, epoch): epoch_windows(sources, window, seed=recipe.seed * 1000 + window + epoch)}
        yield torch.from_numpy(epoch_of[window, epoch][offset : offset + rows].astype(np.int64))


def _epoch_length(sources, window: int) -> int:
    """Windows that every epoch has, whatever its random start."""
    n_tokens = sum(times * sum(len(document) + 1 for document in source) for source, times in sources)
    return (n_tokens - window) // (window - 1)


def build_model(recipe: TrainingRecipe):
    """A randomly initialised transformers Llama of the recipe's shape, in float32."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    config = LlamaConfig(
        vocab_size=recipe.d_vocab,
        hidden_size=recipe.d_model,
        intermediate_size=recipe.d_mlp,
        num_hidden_layers=recipe.n_layers,
        num_attention_heads=recipe.n_heads,
        num_key_value_heads=recipe.n_heads,
        head_dim=recipe.d_model // recipe.n_heads,
        max_position_embeddings=recipe.context,
        hidden_act=recipe.activation,
        tie_word_embeddings=True,
        rms_norm_eps=1e-5,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        # Compiled eager attention was measured faster than SDPA's backward pass on CPU at these sizes.
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def build_optimizers(model, recipe: TrainingRecipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside blocks, AdamW for embeddings and norm gains (no decay on the gains)."""
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    embeddings = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" in name]
    gains = [p for p in model.parameters() if p.ndim == 1]
    muon = torch.optim.Muon(
        inside, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"
    )
    adam = torch.optim.AdamW(
        [
            {"params": embeddings, "weight_decay": recipe.weight_decay},
            {"params": gains, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.95),
    )
    return [muon, adam]


def next_token_loss(model, tokens: Tensor) -> Tensor:
    """Mean cross entropy in nats of tokens 1.. given the ones before."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(input_ids=tokens[:, :-1], use_cache=False).last_hidden_state
        logits = model.lm_head(hidden)
    return cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())


@torch.no_grad()
def held_out_losses(model, tokenizer, text_folder: Path, context: int, max_windows: int = 64) -> dict[str, float]:
    """Loss in nats per token on each held-out file found: windows of `context` tokens that start with BOS."""
    losses = {}
    for name in HELD_OUT:
        path = text_folder / f"{name}.txt"
        if not path.is_file():
            continue
        documents = encode_documents(tokenizer, read_documents(path))
        joined = np.concatenate([part for document in documents for part in (document, np.zeros(1, np.uint16))])
        n = min(max_windows, len(joined) // (context - 1))
        cut = joined[: n * (context - 1)].reshape(n, context - 1).astype(np.int64)
        tokens = torch.from_numpy(np.concatenate([np.zeros((n, 1), np.int64), cut], axis=1))
        rows = [next_token_loss(model, part).item() * len(part) for part in tokens.split(8)]
        losses[name] = sum(rows) / n
    return losses


def export_folder(model, tokenizer, folder: Path) -> None:
    """Write the transformers folder (bf16 safetensors, tokenizer, config)."""
    from transformers import LlamaForCausalLM

    copy = LlamaForCausalLM(model.config).to(torch.bfloat16)
    copy.load_state_dict(model.state_dict())
    copy.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    # transformers 5 writes a class name that version 4 does not know; this one both load.
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")


def train(
    text_folder: Path,
    out: Path,
    recipe: TrainingRecipe,
    *,
    keep_at: tuple[int, ...] = (),
    save_every_s: float = 180.0,
    eval_every: int = 500,
    n_threads: int = 1,
    compile_model: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train to the end of the recipe, or go on from `out/checkpoint.pt`; return the exported model folder.

    `keep_at`: token counts at which the model folder is kept as `out/at-<tokens>`.
    """
    from transformers import PreTrainedTokenizerFast

    torch.set_num_threads(n_threads)
    out.mkdir(parents=True, exist_ok=True)
    files = training_files(text_folder, recipe.mix)
    if (out / "tokenizer.json").is_file():
        tokenizer = PreTrainedTokenizerFast.from_pretrained(out)
    else:
        tokenizer = learn_tokenizer(list(files), recipe.d_vocab)
        tokenizer.save_pretrained(out)
    sources = [(encode_documents(tokenizer, read_documents(path)), times) for path, times in files.items()]
    report(f"{sum(len(d) for s, _ in sources for d in s) / 1e6:.1f} M distinct training tokens in {len(files)} files")

    model = build_model(recipe)
    optimizers = build_optimizers(model, recipe)
    step, spent_s, curve = 0, 0.0, []
    if (out / "checkpoint.pt").is_file():
        state = torch.load(out / "checkpoint.pt", weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        step, spent_s, curve = state["step"], state["spent_s"], state["curve"]
        report(f"resumed at step {step}")
    report(f"{sum(p.numel() for p in model.parameters()):,} parameters, {recipe.n_steps} steps")
    loss_of = torch.compile(next_token_loss, dynamic=False) if compile_model else next_token_loss

    def save() -> None:
        state = {
            "model": model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in optimizers],
            "step": step,
            "spent_s": spent_s,
            "curve": curve,
            "recipe": asdict(recipe),
        }
        torch.save(state, out / "checkpoint.tmp")
        (out / "checkpoint.tmp").replace(out / "checkpoint.pt")

    last_save = started = time.monotonic()
    spent_before = spent_s
    running, running_since, step_at = 0.0, 0, started
    for tokens in batches(sources, recipe, step):
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = recipe.rate_at(step)
        parts = tokens.split(max(1, recipe.micro_tokens // tokens.shape[1]))
        for part in parts:
            loss = loss_of(model, part) * len(part) / len(tokens)
            loss.backward()
            running += loss.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        step += 1
        running_since += 1
        now = time.monotonic()
        spent_s = spent_before + now - started
        n_tokens = step * recipe.batch_tokens
        if step % 50 == 0:
            speed = running_since * recipe.batch_tokens / (now - step_at)
            report(f"step {step} {n_tokens / 1e6:.2f} M tokens, loss {running / running_since:.3f}, {speed:.0f} tokens/s")
            running, running_since, step_at = 0.0, 0, now
        if step % eval_every == 0 or step == recipe.n_steps:
            held_out = held_out_losses(model, tokenizer, text_folder, recipe.context)
            curve.append({"tokens": n_tokens, "minutes": round(spent_s / 60, 1), **held_out})
            report(f"held-out {curve[-1]}")
        for wanted in keep_at:
            if n_tokens - recipe.batch_tokens < wanted <= n_tokens:
                export_folder(model, tokenizer, out / f"at-{wanted // 1_000_000}M")
        if now - last_save > save_every_s:
            save()
            last_save = now
    save()
    export_folder(model, tokenizer, out / "model")
    (out / "curve.json").write_text(json.dumps({"recipe": asdict(recipe), "curve": curve}, indent=1) + "\n")
    return out / "model"
