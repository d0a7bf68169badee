"""Labelled texts: what is read from each kind of file, the tasks in them, and what is refused."""

import numpy as np
import pytest

from capture.errors import UserError
from sae.labelled_texts import LabelledTexts, labelled_sets, read_labelled, tasks_of

FILES = {
    "a.csv": 'text,label\n"a, b",yes\nc,no\n' + "d,yes\ne,no\n" * 3,
    "a.tsv": "id\tlabel\ttext\n" + "1\tyes\ta, b\n2\tno\tc\n" + "3\tyes\td\n4\tno\te\n" * 3,
    "bare.tsv": "a, b\tyes\nc\tno\n" + "d\tyes\ne\tno\n" * 3,
    "a.jsonl": '{"text": "a, b", "label": "yes"}\n{"text": "c", "label": "no"}\n\n'
    + '{"text": "d", "label": "yes"}\n{"text": "e", "label": "no"}\n' * 3,
}


@pytest.mark.parametrize("name", FILES)
def test_each_kind_of_file_gives_the_same_texts(name, tmp_path):
    (tmp_path / name).write_text(FILES[name])
    found = read_labelled(tmp_path / name)
    assert found.texts == ("a, b", "c", *("d", "e") * 3)
    assert found.labels == ("yes", "no") * 4


def test_the_sets_that_ship_have_as_many_texts_of_each_label():
    assert labelled_sets() == ("creatures", "feelings", "speech")
    for name in labelled_sets():
        found = read_labelled(name)
        assert len(set(found.texts)) == 56
        assert sorted(found.labels.count(label) for label in set(found.labels)) == [28, 28]


def test_two_labels_are_one_task_and_more_are_one_each_against_as_many_others():
    two = LabelledTexts("two", tuple("abcdefgh"), ("x", "y") * 4)
    (task,) = tasks_of(two)
    assert (task.label, task.is_positive.tolist()) == ("y", [False, True] * 4)
    three = LabelledTexts("three", tuple("abcdefghijkl"), ("x", "y", "z") * 4)
    tasks = tasks_of(three)
    assert [task.label for task in tasks] == ["x", "y", "z"]
    for task in tasks:
        labels = np.array(three.labels)[task.rows]
        np.testing.assert_array_equal(task.is_positive, labels == task.label)
        assert (len(task.rows), task.is_positive.sum()) == (8, 4)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("text,label\na,b\n" * 1, "must have 2 to 100 labels"),
        ("text,label\n" + "a,x\nb,y\n" * 3, "at least 4 texts; 'x' has 3"),
        ("one,two\n1,2\n", "does not name text and label"),
        ("text,label\nlonely\n", "a line has 1 column: 'lonely'"),
        ("", "does not name text and label"),
    ],
)
def test_a_file_that_will_not_do_is_refused_with_what_is_wrong(text, said, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_labelled(tmp_path / "a.csv")


def test_broken_json_and_a_file_that_is_not_there_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text("[1]\n")
    with pytest.raises(UserError, match="cannot be read as labelled texts"):
        read_labelled(tmp_path / "a.jsonl")
    with pytest.raises(UserError, match=r"no file none\.csv"):
        read_labelled(tmp_path / "none.csv")
