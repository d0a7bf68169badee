"""A grid of small runs: trained, resumed, refitted, refused; and the grids that the shelf has."""

import json

import pytest

import cli
from capture.errors import UserError
from capture.hook_point import HookPoint
from sae.activation_rows import ActivationRows
from sae.library import load_sae, proof
from sae.row_choice import RowChoice
from sae.sae_recipe import SaeRecipe
from sae.scaling import ScalingLaw
from sae.scaling_grid import GRID, GridRun, grid_digest, law_sentence, read_grid, shelved_grids, train_grid, with_law

AT = HookPoint(1, "resid_post")
STORY = "the bear sat on the mat and saw that the moon was bright and she said the night was long "
LAW = ScalingLaw(-0.5, 0.26, -0.017, -0.042, -1.32, -0.085)


@pytest.fixture(scope="module")
def run(tiny_session, tmp_path_factory):
    texts = tiny_session.windows(STORY * 40, 16, True)
    recipe = SaeRecipe(batch_rows=64, total_rows=640, warmup_steps=2)
    return GridRun(
        tiny_session, texts, AT, recipe, RowChoice(window=16), (8, 16, 32), (1, 2, 4), tmp_path_factory.mktemp("grid")
    )


@pytest.fixture(scope="module")
def grid(run):
    return train_grid(run)


def planted():
    points = [{"n": n, "k": k, "fvu": float(LAW.loss(n, k))} for n in (256, 512, 1024) for k in (8, 16, 32)]
    return {"model": "m", "fingerprint": "f", "hook_point": str(AT), "points": points}


def test_every_pair_is_trained_and_its_loss_is_the_fvu_on_text_held_out(grid, run):
    assert {(one["n"], one["k"]) for one in grid["points"]} == {(n, k) for n in (8, 16, 32) for k in (1, 2, 4)}
    held_out = ActivationRows(run.session, run.texts[::10], AT, run.choice).buffer(0)
    one = grid["points"][4]
    sae = load_sae(run.out / f"n{one['n']}-k{one['k']}")
    assert (sae.facts.d_sae, sae.facts.k, sae.digest) == (16, 2, one["sae"])
    assert proof(sae, held_out).fvu == pytest.approx(one["fvu"], rel=1e-5)


def test_a_grid_goes_on_where_it_was_stopped(grid, run, monkeypatch):
    left = {**grid, "points": grid["points"][:8]}
    (run.out / GRID).write_text(json.dumps(left))
    asked = []
    again = train_grid(run, lambda share, words: asked.append(words.partition(":")[0]))
    assert set(asked) == {"run 1 of 1, 32 latents, k 4"}
    assert [one["fvu"] for one in again["points"]] == pytest.approx([one["fvu"] for one in grid["points"]])
    assert read_grid(run.out / GRID)["law"] == again["law"]


def test_a_file_of_other_runs_is_refused(grid, run):
    from dataclasses import replace

    with pytest.raises(UserError, match="is of other runs"):
        train_grid(replace(run, at=HookPoint(0, "resid_post")))


def test_a_refit_from_a_file_says_the_law(tmp_path, capsys):
    (tmp_path / "g.json").write_text(json.dumps(planted()))
    with pytest.raises(SystemExit) as ended:
        cli.main(["sae", "scaling", "--from", str(tmp_path / "g.json")])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert law_sentence(with_law(planted())) in printed
    assert "256 latents  k 8     FVU 0.8" in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--text", ".", "--latents", "8,x"], "divided by commas"),
        (["--text", ".", "--latents", "8,16"], "there are 2 and 3"),
        ([], "trained on text; none was given"),
        (["--from", "none.json"], "cannot be read as a grid of runs"),
    ],
)
def test_bad_input_gets_a_sentence(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["sae", "scaling", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_shelf_has_grids_with_a_law_and_leaves_out_what_it_cannot_read(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path))
    for name, text in {"good": json.dumps(with_law(planted())), "bare": json.dumps(planted()), "bad": "{"}.items():
        (tmp_path / "scaling" / name).mkdir(parents=True)
        (tmp_path / "scaling" / name / GRID).write_text(text)
    (found,) = shelved_grids()
    assert grid_digest(found) == grid_digest(with_law(planted()))
