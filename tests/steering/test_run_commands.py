"""`python cli.py steer run`: clean and steered texts of one prompt, at multiples of a recipe's strength."""

import json
import re
from dataclasses import replace

import pytest

import cli
from capture.hook_point import HookPoint
from capture.sampling import Sampling
from steering.methods.add_direction import AddDirection
from steering.recipe import Step
from steering.run_commands import said, written_lines

AT = HookPoint(1, "resid_post")
GREEDY = Sampling(temperature=0)
STEP = Step("glad", (AddDirection(AT, tuple(float(i % 3) for i in range(32))),), 4.0)
PROMPT = (1, 9, 8)


def texts(session, step, multiples):
    lines = written_lines(session, PROMPT, (step,), multiples, 8, GREEDY)
    return dict(map(str.strip, re.split(r"  +", line, maxsplit=1)) for line in lines)


def test_a_line_is_what_the_model_writes_at_a_multiple_of_the_strength(tiny_session):
    wanted = {
        name: said(tiny_session, tiny_session.generate(PROMPT, 8, temperature=0, interventions=changes))
        for name, changes in {
            "clean": (),
            "steered × 1": (STEP,),
            "steered × -2": (replace(STEP, strength=-8.0),),
        }.items()
    }
    found = texts(tiny_session, STEP, [1.0, -2.0])
    assert found == wanted
    assert len(set(found.values())) == 3


def test_at_zero_the_steered_text_is_the_clean_one(tiny_session):
    found = texts(tiny_session, STEP, [0.0])
    assert found["clean"] == found["steered × 0"]


def test_the_command_reads_a_recipe_file_and_writes_on_the_bundled_model(tmp_path, capsys):
    step = Step("glad", (AddDirection(AT, tuple([3.0, -3.0] * 96)),))
    (tmp_path / "recipe.json").write_text(json.dumps({"model": "stories", "interventions": [step.recipe()]}))
    words = ["--prompt", "Once upon a time", "--n-tokens", "5", "--temperature", "0"]
    with pytest.raises(SystemExit) as ended:
        cli.main(["steer", "run", str(tmp_path / "recipe.json"), *words])
    assert ended.value.code == 0
    clean, steered = capsys.readouterr().out.splitlines()
    assert clean.startswith("clean ")
    assert steered.startswith("steered × 1 ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.json", "--prompt", "a"], "cannot be read as a recipe"),
        (["happy_sad", "--prompt", ""], "A text must have at least one character"),
        (["happy_sad", "--prompt", "a", "--multiple", "1e9"], "must lie within"),
        (["happy_sad", "--prompt", "a" * 9000], "Shorten the text"),
    ],
)
def test_bad_input_gets_a_sentence(words, message, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["steer", "run", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
