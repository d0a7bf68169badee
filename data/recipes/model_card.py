"""The card of a trained model: what it is, how it was made, how well it does, what it writes."""

import csv
import hashlib
from pathlib import Path
from typing import Any

from data.recipes.sampling import TEMPERATURE, TOP_P, sampled_texts
from data.recipes.text_stream import read_documents, training_files
from data.recipes.training_recipe import TrainingRecipe

SAMPLE_STARTS = ("Once upon a time", "The little dog", '"Where are you going?"', "")
SAMPLE_TOKENS = 60
MAX_NAMED = 4


def command_of(recipe: TrainingRecipe) -> str:
    """The command line that trains this recipe again, with what differs from the defaults."""
    default = TrainingRecipe()
    flags = [
        f"--{name.replace('_', '-')} {value}" for name, value in vars(recipe).items() if value != getattr(default, name)
    ]
    return " ".join(["python cli.py train-model --text TEXT_FOLDER --out OUT_FOLDER", *flags])


def write_card(model_folder: Path, text_folder: Path, recipe: TrainingRecipe, curve: list[dict[str, Any]]) -> Path:
    """Write `README.md` into the model folder and return its path."""
    path = model_folder / "README.md"
    path.write_text(_card(model_folder, text_folder, recipe, curve), "utf-8")
    return path


def _card(model_folder: Path, text_folder: Path, recipe: TrainingRecipe, curve: list[dict[str, Any]]) -> str:
    weights = model_folder / "model.safetensors"
    written = sampled_texts(model_folder, SAMPLE_STARTS, SAMPLE_TOKENS, seed=0)
    quoted = "\n\n".join("> " + text.replace("\n", "  \n> ") for text in written)
    return f"""# {model_folder.name}

A Llama-type language model of story English: {recipe.n_layers} blocks, d_model {recipe.d_model},
{recipe.n_heads} heads, gated MLP of {recipe.d_mlp} neurons ({recipe.activation}), RMSNorm, rotary positions,
tied embeddings, context {recipe.context}. Byte-level BPE of {recipe.d_vocab:,} tokens; `<|endoftext|>` (id 0) is
BOS and EOS. Weights in bfloat16.

- Made by: `{command_of(recipe)}`
- Licence of the weights: Apache-2.0, as the rest of the project.
- `model.safetensors`: {weights.stat().st_size:,} bytes, SHA-256 `{hashlib.sha256(weights.read_bytes()).hexdigest()}`

## How it was trained

{recipe.total_tokens / 1e6:.0f} M tokens in batches of {recipe.batch_tokens:,}; Muon for the matrices inside blocks and
AdamW (0.9, 0.95) for embeddings and gains, both at {recipe.learning_rate:g} after {recipe.warmup_steps} warm-up steps,
constant until {recipe.decay_from:.0%} of the steps, then linear to {recipe.final_rate:.0%}; weight decay
{recipe.weight_decay:g}; gradient norm clipped at 1; bf16 autocast over float32 weights; seed {recipe.seed}.
Every training sequence starts with BOS, so that position 0 can become an attention sink. Sequence length and the
share of the steps until which it holds: {recipe.windows.replace(",", ", ")}.

Text, and how often one epoch repeats it:

{_data_table(text_folder, recipe)}

{_licence_table(text_folder)}

## Held-out loss, nats per token (windows of {recipe.context} tokens from BOS)

{_curve_table(curve)}

## What it writes (temperature {TEMPERATURE}, top-p {TOP_P}, seed 0, float32)

{quoted}

## Limits

It knows children's stories of about 1880-1925 and simple modern ones, and nothing else. It invents, it wanders, and
the old books' views of people can show in what it writes. It is for looking inside, not for use.
"""


def _data_table(text_folder: Path, recipe: TrainingRecipe) -> str:
    rows = [
        f"| {path.name} | {times} | {len(read_documents(path)):,} | {path.stat().st_size / 1e6:.1f} |"
        for path, times in training_files(text_folder, recipe.mix).items()
    ]
    return "\n".join(["| file | repeats | documents | MB |", "|--|--|--|--|", *rows])


def _licence_table(text_folder: Path) -> str:
    """Licences of the text by number of sources and size, from the folder's `SOURCES.tsv`, where it has one."""
    path = text_folder / "SOURCES.tsv"
    if not path.is_file():
        return "The folder says nothing of the text's licences."
    with path.open(encoding="utf-8", newline="") as file:
        sources = list(csv.DictReader(file, delimiter="\t"))
    lines = ["| licence of the text | sources | MB before cleaning |", "|--|--|--|"]
    for licence in sorted({source["licence"] for source in sources}):
        of_it = [source for source in sources if source["licence"] == licence]
        names = ", ".join(source["repo"] for source in of_it[:MAX_NAMED])
        more = f" and {len(of_it) - MAX_NAMED} more" if len(of_it) > MAX_NAMED else ""
        n_bytes = sum(int(source["bytes_before_cleaning"]) for source in of_it)
        lines.append(f"| {licence} | {names}{more} | {n_bytes / 1e6:.1f} |")
    return "\n".join(lines)


def _curve_table(curve: list[dict[str, Any]]) -> str:
    if not curve:
        return "No evaluation was made."
    shown = curve if len(curve) <= 16 else [*curve[:: max(1, len(curve) // 15)], curve[-1]]
    names = [name for name in shown[-1] if name not in {"tokens", "minutes"}]
    lines = [f"| M tokens | minutes | {' | '.join(names)} |", "|--|--|" + "--|" * len(names)]
    for row in shown:
        losses = " | ".join(f"{row[name]:.2f}" for name in names)
        lines.append(f"| {row['tokens'] / 1e6:.1f} | {row['minutes']:g} | {losses} |")
    return "\n".join(dict.fromkeys(lines))
