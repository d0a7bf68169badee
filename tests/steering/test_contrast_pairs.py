"""Contrast sets are read from JSON, JSON lines and CSV; what a fit could not use is refused by a sentence."""

import json

import pytest

from capture.errors import UserError
from steering.contrast_pairs import Example, contrast_of, read_contrast, single_pair

PAIRS = [{"prompt": "She was", "positive": " glad.", "negative": " sad."}, {"positive": "joy", "negative": "grief"}]
TEXTS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}, {"text": "c", "label": "z"}]


def written(tmp_path, name, text):
    (tmp_path / name).write_text(text, "utf-8")
    return tmp_path / name


def test_the_layouts_of_pairs_say_the_same(tmp_path):
    lines = "\n".join(map(json.dumps, PAIRS))
    table = "prompt,positive,negative\nShe was, glad., sad.\n,joy,grief\n"
    found = [
        read_contrast(written(tmp_path, name, text))
        for name, text in (("a.json", json.dumps({"pairs": PAIRS})), ("a.jsonl", lines), ("a.csv", table))
    ]
    assert found[0] == found[1] == found[2]
    assert found[0].pairs[0] == (Example(" glad.", "positive", "She was"), Example(" sad.", "negative", "She was"))
    assert len({one.digest() for one in found}) == 1


def test_labels_and_title_come_from_the_file(tmp_path):
    data = {"title": "Moods", "labels": ["happy", "sad"], "pairs": PAIRS}
    contrast = read_contrast(written(tmp_path, "a.json", json.dumps(data)))
    assert (contrast.title, contrast.labels) == ("Moods", ("happy", "sad"))
    assert [one.label for one in contrast.examples] == ["happy", "sad"] * 2


def test_labelled_texts_keep_their_order_of_labels(tmp_path):
    path = written(tmp_path, "a.csv", "text,label\nb,2\na,1\nc,2\n")
    contrast = read_contrast(path)
    assert (contrast.labels, contrast.is_paired) == (("2", "1"), False)
    assert read_contrast(written(tmp_path, "a.json", json.dumps({"texts": TEXTS}))).labels == ("x", "y", "z")


def test_halves_share_no_pair_and_lose_none(tmp_path):
    contrast = contrast_of("n", ("p", "q"), [Example(f"{i}", "pq"[i % 2]) for i in range(12)], is_paired=True)
    first, second = contrast.halves()
    assert not {*first.examples} & {*second.examples}
    assert {*first.examples} | {*second.examples} == {*contrast.examples}
    assert all(int(plus.text) + 1 == int(minus.text) for half in (first, second) for plus, minus in half.pairs)


def test_single_texts_are_halved_by_label():
    contrast = contrast_of("n", ("p", "q"), [Example(f"{i}", "p" if i < 4 else "q") for i in range(8)], False)
    assert [[one.text for one in half.examples] for half in contrast.halves()] == [list("0246"), list("1357")]


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("a.json", json.dumps({"pairs": []}), "it has none"),
        ("a.json", json.dumps({"pairs": [{"positive": "same ", "negative": "same"}]}), "those of pair 1 are the same"),
        ("a.json", json.dumps({"pairs": [{"positive": "a", "negative": " "}]}), "Text 2 must have at least one"),
        ("a.json", json.dumps({"pairs": [{"positive": "a", "negative": "b" * 64_001}]}), "64,000 is the most"),
        ("a.json", json.dumps({"pairs": [{"positive": "a", "negative": 3.5}]}), ""),
        ("a.json", json.dumps({"pairs": [{"positive": "a", "negative": None}]}), "must have a text called 'negative'"),
        ("a.json", json.dumps({"texts": TEXTS[:1]}), "all 1 are 'x'"),
        ("a.json", json.dumps({"texts": TEXTS, "labels": ["x", "y"]}), "has the label 'z'"),
        ("a.json", json.dumps({"texts": TEXTS, "labels": 3}), "must be a list of words"),
        ("a.json", json.dumps({"pairs": PAIRS, "labels": ["a", "b", "c"]}), "A pair has two labels"),
        ("a.json", json.dumps("pairs"), "must have a list of pairs"),
        ("a.json", "[" * 100_000, "cannot be read"),
        ("a.json", "{", "cannot be read"),
        ("a.jsonl", "3\n", "must have a text called 'text'"),
        ("a.csv", "one,two\n1,2\n", "must have a text called 'text'"),
        ("a.txt", "", "is neither a bundled set nor a file of pairs"),
    ],
)
def test_what_cannot_be_fitted_on_is_refused(tmp_path, name, text, sentence):
    if sentence:
        with pytest.raises(UserError, match=sentence):
            read_contrast(written(tmp_path, name, text))
    else:
        assert read_contrast(written(tmp_path, name, text)).examples[1].text == "3.5"


def test_a_file_that_is_not_there_and_one_that_is_not_utf8_are_refused(tmp_path):
    with pytest.raises(UserError, match="There is no file"):
        read_contrast(tmp_path / "none.json")
    (tmp_path / "a.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_contrast(tmp_path / "a.csv")


def test_one_pair_is_a_set_too():
    assert len(single_pair("Love", "Hate").pairs) == 1
    with pytest.raises(UserError, match="must differ"):
        single_pair("Love", "Love")
