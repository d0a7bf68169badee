"""The corpus sampled from a model."""

import json
from pathlib import Path

import pytest

from data.recipes.make_texts import make_texts, whole_sentences


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("He ran. She sat. And th", "He ran. She sat."),
        ('"Stop!" he said', '"Stop!"'),
        ("no end", ""),
        ("It is 3.5 long", ""),
        ("All of it.", "All of it."),
    ],
)
def test_a_text_ends_with_its_last_whole_sentence(text: str, kept: str) -> None:
    assert whole_sentences(text) == kept


def test_the_same_seed_gives_the_same_corpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    long = "word " * 25

    def sampled(folder: Path, starts: list[str], n_tokens: int, seed: int) -> list[str]:
        return [f"{long}{seed} {i % 3}. cut" for i in range(len(starts))]

    monkeypatch.setattr("data.recipes.make_texts.sampled_texts", sampled)
    first = json.loads(make_texts(tmp_path, tmp_path, n_texts=5, seed=7).read_text())
    second = json.loads(make_texts(tmp_path, tmp_path, n_texts=5, seed=7).read_text())
    assert first == second
    assert first["texts"] == [f"{long}{seed} {i}." for seed, i in ((7, 0), (7, 1), (7, 2), (8, 0), (8, 1))]
