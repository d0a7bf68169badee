"""The command line gives the app's Reports, and sentences instead of tracebacks."""

import json
import shlex
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import cli
from analysis import pipeline
from analysis.command_words import flag_values
from analysis.report import read_report
from analysis.spec import Spec, to_code
from capture.errors import UserError
from capture.faithfulness import Faithfulness
from data.recipes.model_card import command_of
from data.recipes.training_recipe import TrainingRecipe
from tests.models import tiny_llama, tiny_tokenizer

ROOT = Path(__file__).resolve().parent.parent
TEXT = "Once upon a time there was a bear."


@pytest.fixture
def run_cli(tiny_session, monkeypatch, capsys):
    """`run_cli(*arguments)` gives exit code, standard output, standard error; every model is the tiny one."""
    monkeypatch.setattr("capture.models.load_session", lambda name, dtype: tiny_session)

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def expected(tiny_session):
    """The Report that the app makes of a Spec."""

    def report(spec: Spec):
        return pipeline.run(spec, lambda name, dtype: tiny_session, None).report

    return report


def test_a_run_writes_the_report_of_the_app_byte_for_byte(run_cli, expected, tmp_path):
    code, _, _ = run_cli("run", "outliers", "--text", TEXT, "--out", str(tmp_path / "new" / "report.json"))
    assert code == 0
    written = (tmp_path / "new" / "report.json").read_text("utf-8")
    assert written == expected(Spec("outliers", text=TEXT)).to_json()


def test_lens_options_are_flags(run_cli, expected):
    _, out, _ = run_cli("run", "outliers", "--text", TEXT, "--what-if", "zero", "--out", "-")
    assert read_report(out).digest() == expected(Spec("outliers", text=TEXT, options={"what_if": "zero"})).digest()
    assert read_report(out).spec.options["what_if"] == "zero"


def test_a_link_gives_the_report_of_its_view(run_cli, expected):
    spec = Spec("outliers", text=TEXT, bos=False, pins={"pos": 1})
    for view in (to_code(spec), f"http://127.0.0.1:8501/outliers?view={to_code(spec)}&embed=true"):
        code, out, _ = run_cli("run", "--view", view, "--out", "-")
        assert (code, out.strip()) == (0, expected(spec).to_json())


def test_a_text_file_is_read_as_utf8(run_cli, expected, tmp_path):
    (tmp_path / "text.txt").write_text("Füchse und Bären", "utf-8")
    _, out, _ = run_cli("run", "outliers", "--text-file", str(tmp_path / "text.txt"), "--out", "-")
    assert read_report(out).digest() == expected(Spec("outliers", text="Füchse und Bären")).digest()


def test_without_a_file_findings_and_digest_are_printed(run_cli, expected):
    report = expected(Spec("outliers", text=TEXT))
    _, out, _ = run_cli("run", "outliers", "--text", TEXT)
    assert out.splitlines()[:-1] == [finding.sentence for finding in report.findings]
    assert f"fresh; numbers {report.digest()}" in out


