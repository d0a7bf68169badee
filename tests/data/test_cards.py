"""What ships under data/ has a card that is true of it."""

import hashlib
import json
from pathlib import Path

import pytest

from capture.models import load_session
from sae.library import load_sae

DATA = Path(__file__).resolve().parents[2] / "data"
WEIGHTS = sorted(path for kind in ("models", "saes") for path in (DATA / kind).rglob("*.safetensors"))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card_of(weights: Path) -> str:
    """The nearest README.md above the file."""
    return next(folder / "README.md" for folder in weights.parents if (folder / "README.md").is_file()).read_text()


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda path: str(path.relative_to(DATA)))
def test_weights_are_small_and_their_card_has_their_checksum(weights: Path) -> None:
    assert weights.stat().st_size <= 12_000_000
    assert digest(weights) in card_of(weights)


def test_the_bundled_model_has_its_checkpoints() -> None:
    checkpoints = [path for path in WEIGHTS if "checkpoints" in path.parts]
    assert 4 <= len(checkpoints) <= 6


def test_the_saes_are_of_the_bundled_model_and_their_cards_have_their_figures() -> None:
    for table in sorted((DATA / "saes").glob("*/metrics.json")):
        figures, card = json.loads(table.read_text()), (table.parent / "README.md").read_text()
        sae = load_sae(table.parent)
        assert figures["facts"]["sae"] == sae.digest
        assert figures["facts"]["fingerprint"] == load_session("stories").fingerprint
        value = {row["name"]: row["value"] for row in figures["rows"]}
        assert value["dead_share"] < 0.05
        assert value["loss_recovered_zero"] >= 0.9
        for name in ("fvu", "loss_recovered_zero", "loss_recovered_mean", "delta_ce"):
            assert f"| {name} | {value[name]:.4f} |" in card


def test_the_corpus_was_sampled_from_the_bundled_model() -> None:
    corpus = json.loads((DATA / "texts" / "stories.json").read_text())
    assert corpus["made"]["model_sha256"] == digest(DATA / "models" / "stories" / "model.safetensors")
    assert len(set(corpus["texts"])) == len(corpus["texts"]) >= 200


TEXTS = sorted([*(DATA / "texts").glob("*.json"), *(DATA / "labels").glob("*.csv")])


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_the_texts_have_a_card_with_their_checksum(path: Path) -> None:
    card = (path.parent / "README.md").read_text()
    assert f"`{path.name}`" in card
    assert digest(path) in card
