"""Train a small Llama-type story model from a folder of text, on CPU, with checkpoints and resume.

1. Learn a byte-level BPE with one special token that is both BOS and EOS.
2. Encode every `<name>.train.txt` once; documents are separated by a line `<|endoftext|>`.
3. Cut windows that all start with BOS, so that the model can use position 0 as an attention sink (arXiv 2309.17453).
4. Muon (Jordan et al. 2024) for the block matrices, AdamW for the rest; constant rate, then linear decay.
5. Export the transformers folder in bf16.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from capture.checkpoints import TOKENS_FILE
from data.recipes.idle_cores import IdleCores
from data.recipes.model_card import write_card
from data.recipes.text_stream import batches, encode_documents, learn_tokenizer, read_documents, training_files
from data.recipes.training_recipe import TrainingRecipe

HELD_OUT = ("tinystories.valid", "simple.heldout", "chilit.heldout", "fairy.heldout")


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


def compiled_loss() -> Callable[[Any, Tensor], Tensor]:
    """`next_token_loss`, compiled so that the number of threads may change between steps."""
    return torch.compile(next_token_loss, dynamic=False, options={"cpp.dynamic_threads": True})


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


def note_tokens(out: Path, name: str, n_tokens: int) -> None:
    """Write into `out/tokens.json` how many tokens the model in that folder has seen."""
    path = out / TOKENS_FILE
    counts = json.loads(path.read_text()) if path.is_file() else {}
    path.write_text(json.dumps(counts | {name: n_tokens}, indent=1) + "\n")


@dataclass
class Training:
    """A training run between two steps: all that a checkpoint keeps."""

    recipe: TrainingRecipe
    model: Any
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    spent_s: float = 0.0
    curve: list[dict[str, float]] = field(default_factory=list)

    @property
    def n_tokens(self) -> int:
        return self.step * self.recipe.batch_tokens

    def save(self, path: Path) -> None:
        """Write the checkpoint; a stop in the middle leaves the one before."""
        state = {
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "spent_s": self.spent_s,
            "curve": self.curve,
            "recipe": asdict(self.recipe),
        }
        unfinished = path.with_suffix(".tmp")
        torch.save(state, unfinished)
        unfinished.replace(path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.spent_s, self.curve = state["step"], state["spent_s"], state["curve"]

    def take_step(self, tokens: Tensor, loss_of: Callable[[Any, Tensor], Tensor]) -> float:
        """One optimizer step on [rows, window] token ids; returns the loss in nats per token."""
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = self.recipe.rate_at(self.step)
        total = 0.0
        for part in tokens.split(max(1, self.recipe.micro_tokens // tokens.shape[1])):
            loss = loss_of(self.model, part) * len(part) / len(tokens)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return total


def begin_or_resume(out: Path, recipe: TrainingRecipe) -> Training:
    """A new run, or the one that `out/checkpoint.pt` holds."""
    recipe.check()
    model = build_model(recipe)
    training = Training(recipe, model, build_optimizers(model, recipe))
    if (out / "checkpoint.pt").is_file():
        training.load(out / "checkpoint.pt")
    return training


def tokenizer_of(out: Path, files: list[Path], d_vocab: int):
    """The run's tokenizer, learnt at its first start."""
    from transformers import PreTrainedTokenizerFast

    if (out / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast.from_pretrained(out)
    tokenizer = learn_tokenizer(files, d_vocab)
    tokenizer.save_pretrained(out)
    return tokenizer


def train(
    text_folder: Path,
    out: Path,
    recipe: TrainingRecipe,
    *,
    keep_at: tuple[int, ...] = (),
    save_every_s: float = 180.0,
    eval_every: int = 500,
    n_threads: int = 0,
    compile_model: bool = True,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Train to the end of the recipe, or go on from `out/checkpoint.pt`; return the exported model folder.

    `n_threads`: 0 takes the cores that are idle, which changes the rounding; a resume repeats itself bit for bit only
    with a fixed number. `keep_at`: token counts at which the model folder is kept as `out/at-<millions>M`.
    """
    torch.set_num_threads(n_threads or 1)
    idle = IdleCores()
    out.mkdir(parents=True, exist_ok=True)
    files = training_files(text_folder, recipe.mix)
    tokenizer = tokenizer_of(out, list(files), recipe.d_vocab)
    sources = [(encode_documents(tokenizer, read_documents(path)), times) for path, times in files.items()]
    training = begin_or_resume(out, recipe)
    n_parameters = sum(p.numel() for p in training.model.parameters())
    n_distinct = sum(len(document) for documents, _ in sources for document in documents)
    shape = f"{n_parameters:,} parameters, {n_distinct / 1e6:.1f} M distinct tokens"
    report(f"{shape}, step {training.step} of {recipe.n_steps}")

    report_every = max(1, min(50, recipe.n_steps // 40))
    loss_of = compiled_loss() if compile_model else next_token_loss
    clock = last_save = time.monotonic()
    for tokens in batches(sources, recipe, training.step):
        torch.set_num_threads(n_threads or idle.threads())
        loss = training.take_step(tokens, loss_of)
        now = time.monotonic()
        training.spent_s += now - clock
        speed, clock = recipe.batch_tokens / (now - clock), now
        if training.step % report_every == 0 or training.step == recipe.n_steps:
            done = f"step {training.step}, {training.n_tokens / 1e6:.1f} M tokens"
            report(f"{done}, loss {loss:.3f}, {speed:.0f} tokens/s")
        if training.step % eval_every == 0 or training.step == recipe.n_steps:
            losses = held_out_losses(training.model, tokenizer, text_folder, recipe.context)
            training.curve.append({"tokens": training.n_tokens, "minutes": round(training.spent_s / 60, 1), **losses})
            report(f"held-out {training.curve[-1]}")
        for wanted in keep_at:
            if training.n_tokens - recipe.batch_tokens < wanted <= training.n_tokens:
                name = f"at-{wanted // 1_000_000}M"
                export_folder(training.model, tokenizer, out / name)
                note_tokens(out, name, training.n_tokens)
        if now - last_save > save_every_s:
            training.save(out / "checkpoint.pt")
            last_save = now
    training.save(out / "checkpoint.pt")
    export_folder(training.model, tokenizer, out / "model")
    note_tokens(out, "model", training.n_tokens)
    curve = {"recipe": asdict(recipe), "curve": training.curve}
    (out / "curve.json").write_text(json.dumps(curve, indent=1) + "\n")
    write_card(out / "model", text_folder, recipe, training.curve)
    return out / "model"
