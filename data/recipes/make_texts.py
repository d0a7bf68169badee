"""The corpus that ships with the app: texts sampled from the bundled model, so that they are the project's own."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

from data.recipes.sampling import TEMPERATURE, TOP_P, sampled_texts

MIN_WORDS = 20
BATCH = 40


def whole_sentences(text: str) -> str:
    """The text up to its last sentence end, or nothing where it has none."""
    ends = [match.end() for match in re.finditer(r"[.!?][\"']?(?=\s|$)", text)]
    return text[: ends[-1]].strip() if ends else ""


def make_texts(
    model_folder: Path,
    out: Path,
    *,
    n_texts: int = 300,
    n_tokens: int = 160,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write `stories.json` with `n_texts` different texts of whole sentences; return its path."""
    texts: dict[str, None] = {}
    batch = 0
    while len(texts) < n_texts:
        made = sampled_texts(model_folder, [""] * BATCH, n_tokens, seed=seed + batch)
        kept = [text for text in map(whole_sentences, made) if len(text.split()) >= MIN_WORDS]
        texts.update(dict.fromkeys(kept))
        batch += 1
        report(f"{len(texts)} of {n_texts} texts")
    weights = (model_folder / "model.safetensors").read_bytes()
    data = {
        "title": f"{n_texts} texts sampled from the bundled model",
        "made": {
            "model_sha256": hashlib.sha256(weights).hexdigest(),
            "seed": seed,
            "temperature": TEMPERATURE,
            "top_p": TOP_P,
            "n_tokens": n_tokens,
        },
        "texts": list(texts)[:n_texts],
    }
    path = out / "stories.json"
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path
