"""The page of controllers: it draws what is on the shelf, answers a prompt, trains, imports, exports."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from analysis.link import CODE_FIELD
from analysis.spec import Spec, from_code, to_code
from capture.errors import UserError
from steering.controller_folder import FILES, write_controller
from steering.prompt_file import read_prompts
from steering.shelf import find_shelved, shelved
from tests.steering.planted import planted_pairs
from tests.steering.planted_controller import contrast, made, session
from ui import resources
from ui.changes import change_words
from ui.controller_choice import about, import_zip
from ui.controller_job import CONTROLLER, controller_recipe, kept_uploads
from ui.controller_pictures import dose_figure, prompts_figure, reliability_figure
from ui.controller_scores import budget_rows, fluency_rows

APP = Path(__file__).resolve().parents[2] / "app.py"
AT = {"mean": 0.2, "low": 0.1, "high": 0.3}
SYSTEM = {
    "name": "mine",
    "doses": [{"dose": 1.0, "effect": AT, "side_effect": {"mean": 0.05, "low": 0.0, "high": 0.1}}],
    "at_budget": [AT, AT],
    "reached": [True, False],
    "written": [{"dose": n, "perplexity_ratio": AT, "repetition": 0.0, "fluency": 1.5} for n in (0.5, 1.0)],
}
DECISION = {"raw": 0.9, "s": 0.9, "probability": 0.9, "weights": [0.5, 0.4, 0.3]}
SCORES = {
    "auroc": 0.75,
    "auroc_interval": AT,
    "ece": 0.1,
    "brier": 0.2,
    "bins": [{"low": 0.0, "high": 0.1, "n": 4, "said": 0.05, "true": 0.25}],
    "compared": [
        {"name": "mine", "variant": "paper", "inputs": ["blocks.2.hook_resid_post"], "auroc_interval": AT}
        | {"ece": 0.1, "brier": 0.2}
    ],
    "systems": [SYSTEM],
    "prompts": [
        {"text": "the cat was <b>sad</b>", "is_target": True, "decision": DECISION},
        {"text": "the bear sat", "is_target": False, "decision": {**DECISION, "s": 0.1}},
    ],
    "facts": {"n_targets": 1, "n_others": 1, "held_out": "some", "budgets": [0.02, 0.05], "n_written": 32},
}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A shelf of its own, and the planted model in place of any other."""
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("steering.shelf.BUNDLED", tmp_path / "bundled")
    monkeypatch.setattr(resources, "load", lambda name, dtype: session())
    monkeypatch.setattr(resources, "store", lambda: None)
    return tmp_path


def packed(folder: Path) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        for name in FILES:
            file.write(folder / name, name)
    return data.getvalue()


def zipped(tmp_path, scores=None) -> bytes:
    write_controller(made(), tmp_path / "made", scores)
    return packed(tmp_path / "made")


def opened(**options) -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=90)
    app.query_params[CODE_FIELD] = to_code(Spec("controllers", options=options))
    return app.run()


def texts(app) -> str:
    return "\n".join(one.value for one in (*app.markdown, *app.caption, *app.info, *app.warning))


def test_an_empty_shelf_says_what_to_do():
    app = opened()
    assert not app.exception
    assert not app.error
    assert "Train one below, or import one" in texts(app)


def test_the_page_shows_a_controller_its_scores_and_what_it_does_to_a_prompt(tmp_path):
    digest = import_zip("mine.zip", zipped(tmp_path, SCORES)).digest
    app = opened(controller=digest, prompt="the bear", alpha=40.0)
    assert not app.exception
    assert not app.error
    assert [one.value for one in app.metric][1:] == ["0.750", "0.100", "0.200"]
    assert "with, α 40" in texts(app)
    shown = from_code(
        app.query_params[CODE_FIELD][0]
        if isinstance(app.query_params[CODE_FIELD], list)
        else app.query_params[CODE_FIELD]
    )
    assert shown.options["prompt"] == "the bear"


