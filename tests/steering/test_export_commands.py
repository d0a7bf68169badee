"""`python cli.py export`, `import` and `bake` on the bundled model: files there and back; bad input by a sentence."""

import json

import pytest
import torch

import cli
from analysis.spec import Spec, to_code
from capture.hook_point import HookPoint
from steering.methods.add_direction import AddDirection
from steering.recipe import Step
from steering.shelf import find_shelved
from steering.vector_file import read_vector_file
from steering.vector_folder import read_vectors

AT = HookPoint(2, "resid_post")


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))


def step(**fields):
    return Step("glad", (AddDirection(AT, tuple([0.5, -1.0] * 96)),), 2.0, **fields)


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.json").write_text(json.dumps([step().recipe()]))
    return tmp_path / "recipe.json"


def run(*arguments, code=0):
    with pytest.raises(SystemExit) as ended:
        cli.main(list(map(str, arguments)))
    assert ended.value.code == code


def test_a_recipe_becomes_a_bundle_whose_files_are_imported(recipe, tmp_path, capsys):
    run("export", recipe, "--bundle", tmp_path / "bundle")
    assert "12 files written" in capsys.readouterr().out
    for name in ("control_vector.gguf", "neuronpedia.resid_post.2.json"):
        run("import", tmp_path / "bundle" / name, "--name", name, "--licence", "CC0")
        assert "is on the shelf: 1 vector" in capsys.readouterr().out
        one = find_shelved("vectors", name)
        assert read_vectors(one.folder).vectors[AT].tolist() == [1.0, -2.0] * 96
        assert (one.facts["model"], one.facts["licence"]) == ("stories", "CC0")


def test_vectors_on_the_shelf_are_exported_by_name(tmp_path):
    run("export", "happy_sad", "--bundle", tmp_path / "bundle", "--name", "gladness")
    shelved = find_shelved("vectors", "happy_sad")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert (manifest["name"], manifest["facts"]["steps"][0]["source"]) == ("gladness", shelved.digest)
    found = read_vector_file(tmp_path / "bundle" / "repeng.gguf").vectors[AT]
    fitted = read_vectors(shelved.folder)
    strength = shelved.manifest["scores"]["chosen_strength"] * fitted.mean_norms[AT]
    torch.testing.assert_close(found, strength * fitted.vectors[AT] / fitted.vectors[AT].norm())


def test_a_bundle_is_imported_whole_and_exported_again_byte_for_byte(recipe, tmp_path, capsys):
    run("export", recipe, "--bundle", tmp_path / "bundle")
    run("import", tmp_path / "bundle", "--name", "whole")
    assert "whole is on the shelf: a recipe of 1 change, digest" in capsys.readouterr().out
    run("export", "whole", "--bundle", tmp_path / "again", "--name", "glad")
    contents = [{path.name: path.read_bytes() for path in (tmp_path / one).iterdir()} for one in ("bundle", "again")]
    assert contents[0] == contents[1]
    assert find_shelved("recipes", "whole").facts["steps"][0]["name"] == "glad"


def test_a_view_of_a_link_is_exported(tmp_path):
    view = to_code(Spec("outliers", text="A bear.", interventions=(step().recipe(),)))
    run("export", f"http://127.0.0.1:8501/?view={view}", "--bundle", tmp_path / "bundle")
    found = read_vector_file(tmp_path / "bundle" / "control_vector.gguf")
    assert found.vectors[AT].tolist() == [1.0, -2.0] * 96


def test_what_a_file_cannot_say_is_printed(tmp_path, capsys):
    gated = step().recipe() | {"scope": {"kind": "prompt", "ranges": [[0, None]]}}
    (tmp_path / "recipe.json").write_text(json.dumps({"model": "stories", "interventions": [gated]}))
    run("export", tmp_path / "recipe.json", "--bundle", tmp_path / "bundle")
    assert "Note: 'glad' acts at the tokens of the prompt alone" in capsys.readouterr().out


def test_a_recipe_is_baked_into_a_model_that_runs_here(recipe, tmp_path, capsys):
    run("bake", recipe, "--out", tmp_path / "baked")
    assert "differ from those of the hooks by at most" in capsys.readouterr().out
    run("check-model", tmp_path / "baked")


def test_a_model_is_named_for_a_file_or_left_out(recipe, tmp_path):
    run("export", recipe, "--bundle", tmp_path / "bundle")
    run("import", tmp_path / "bundle" / "steering.svec", "--name", "free", "--model", "")
    assert find_shelved("vectors", "free").facts["fingerprint"] == ""


BAD = {
    ("export", "nothing", "--bundle", "OUT"): "is no .json file, no recipe or vectors on the shelf, and no view",
    ("export", "none.json", "--bundle", "OUT"): "none.json cannot be read as a recipe",
    ("export", "EMPTY", "--bundle", "OUT"): "A recipe has 1 to 100 changes; this one has 0",
    ("export", "WORD", "--bundle", "OUT"): "A recipe is a list of changes",
    ("export", "RECIPE", "--bundle", "HOME"): "A bundle is a folder of its own",
    ("bake", "RECIPE", "--out", "HOME"): "is not empty",
    ("import", "none.gguf"): "There is no file",
    ("import", "EMPTY"): "must hold Neuronpedia vectors",
    ("import", "HOME"): "holds no manifest.json",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input_gets_a_sentence(arguments, recipe, tmp_path, capsys):
    (tmp_path / "empty.json").write_text('{"interventions": []}')
    (tmp_path / "word.json").write_text('"word"')
    named = {"RECIPE": recipe, "EMPTY": tmp_path / "empty.json", "WORD": tmp_path / "word.json", "HOME": tmp_path}
    named["OUT"] = tmp_path / "out"
    run(*[named.get(word, word) for word in arguments], code=2)
    shown = capsys.readouterr()
    assert BAD[arguments] in shown.err
    assert "Traceback" not in shown.err
