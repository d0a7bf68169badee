"""Put a training run into data/models: its model, its checkpoints without tokenizers, their counts, a card for all.

python -m data.recipes.bundle_model RUN_FOLDER data/models/NAME
"""

import hashlib
import json
import math
import shutil
import sys
from pathlib import Path

from capture.checkpoints import ITSELF, TOKENS_FILE, tokens_in_name
from capture.errors import UserError

CHECKPOINT_FILES = ("config.json", "model.safetensors")


def bundle_model(run: Path, out: Path) -> Path:
    """Copy the run of `train-model` into the folder of a bundled model; returns that folder.

    A checkpoint kept at n tokens has seen n rounded up to whole batches. Raises UserError where the run is not over.
    """
    if not (run / "curve.json").is_file() or not (run / "model" / "model.safetensors").is_file():
        raise UserError(
            f"{run} must be a finished run of train-model; it has no curve.json or no model.", "Let it end."
        )
    curve = json.loads((run / "curve.json").read_text())
    batch = int(curve["recipe"]["batch_tokens"])
    shutil.copytree(run / "model", out, dirs_exist_ok=True)
    counts = {ITSELF: int(curve["curve"][-1]["tokens"])}
    kept = {path.name: n for path in run.iterdir() if path.is_dir() and (n := tokens_in_name(path.name))}
    for name, asked in sorted(kept.items(), key=lambda one: one[1]):
        (out / "checkpoints" / name).mkdir(parents=True, exist_ok=True)
        for file in CHECKPOINT_FILES:
            shutil.copyfile(run / name / file, out / "checkpoints" / name / file)
        counts[name] = math.ceil(asked / batch) * batch
    (out / TOKENS_FILE).write_text(json.dumps(counts, indent=1) + "\n")
    card = (run / "model" / "README.md").read_text("utf-8").partition("\n")[2]
    (out / "README.md").write_text(f"# {out.name}\n{card.rstrip()}\n\n{_checkpoints(out, counts)}", "utf-8")
    return out


def _checkpoints(out: Path, counts: dict[str, int]) -> str:
    rows = [
        f"| `checkpoints/{name}` | {n_tokens:,} | `{_digest(out / 'checkpoints' / name / 'model.safetensors')}` |"
        for name, n_tokens in counts.items()
        if name != ITSELF
    ]
    head = ["| folder | tokens | SHA-256 of model.safetensors |", "|--|--|--|"]
    words = "Weights and config as they were after so many tokens (bf16; the tokenizer is the one of this folder)."
    return "\n".join(["## Checkpoints of the same run", "", words, "", *head, *rows, ""])


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.stdout.write(f"{bundle_model(Path(sys.argv[1]), Path(sys.argv[2]))}\n")
