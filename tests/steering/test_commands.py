"""`python cli.py steer …` on the bundled model: fit, score, list; folders are read again; bad input by a sentence."""

import json

import pytest
import torch

import cli
from capture.errors import UserError
from capture.hook_point import HookPoint
from steering.contrast_pairs import bundled_sets
from steering.fitted import Fitted
from steering.method import methods
from steering.proxies import PROXIES
from steering.vector_folder import read_vectors, write_vectors

AT = HookPoint(2, "resid_post")
PAIRS = [
    {"prompt": "The cat was", "positive": f" glad and {word}.", "negative": f" sad and {word}."}
    for word in ("big", "old", "red", "small")
]


@pytest.fixture
def pairs(tmp_path):
    (tmp_path / "pairs.json").write_text(json.dumps({"title": "Moods", "pairs": PAIRS}))
    return tmp_path / "pairs.json"


@pytest.fixture
def prompts(tmp_path):
    (tmp_path / "prompts.json").write_text(json.dumps({"texts": ["Once upon a time", "The bear"]}))
    return tmp_path / "prompts.json"


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        cli.main(["steer", *map(str, arguments)])
    assert ended.value.code == code


def test_vectors_are_fitted_scored_and_read_again(pairs, prompts, tmp_path, capsys):
    folder = tmp_path / "vectors"
    run("fit", "mean_difference", pairs, "--out", folder, "--half", "first", "--layer", 2, "--option", "positions=all")
    assert "mean_difference on 4 texts of 'Moods'" in capsys.readouterr().out
    before = read_vectors(folder)
    assert set(before.vectors) == {AT}
    run("score", folder, pairs, "--prompts", prompts, "--n-null", 1, "--strength", 0.1)
    printed = capsys.readouterr().out
    manifest = json.loads((folder / "manifest.json").read_text())
    (dose,) = manifest["scores"]["doses"]
    assert f"{dose['concept']['mean']:+.3f} ({dose['concept']['low']:+.3f}" in printed
    assert manifest["hook_points"] == {"resid_post.2": "blocks.2.hook_resid_post"}
    assert manifest["facts"]["options"]["positions"] == "all"
    assert torch.equal(read_vectors(folder).vectors[AT], before.vectors[AT])


def test_the_list_has_every_method_and_option(capsys):
    run("list")
    printed = capsys.readouterr().out
    for method in methods().values():
        assert f"{method.slug}: {method.title}" in printed
        assert all(f"--option {option.name}={option.default}" in printed for option in method.options)


def test_a_recipe_is_tuned_and_written_again(prompts, tmp_path, capsys):
    out, report, few = (tmp_path / f"{name}.json" for name in ("tuned", "tuning", "few"))
    few.write_text(json.dumps({"pairs": json.loads(bundled_sets()["happy_sad"].read_text())["pairs"][:4]}))
    asked = ("tune", "happy_sad", "--pairs", few, "--prompts", prompts, "--out", out, "--report", report)
    run(*asked, "--strength", 0.02, "--strength", 0.04)
    printed = capsys.readouterr().out
    found, (step,) = json.loads(report.read_text()), json.loads(out.read_text())
    assert f"Knee: {found['knee']['strength']:g} (mean norms), chosen on 2 pairs and 1 prompts." in printed
    assert f"{found['knee']['concept']['mean']:+.3f} ({found['knee']['concept']['low']:+.3f}" in printed
    assert step["strength"] == step["usual_strength"] == found["knee"]["strength"]
    run("tune", out, "--prompts", prompts, "--strength", 0.02)
    assert "Without pairs there is no concept score" in capsys.readouterr().out


