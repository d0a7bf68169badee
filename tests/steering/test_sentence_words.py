"""Which word of a sentence is like none that was learnt."""

import pytest
import torch
from torch.nn.functional import cosine_similarity

from capture.models import load_session
from steering.concept_rows import sentence_tokens
from steering.concepts import read_concepts
from steering.hypernetwork_folder import read_hypernetwork
from steering.sentence_words import WORDS, known_words, read_words, strangest_word
from steering.shelf import find_shelved

ASKED = [["the bear", "of a bear"], ["the cat"], ["a river"]]


def familiarity(session, token: int, known) -> float:
    """The equation, plainly."""
    embeddings = session.weight("W_E", 0).double()
    embeddings = embeddings - embeddings.mean(0)
    return max(float(cosine_similarity(embeddings[token], embeddings[one], dim=0)) for one in known)


def test_the_words_of_all_ways_to_ask_are_known_and_none_of_them_is_strange(tiny_session):
    facts = {WORDS: known_words(tiny_session, ASKED).to_json() | {"limit": 0.999}}
    said = {token for some in ASKED for one in some for token in sentence_tokens(tiny_session, one, False)}
    assert set(facts[WORDS]["tokens"]) == said
    assert all(strangest_word(tiny_session, facts, one) is None for some in ASKED for one in some)


def test_the_strangest_word_is_the_one_with_the_least_familiar_token(tiny_session):
    known = sentence_tokens(tiny_session, "the cat", False)
    facts = {WORDS: {"tokens": list(known), "limit": 1.0}}
    found = strangest_word(tiny_session, facts, "the quiet bear")
    values = {
        word: min(familiarity(tiny_session, token, known) for token in sentence_tokens(tiny_session, word, False))
        for word in ("the", "quiet", "bear")
    }
    assert (found.word, found.familiarity) == (min(values, key=values.get), pytest.approx(min(values.values())))


def test_the_limit_is_what_a_tenth_of_the_concepts_fall_below_without_their_own_sentences(tiny_session):
    own = [{token for one in some for token in sentence_tokens(tiny_session, one, False)} for some in ASKED]
    least = []
    for n, some in enumerate(ASKED):
        others = set().union(*(tokens for m, tokens in enumerate(own) if m != n))
        tokens = sentence_tokens(tiny_session, some[0], False)
        least.append(min(familiarity(tiny_session, token, others) for token in tokens))
    expected = float(torch.tensor(least).quantile(0.1))
    assert known_words(tiny_session, ASKED).limit == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("words", [None, 3, {}, {"tokens": [10**9], "limit": 0.3}, {"tokens": ["a"], "limit": 0.3}])
def test_without_words_that_can_be_read_nothing_is_strange(words, tiny_session):
    assert read_words({WORDS: words}, 100) is None
    assert strangest_word(tiny_session, {WORDS: words}, "asdf") is None


NONSENSE = ["asdf qwer", "SELECT * FROM users", "quantum electrodynamics of gauge bosons", "parliamentary procedure"]


def test_the_bundled_hypernetwork_finds_nonsense_strange_and_few_concepts_held_out_as_the_readme_says():
    session = load_session("stories")
    facts = read_hypernetwork(find_shelved("hypernetworks", "stories-sentence").folder).facts
    assert all(strangest_word(session, facts, one) for one in NONSENSE)
    held_out = [one.asked[0] for one in read_concepts("stories").held_out]
    assert (sum(strangest_word(session, facts, one) is not None for one in held_out), len(held_out)) == (9, 56)