def test_the_store_answers_the_second_run(run_cli, tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    first, second = (run_cli("run", "outliers", "--text", TEXT, "--store")[1] for _ in range(2))
    assert "fresh; numbers" in first
    assert second == first.replace("fresh; numbers", "store; numbers")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "--text", TEXT], "No lens is called ''"),
        (["run", "nothing", "--text", TEXT], "No lens is called 'nothing'"),
        (["run", "outliers"], "One text must be given; 0 were given"),
        (["run", "outliers", "--text", TEXT, "--text-set", "tour"], "One text must be given; 2 were given"),
        (["run", "outliers", "--text", TEXT, "--colour", "red"], "No option is called 'colour'"),
        (["run", "outliers", "--text", TEXT, "red"], "An option begins with --; 'red' was given"),
        (["run", "outliers", "--text", TEXT, "--what-if", "red"], "'red' was given"),
        (["run", "outliers", "--text-file", "no-such-file"], "no-such-file cannot be read"),
        (["run", "outliers", "--text", TEXT, "--out", "/dev/null/report.json"], "report.json cannot be written"),
        (["run", "outliers", "--text-set", "no-such-set"], "No text set is called 'no-such-set'"),
        (["run", "compare", "--text", TEXT], "compare looks at other views"),
        (["run", "compare", "--left", "x"], "This link cannot be read"),
        (["run", "--view", "half-a-link"], "This link cannot be read"),
        (["run", "--view", "x", "--model", "other"], "model was given beside it"),
        (["run", "--view", "x", "--what-if", "zero"], "was given beside it"),
        (["train-model", "--text", "/dev", "--out", "/tmp"], "/dev must be a folder with .txt files"),
    ],
)
def test_what_cannot_be_done_is_a_sentence_and_a_hint_with_exit_code_2(run_cli, arguments, sentence):
    code, out, err = run_cli(*arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert len(err.strip().splitlines()) == 2
    assert "Traceback" not in err


def test_two_links_are_compared(run_cli, expected):
    sides = {name: to_code(Spec("outliers", text=text)) for name, text in (("left", TEXT), ("right", f"{TEXT} Yes."))}
    code, out, _ = run_cli("run", "compare", "--left", sides["left"], f"--right={sides['right']}", "--out", "-")
    assert code == 0
    assert read_report(out).digest() == expected(Spec("compare", options=sides)).digest()


@pytest.fixture
def kept(run_cli, tmp_path, monkeypatch):
    """A store with one report of TEXT."""
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    run_cli("run", "outliers", "--text", TEXT, "--store")
    return run_cli


def test_store_show_prints_what_is_kept(kept):
    code, out, _ = kept("store", "show")
    lines = [line.split() for line in out.splitlines()]
    assert (code, [line[:2] for line in lines[1:4]]) == (0, [["kind", "objects"], ["report", "1"], ["view", "0"]])
    assert "bytes on disk" in out


def test_store_sql_prints_rows_and_writes_csv(kept, expected, tmp_path):
    sql = "SELECT value FROM statistics WHERE quantity = 'max_abs' AND layer = 0 AND pos = 1"
    code, _, _ = kept("store", "sql", sql, "--csv", str(tmp_path / "rows.csv"))
    value = expected(Spec("outliers", text=TEXT)).arrays["max_abs"][0, 1]
    assert (code, (tmp_path / "rows.csv").read_text("utf-8")) == (0, f"value\n{float(value)}\n")
    assert kept("store", "sql", sql)[1].splitlines()[:2] == ["value", f"{value:.6g}"]


def test_store_sql_that_leads_elsewhere_ends_with_code_2(kept):
    code, out, err = kept("store", "sql", "SELECT * FROM read_text('/etc/passwd')")
    assert (code, out, "is not answered" in err) == (2, "", True)


def test_store_clear_and_compact_leave_an_empty_small_file(kept):
    assert kept("store", "clear", "report")[1] == "Nothing of the kind report is kept now\n"
    assert kept("store", "compact")[0] == 0
    assert kept("store", "sql", "SELECT count(*) AS n FROM reports", "--csv", "-")[1] == "n\n0\n"
    assert kept("store", "clear", "everything")[0] == 2


def test_a_text_file_that_is_not_utf8_is_refused(run_cli, tmp_path):
    (tmp_path / "text.txt").write_bytes(b"\xff\xfe\x00")
    code, _, err = run_cli("run", "outliers", "--text-file", str(tmp_path / "text.txt"))
    assert code == 2
    assert "cannot be read" in err


@pytest.mark.parametrize(("status", "exit_code"), [("ok", 0), ("differs", 0), ("wrong", 1)])
def test_check_model_prints_the_numbers_and_fails_where_they_are_wrong(
    run_cli, tiny_session, monkeypatch, status, exit_code
):
    found = Faithfulness(status, 0.25, 0.125, (1.0, 0.5), 0.0625, 7)
    monkeypatch.setattr(tiny_session, "faithfulness", found)
    code, out, _ = run_cli("check-model", "stories")
    assert code == exit_code
    assert all(word in out for word in (status, "0.25", "0.12 nats", "0.062", "0.500000", "7 tokens"))
    assert json.loads(run_cli("check-model", "stories", "--json")[1]) == found.to_json()


def test_lenses_lists_each_option_as_the_flag_that_run_takes(run_cli):
    _, out, _ = run_cli("lenses")
    assert "outliers: " in out
    assert "--left TEXT  A link" in out
    assert "--what-if leave | zero | mean  (default leave)" in out


def test_the_sparsity_law_is_a_table_of_checkpoints_and_a_sentence(tmp_path, capsys):
    for seed, name in enumerate((".", "at-1M", "at-4M")):
        tiny_llama(seed).save_pretrained(tmp_path / name)
    tiny_tokenizer().save_pretrained(tmp_path)
    (tmp_path / "tokens.json").write_text('{".": 9000000}')
    with pytest.raises(SystemExit) as ended:
        cli.main(["sparsity-law", str(tmp_path), "--p", "10", "--out", str(tmp_path / "law.json")])
    assert not ended.value.code
    numbers = read_report((tmp_path / "law.json").read_text()).numbers
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [f"{tmp_path}@at-1M", f"{tmp_path}@at-4M", str(tmp_path)]
    assert lines[-3:] == [numbers["trend"], numbers["sentence"], f"Report written to {tmp_path / 'law.json'}"]


def test_a_sparsity_law_without_checkpoints_gets_a_sentence(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["sparsity-law", str(tmp_path)])
    assert ended.value.code == 2
    assert "needs at least 2 checkpoints of known token counts" in capsys.readouterr().err


def test_models_lists_the_catalogue(run_cli):
    _, out, _ = run_cli("models")
    assert [line.partition(":")[0] for line in out.splitlines()][:2] == ["stories", "stories + planted"]


@given(st.dictionaries(st.from_regex(r"[a-z]([a-z-]{0,6}[a-z])?", fullmatch=True), st.text(max_size=5), max_size=4))
def test_flags_read_as_the_values_that_were_written(values):
    joined = [f"--{name}={value}" for name, value in values.items()]
    assert flag_values(joined) == {name.replace("-", "_"): value for name, value in values.items()}


def test_a_flag_may_stand_apart_from_its_value_or_alone():
    assert flag_values(["--n-dims", "-3", "--rotated", "--share", "0.5"]) == {
        "n_dims": "-3",
        "rotated": "true",
        "share": "0.5",
    }


def test_the_command_on_a_models_card_trains_its_recipe_again(run_cli, tmp_path, monkeypatch):
    asked = {}
    monkeypatch.setattr("data.recipes.train_model.train", lambda *given, **named: asked.update(named, given=given))
    (tmp_path / "a.txt").write_text("text")
    changed = {field.name: _other(field.default) for field in fields(TrainingRecipe)}
    recipe = replace(TrainingRecipe(), **changed)
    line = command_of(recipe).replace("TEXT_FOLDER", str(tmp_path)).replace("OUT_FOLDER", str(tmp_path / "out"))
    code, _, _ = run_cli(*shlex.split(line)[2:], "--threads", "2", "--keep-at", "5", "--keep-at", "6", "--no-compile")
    assert code == 0
    assert asked["given"] == (tmp_path, tmp_path / "out", recipe)
    assert (asked["n_threads"], asked["keep_at"], asked["compile_model"]) == (2, (5, 6), False)


def _other(value: int | float | str) -> int | float | str:
    return f"{value}x" if isinstance(value, str) else value * 2 + 1


def test_help_is_there_without_loading_torch():
    code = "import sys, cli; assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_user_error_keeps_its_sentence_and_its_hint_apart(monkeypatch, capsys):
    def refuse(*_given, **_named):
        raise UserError("There is no model.", "Name one.")

    monkeypatch.setattr("capture.models.load_session", refuse)
    with pytest.raises(SystemExit):
        cli.main(["check-model", "nothing"])
    assert capsys.readouterr().err == "There is no model.\nName one.\n"
