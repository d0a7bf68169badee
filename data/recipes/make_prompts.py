"""Prompts for a controller: beginnings of stories that turn sad, and as many that do not; our own texts.

1. Most are made from templates: a setup and a turn. Of those that do not turn sad a third are happy, a third neutral,
   and a third hard: they have the words of sadness, and are not sad.
2. The set to learn from has the sentences of data/labels/feelings.csv and of every second pair of happy_sad as well.
3. The set held out has setups, turns, names, pets and things of its own, so that what is measured is no memory of the
   templates.
"""

import csv
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

DATA = Path(__file__).resolve().parents[1]
SAD, OTHER = "sad", "other"

TEMPLATES = Path(__file__).with_name("prompt_templates.json")
"""Setups, turns by kind, and the words for their slots; each has a list for a part."""


def prompts(part: str, n: int, seed: int = 0) -> list[dict[str, str]]:
    """`n` prompts from templates, half of them sad, in a random order; to learn from, hand-written ones as well."""
    draw, given = random.Random(seed), json.loads(TEMPLATES.read_text("utf-8"))
    shares = {"sad": n // 2, "happy": n // 6, "neutral": n // 6, "hard": n - n // 2 - 2 * (n // 6)}
    found: dict[str, str] = {}
    for kind, n_wanted in shares.items():
        n_before = len(found)
        while len(found) < n_before + n_wanted:
            sentences = draw.choice(given["setups"][part]), draw.choice(given["turns"][kind][part])
            text = _filled(draw, sentences, given["words"][part])
            found.setdefault(text, SAD if kind == "sad" else OTHER)
    if part == "fit":
        found |= hand_written()
    rows = [{"text": text, "label": label} for text, label in found.items()]
    draw.shuffle(rows)
    return rows


def _filled(draw: random.Random, sentences: Sequence[str], words: Mapping[str, Sequence[str]]) -> str:
    chosen = {slot: draw.choice(some) for slot, some in words.items()}
    return " ".join(sentence.format(**chosen) for sentence in sentences)


def hand_written() -> dict[str, str]:
    """Sentences that were written one by one: those on feelings, and the first half of the happy_sad pairs."""
    with (DATA / "labels" / "feelings.csv").open(encoding="utf-8", newline="") as file:
        found = {row["text"]: SAD if row["label"] == SAD else OTHER for row in csv.DictReader(file)}
    for pair in json.loads((DATA / "pairs" / "happy_sad.json").read_text("utf-8"))["pairs"][::2]:
        found[pair["prompt"] + pair["negative"]] = SAD
        found[pair["prompt"] + pair["positive"]] = OTHER
    return found


NAMES = {"fit": "sad_turn", "held-out": "sad_turn_held_out"}


def write_prompts(out: Path, n_fit: int = 800, n_held_out: int = 180) -> list[Path]:
    """Write both sets as labelled texts; return their paths."""
    paths = []
    for part, name in NAMES.items():
        n = n_fit if part == "fit" else n_held_out
        data = {"title": name, "labels": [SAD, OTHER], "texts": prompts(part, n)}
        path = out / f"{name}.json"
        path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")
        paths.append(path)
    return paths


if __name__ == "__main__":
    write_prompts(DATA / "prompts")