def test_every_score_is_listed_as_a_proxy_with_its_formula(capsys):
    run("scores")
    printed = capsys.readouterr().out
    assert all(f"{one.title} (proxy), {one.unit}: {one.formula}." in printed for one in PROXIES)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fit", "nothing", "PAIRS", "--out", "OUT"], "No steering method is called 'nothing'"),
        (["fit", "mean_difference", "none.json", "--out", "OUT"], "There is no file none.json"),
        (["fit", "mean_difference", "PAIRS", "--out", "OUT", "--layer", "9"], "Layer 9 does not exist"),
        (["fit", "mean_difference", "PAIRS", "--out", "OUT", "--option", "last"], "name=value; 'last' was given"),
        (["fit", "mean_difference", "PAIRS", "--out", "OUT", "--option", "positions=x"], "'x' was given"),
        (["fit", "project_out", "PAIRS", "--out", "OUT"], "is not fitted"),
        (["fit", "act_add", "PAIRS", "--out", "OUT"], "needs a single pair; 4 were given"),
        (["score", "OUT", "PAIRS"], "holds no manifest.json"),
        (["tune", "nothing"], "'nothing' is no .json file, no recipe or vectors on the shelf"),
        (["tune", "none.json"], "none.json cannot be read"),
        (["tune", "PAIRS"], "A recipe is a list of changes"),
        (["tune", "happy_sad", "--step", "2"], "Step 2 does not exist"),
    ],
)
def test_bad_input_gets_a_sentence(pairs, tmp_path, capsys, arguments, sentence):
    given = [{"PAIRS": pairs, "OUT": tmp_path / "out"}.get(word, word) for word in arguments]
    run(*given, code=2)
    shown = capsys.readouterr()
    assert sentence in shown.err
    assert "Traceback" not in shown.err


def test_vectors_fitted_on_all_pairs_are_not_scored_on_them(pairs, tmp_path, capsys):
    run("fit", "mean_difference", pairs, "--out", tmp_path / "v")
    run("score", tmp_path / "v", pairs, code=2)
    assert "Fit them again with --half first" in capsys.readouterr().err


FITTED = Fitted("x", {AT: torch.ones(3), HookPoint(0, "z"): torch.zeros(2)}, {AT: 1.5}, {"a": [1]}, {"W": torch.eye(2)})


def test_a_folder_holds_what_was_fitted(tmp_path):
    write_vectors(FITTED, tmp_path)
    again = read_vectors(tmp_path)
    assert (again.method, again.mean_norms, again.facts) == ("x", {AT: 1.5}, {"a": [1]})
    assert {at: vector.tolist() for at, vector in again.vectors.items()} == {
        at: vector.tolist() for at, vector in FITTED.vectors.items()
    }
    assert torch.equal(again.tensors["W"], torch.eye(2))


def _damage(folder, how):
    manifest, vectors = folder / "manifest.json", folder / "vectors.safetensors"
    data = json.loads(manifest.read_text())
    if how == "cut":
        vectors.write_bytes(vectors.read_bytes()[:-4])
    elif how == "other":
        write_vectors(Fitted("x", {AT: torch.zeros(3)}, {AT: 1.0}, {}), folder / "b")
        vectors.write_bytes((folder / "b" / "vectors.safetensors").read_bytes())
    elif how == "nan":
        write_vectors(Fitted("x", {AT: torch.tensor([1.0, float("nan")])}, {AT: 1.0}, {}), folder)
    elif how == "gone":
        vectors.unlink()
    else:
        manifest.write_text(json.dumps(data | how) if isinstance(how, dict) else how)


@pytest.mark.parametrize(
    "how",
    [
        *("cut", "other", "nan", "gone", "{", "[]"),
        {"schema_version": 2},
        {"hook_points": {"resid_post.2": "blocks.2.nothing"}},
        {"hook_points": 3},
        {"mean_norms": {str(AT): "much"}},
        {"checksums": 3},
        {"facts": 3},
    ],
    ids=str,
)
def test_a_damaged_folder_is_refused(tmp_path, how):
    write_vectors(FITTED, tmp_path)
    _damage(tmp_path, how)
    with pytest.raises(UserError):
        read_vectors(tmp_path)