def test_without_a_prompt_it_takes_the_target_that_it_was_surest_of(tmp_path):
    import_zip("mine.zip", zipped(tmp_path, SCORES))
    assert opened().text_area[0].value == "the cat was <b>sad</b>"


def use_in_lab(app) -> Spec:
    """What is asked for once the button was pressed."""
    app = next(one for one in app.button if one.label == "Use in the lab").click().run()
    assert not app.exception
    return app.session_state["steerscope"].asked


def test_it_goes_into_the_recipe_of_the_view_that_was_open_before(tmp_path):
    digest = import_zip("mine.zip", zipped(tmp_path)).digest
    app = opened(controller=digest)
    before = {**app.session_state["steerscope"].subject, "model": made().facts["model"], "text": "the bear"}
    app.session_state["steerscope"].subject = {**before, "interventions": ({"kind": "some change"},)}
    asked = use_in_lab(app)
    assert (asked.lens, asked.text) == ("steering_lab", "the bear")
    assert [one.get("controller", one["kind"]) for one in asked.interventions] == ["some change", digest]


def test_a_view_of_another_model_begins_anew_with_the_controllers_own(tmp_path):
    digest = import_zip("mine.zip", zipped(tmp_path)).digest
    app = opened(controller=digest)
    before = {**app.session_state["steerscope"].subject, "model": "stories-relu", "fingerprint": "f" * 8}
    app.session_state["steerscope"].subject = {**before, "interventions": ({"kind": "some change"},)}
    asked = use_in_lab(app)
    assert asked.model == made().facts["model"]
    assert asked.fingerprint != "f" * 8
    assert [one["controller"] for one in asked.interventions] == [digest]


def test_a_link_to_a_controller_that_is_not_here_gets_a_sentence(tmp_path):
    import_zip("mine.zip", zipped(tmp_path))
    app = opened(controller="f" * 32)
    assert "None of the controllers on the shelf" in texts(app)
    assert not app.exception


def test_what_was_exported_is_imported_as_the_same_controller(tmp_path):
    one = import_zip("first.zip", zipped(tmp_path))
    again = import_zip("second.zip", packed(one.folder))
    assert (again.digest, again.name) == (one.digest, "first")


@pytest.mark.parametrize("data", [b"no zip at all", b""])
def test_what_is_no_zip_is_refused(data):
    with pytest.raises(UserError, match="cannot be opened as a zip"):
        import_zip("x.zip", data)


def test_a_zip_without_a_controller_is_refused():
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as file:
        file.writestr("../../manifest.json", "{}")
    with pytest.raises(UserError, match=r"holds controller\.safetensors and manifest\.json"):
        import_zip("x.zip", data.getvalue())
    assert shelved("controllers") == ()


FIELDS = {"variant": "fixed", "direction": "mean_difference", "pairs": "", "hidden": 4, "n_epochs": 1, "bos": False}


def files(tmp_path) -> tuple[str, str, str]:
    """Prompts, prompts held out, and pairs as files."""
    found = []
    for name, seed in (("prompts.json", 1), ("held.json", 9)):
        rows = [{"text": one.text, "label": one.label} for one in contrast(6, seed=seed).examples]
        found.append(kept_uploads([(name, json.dumps({"labels": ["up", "down"], "texts": rows}).encode())]))
    pairs = [{"positive": a.text, "negative": b.text} for a, b in planted_pairs(6).pairs]
    (tmp_path / "pairs.json").write_text(json.dumps(pairs), "utf-8")
    return (*found, str(tmp_path / "pairs.json"))


def test_a_job_trains_measures_and_shelves_a_controller(tmp_path):
    prompts, held_out, pairs = files(tmp_path)
    recipe = controller_recipe("mine", "stories", "float32", prompts, held_out, {**FIELDS, "pairs": pairs})
    outcome = CONTROLLER.work(json.loads(json.dumps(recipe)), lambda share, words: None)
    one = find_shelved("controllers", "mine")
    assert from_code(outcome.code) == Spec("controllers", options={"controller": one.digest})
    assert one.manifest["scores"]["facts"]["n_targets"] == 6
    assert str(tmp_path) not in json.dumps(one.manifest)
    assert "acts on prompts labelled 'up'" in about(one)
    with pytest.raises(UserError, match="'mine' is here already"):
        controller_recipe("mine", "stories", "float32", prompts, held_out, FIELDS)


