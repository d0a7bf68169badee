"""A view copied as code makes the same numbers, and nothing in it can break out of its quotes."""

import ast
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import pipeline
from analysis.as_code import asked_of_lenses, cli_line, python_script
from analysis.command_words import flag_values
from analysis.lens import unasked_lenses
from analysis.spec import Spec, from_code, to_code
from capture.errors import UserError
from capture.models import load_session
from tests.models import tiny_llama, tiny_tokenizer

ROOT = Path(__file__).resolve().parent.parent.parent
HOSTILE = '\'; rm -rf ~ #" $(id) `id` \\ !! %s {0} """ </script>'
PRINTABLE = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), max_size=60)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    """A model in a folder whose name needs quotes."""
    folder = tmp_path_factory.mktemp("it's a $model")
    tiny_llama().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def ended(command: list[str]) -> str:
    # One thread, as the tests have: sums in another order differ in the last bit.
    home = dict(os.environ, HF_HUB_OFFLINE="1", OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    return subprocess.run(command, cwd=ROOT, env=home, check=True, capture_output=True, text=True).stdout


def specs_in(script: str) -> list[Spec]:
    """What the calls of Spec in a script spell, none of them run."""
    calls = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Spec"]
    return [Spec(**{word.arg: ast.literal_eval(word.value) for word in call.keywords}) for call in made]


@pytest.mark.parametrize("text", ["A bear ate honey.", HOSTILE])
def test_the_script_and_the_line_make_the_numbers_of_the_view(model_folder, text):
    spec = Spec("outliers", model_folder, text, bos=False, options={"what_if": "zero"}, pins={"pos": 1})
    report = pipeline.run(spec, load_session, None).report
    line = cli_line(spec).replace("python", sys.executable, 1)
    assert ended([sys.executable, "-c", python_script(spec)]).splitlines()[-1] == f"numbers {report.digest()}"
    assert f"numbers {report.digest()}" in ended(["sh", "-c", line])


def test_a_comparison_is_code_too(model_folder):
    sides = {
        side: to_code(Spec("outliers", model_folder, text)) for side, text in (("left", "A bear."), ("right", "A"))
    }
    spec = Spec("compare", options=sides)
    report = pipeline.run(spec, load_session, None).report
    assert cli_line(spec) == f"python cli.py run compare --left={sides['left']} --right={sides['right']}"
    line = cli_line(spec).replace("python", sys.executable, 1)
    assert ended([sys.executable, "-c", python_script(spec)]).splitlines()[-1] == f"numbers {report.digest()}"
    assert f"numbers {report.digest()}" in ended(["sh", "-c", line])


def test_a_short_link_among_the_sides_needs_the_store():
    spec = Spec("compare", options={"left": "0" * 20, "right": to_code(Spec("outliers", text="a"))})
    assert cli_line(spec).endswith(" --store")
    assert "ActivationStore.open()" in python_script(spec)
    assert "store" not in cli_line(spec.with_(options={"left": spec.options["right"]}))


def test_interventions_are_in_the_line_and_in_the_script():
    recipe = {"operator": "clamp", "value": 0.5, "places": [1, 2]}
    spec = Spec("outliers", text="a", interventions=(recipe,))
    view = shlex.split(cli_line(spec))[-1]
    assert from_code(view).interventions == (recipe,)
    assert specs_in(python_script(spec)) == [spec]


def test_only_what_differs_from_the_defaults_is_spelled_out():
    options = {"what_if": "leave", "criterion": "spike"}
    spec = Spec("outliers", text="a b", fingerprint="f" * 32, options=options, pins={"pos": 1})
    assert cli_line(spec) == "python cli.py run outliers --text='a b' --criterion=spike"
    assert specs_in(python_script(spec)) == [Spec("outliers", text="a b", options={"criterion": "spike"})]


def test_a_page_that_is_no_lens_is_every_lens():
    spec = Spec("what_stands_out", text="a", options={"x": 1})
    assert asked_of_lenses(spec) == tuple(Spec(slug, text="a") for slug in unasked_lenses())
    assert cli_line(spec).split(" && ") == [f"python cli.py run {slug} --text=a" for slug in unasked_lenses()]


@pytest.mark.parametrize("name", ["out", "store", "view", "out=/tmp/x --x"])
def test_an_option_that_the_lens_lacks_never_becomes_a_flag(name):
    with pytest.raises(UserError, match="No option is called"):
        cli_line(Spec("outliers", text="a", options={name: "/etc/passwd"}))


@pytest.mark.parametrize("text", ["two\nlines", "\x1b[201~id\n", "\u202eid", "\ue000"])
def test_what_does_not_print_is_in_the_code_of_the_view(text):
    line = cli_line(Spec("outliers", text=text))
    assert line.isprintable()
    assert from_code(shlex.split(line)[-1]).text == text


@given(text=PRINTABLE, model=PRINTABLE, bos=st.booleans(), dtype=st.sampled_from(["float32", "bfloat16"]))
def test_any_printable_text_survives_the_shell(text, model, bos, dtype):
    words = shlex.split(cli_line(Spec("outliers", model, text, bos=bos, dtype=dtype)))
    assert words[:4] == ["python", "cli.py", "run", "outliers"]
    said = flag_values(words[4:])
    assert said == {
        "text": text,
        **({} if model == "stories" else {"model": model}),
        **({} if dtype == "float32" else {"dtype": dtype}),
        **({} if bos else {"no_bos": "true"}),
    }


@given(text=st.text(max_size=200), model=st.text(max_size=30), text_set=st.text(max_size=10))
def test_any_text_survives_the_script(text, model, text_set):
    spec = Spec("outliers", model, text, text_set)
    assert specs_in(python_script(spec)) == [spec]
