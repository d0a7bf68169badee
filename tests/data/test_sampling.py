"""Continuations drawn from a model folder."""

from pathlib import Path

from data.recipes.sampling import continuation_sampler

STORIES = Path(__file__).resolve().parents[2] / "data" / "models" / "stories"


def test_each_start_is_continued_by_the_seed_and_left_out():
    sample = continuation_sampler(STORIES, 6)
    starts = ["Once upon a time there was a", "He"]
    first, again, other = sample(starts, 1), sample(starts, 1), sample(starts, 2)
    assert first == again != other
    assert all(text and not text.startswith(start) for text, start in zip(first, starts, strict=True))