def test_files_of_one_label_each_are_kept_beside_each_other_the_target_first():
    """Such as repeng's lists; the place is told by names and contents, so that a job finds it again."""
    files = [(f"{name}.json", json.dumps([f"{name} {n}" for n in range(4)]).encode()) for name in ("joy", "anger")]
    path = kept_uploads(files)
    assert read_prompts(Path(path)).labels == ("joy", "anger")
    assert kept_uploads(files) == path != kept_uploads(files[::-1])
    assert kept_uploads([("../../up.json", b"[]")]).endswith("/up.json")


def test_what_cannot_be_trained_is_refused_before_the_queue(tmp_path):
    prompts, held_out, pairs = files(tmp_path)
    for changed, words in (
        ({"name": "../up"}, "small letters, digits and hyphens"),
        ({"model": "someone/else"}, "was not opened here yet"),
        ({"prompts": str(tmp_path / "none.json")}, "There is no file"),
        ({"held_out": prompts}, "is in both"),
        ({"fields": {**FIELDS, "variant": "best"}}, "Choose one of"),
    ):
        asked = {"name": "a", "model": "stories", "dtype": "float32", "prompts": prompts, "held_out": held_out}
        with pytest.raises(UserError, match=words):
            controller_recipe(**{**asked, "fields": {**FIELDS, "pairs": pairs}, **changed})


def test_pictures_hold_the_numbers_of_the_scores():
    figure = prompts_figure(SCORES["prompts"], [0, 1, 2])
    assert list(figure.data[0].y) == [0.9]
    assert list(figure.data[2].z[0]) == [0.5, 0.5]
    assert "&lt;b&gt;" in figure.data[0].text[0]
    assert list(dose_figure([SYSTEM], 0.2).data[0].x) == [0.0, 0.05]
    assert list(reliability_figure(SCORES["bins"]).data[1].y) == [0.25]
    rows = budget_rows([SYSTEM], [0.02, 0.05], SCORES["compared"])
    assert rows["KL 0.05"] == ["+0.200 (+0.100 to +0.300) *", "0"]
    assert (rows["reads"], rows["AUROC of s"]) == (["block 2", "–"], ["0.200 (0.100 to 0.300)", "–"])
    assert fluency_rows([SYSTEM], [0.02, 0.05])["KL 0.05"] == ["× 0.20 (0.10 to 0.30) * · 1.50 of 2"]


def test_a_controller_among_the_changes_is_told_by_its_name(tmp_path):
    one = import_zip("mine.zip", zipped(tmp_path))
    recipe = {"kind": "controller", "controller": one.digest, "strength": 0.2, "unit": "relative"}
    assert change_words(recipe) == "controller mine, α 0.2 × mean norm"
    assert change_words({**recipe, "controller": "e" * 32}) == "controller eeeeeeeeeeee, not here, α 0.2 × mean norm"


def adder() -> None:
    from analysis.spec import Spec
    from ui.adders import adders
    from ui.adders.controller import draw

    assert any(one.TITLE == "Controller" for one in adders())
    draw(Spec("what_stands_out"))


def test_the_labs_menu_adds_a_controller_of_the_model(tmp_path, monkeypatch):
    one = import_zip("mine.zip", zipped(tmp_path))
    monkeypatch.setattr(resources, "known_fingerprint", lambda name, dtype: session().fingerprint)
    app = AppTest.from_function(adder, default_timeout=60).run()
    app.button[0].click().run()
    assert not app.exception
    (recipe,) = app.session_state["steerscope"].asked.interventions
    assert (recipe["kind"], recipe["controller"], recipe["strength"]) == ("controller", one.digest, 2.0)
