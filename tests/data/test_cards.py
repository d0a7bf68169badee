"""What ships under data/ has a card that is true of it."""

import hashlib
import json
from pathlib import Path

import pytest

from capture.checkpoints import checkpoints_of, tokens_in_name
from capture.models import catalogue, load_session
from data.recipes.make_prompts import write_prompts
from sae.library import load_sae
from steering.concept_costs import training_flops
from steering.concepts import read_concepts
from steering.contrast_pairs import bundled_sets, read_contrast
from steering.controller_folder import read_controller
from steering.controller_making import pair_halves
from steering.hypernetwork_folder import read_hypernetwork
from steering.vector_folder import read_vectors

DATA = Path(__file__).resolve().parents[2] / "data"
WEIGHTS = sorted(path for kind in ("models", "saes") for path in (DATA / kind).rglob("*.safetensors"))

MODELS = sorted(path for path in (DATA / "models").iterdir() if path.is_dir())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def card_of(weights: Path) -> str:
    """The nearest README.md above the file."""
    return next(folder / "README.md" for folder in weights.parents if (folder / "README.md").is_file()).read_text()


@pytest.mark.parametrize("weights", WEIGHTS, ids=lambda path: str(path.relative_to(DATA)))
def test_weights_are_small_and_their_card_has_their_checksum(weights: Path) -> None:
    assert weights.stat().st_size <= 12_000_000
    assert digest(weights) in card_of(weights)


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_a_bundled_model_has_a_card_a_place_in_the_catalogue_and_its_checkpoints(folder: Path) -> None:
    assert folder.name in {card.name for card in catalogue()}
    assert (folder / "README.md").read_text().startswith(f"# {folder.name}\n")
    trained = checkpoints_of(folder.name, folder)
    assert 5 <= len(trained) <= 7
    assert trained[-1].name == folder.name
    for one in trained[:-1]:
        assert one.n_tokens == pytest.approx(tokens_in_name(one.name.partition("@")[2]), rel=0.01)


def test_the_models_and_their_checkpoints_stay_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS if "models" in path.parts) <= 60 * 2**20


@pytest.mark.parametrize("folder", MODELS, ids=lambda path: path.name)
def test_a_bundled_model_and_its_first_checkpoint_load_and_are_faithful(folder: Path) -> None:
    final, first = load_session(folder.name), load_session(checkpoints_of(folder.name, folder)[0].name)
    assert [one.faithfulness.status for one in (final, first)] == ["ok", "ok"]
    assert (first.name, first.shape) == (f"{folder.name}@at-1M", final.shape)
    text = final.tokens("Once upon a time there was a little girl who had a red ball.", bos=True)
    assert final.loss(text).mean() < first.loss(text).mean() - 0.5


def test_the_saes_are_of_the_bundled_model_and_their_cards_have_their_figures() -> None:
    for table in sorted((DATA / "saes").glob("*/metrics.json")):
        figures, card = json.loads(table.read_text()), (table.parent / "README.md").read_text()
        sae = load_sae(table.parent)
        assert figures["facts"]["sae"] == sae.digest
        assert figures["facts"]["fingerprint"] == load_session("stories").fingerprint
        value = {row["name"]: row["value"] for row in figures["rows"]}
        assert value["dead_share"] < 0.05
        assert value["loss_recovered_zero"] >= 0.9
        for name in ("fvu", "loss_recovered_zero", "loss_recovered_mean", "delta_ce"):
            assert f"| {name} | {value[name]:.4f} |" in card


def test_the_corpus_was_sampled_from_the_bundled_model() -> None:
    corpus = json.loads((DATA / "texts" / "stories.json").read_text())
    assert corpus["made"]["model_sha256"] == digest(DATA / "models" / "stories" / "model.safetensors")
    assert len(set(corpus["texts"])) == len(corpus["texts"]) >= 200


TEXTS = sorted([*(DATA / "texts").glob("*.json"), *(DATA / "labels").glob("*.csv"), *(DATA / "prompts").glob("*.json")])


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_the_texts_have_a_card_with_their_checksum(path: Path) -> None:
    card = (path.parent / "README.md").read_text()
    assert f"`{path.name}`" in card
    assert digest(path) in card


@pytest.mark.parametrize("name", bundled_sets())
def test_a_contrast_set_has_tens_of_pairs_that_fit_the_model_and_a_card_with_its_checksum(name: str) -> None:
    contrast, card = read_contrast(Path(name)), (DATA / "pairs" / "README.md").read_text()
    assert 30 <= len(contrast.pairs) <= 40
    assert len({one.text for one in contrast.examples}) == len(contrast.examples)
    assert all(one.prompt for one in contrast.examples)
    assert f"| `{name}.json` | {contrast.labels[0]} | {contrast.labels[1]} | " in card
    assert digest(bundled_sets()[name]) in card


def test_there_are_eight_contrast_sets_and_each_has_a_vector() -> None:
    assert len(bundled_sets()) == 8
    assert {path.parent.name for path in (DATA / "vectors").glob("*/manifest.json")} == set(bundled_sets())


@pytest.mark.parametrize("name", bundled_sets())
def test_a_vector_is_of_the_bundled_model_and_its_set_and_its_card_has_its_figures(name: str) -> None:
    folder, card = DATA / "vectors" / name, (DATA / "vectors" / "README.md").read_text()
    fitted, scores = read_vectors(folder), json.loads((folder / "manifest.json").read_text())["scores"]
    fitted_on, held_out = read_contrast(Path(name)).halves()
    assert fitted.facts["fingerprint"] == load_session("stories").fingerprint
    assert (fitted.facts["texts"]["digest"], scores["facts"]["held_out"]) == (fitted_on.digest(), held_out.digest())
    assert digest(folder / "vectors.safetensors") in card
    (area,) = scores["auroc"].values()
    for dose in scores["doses"]:
        mean, low, high = (dose["concept"][key] for key in ("mean", "low", "high"))
        assert f"| {name} | {area:.3f} | {dose['strength']:g} | {mean:+.3f} | {low:+.3f} to {high:+.3f} |" in card
    assert f"| {name} | {scores['chosen_strength']:g} | {'yes' if scores['steers'] else 'no'} |" in card


def test_the_concepts_are_of_the_bundled_model_and_their_card_has_their_figures() -> None:
    card, found = (DATA / "concepts" / "README.md").read_text(), read_concepts("stories")
    assert found.made["model_sha256"] == digest(DATA / "models" / "stories" / "model.safetensors")
    assert found.made["plan_sha256"] == digest(DATA / "concepts" / "recipe.json")
    for path in ((DATA / "concepts") / name for name in ("recipe.json", "stories.json")):
        assert f"| `{path.name}` | " in card
        assert digest(path) in card
    for group in dict.fromkeys(one.group for one in found.concepts):
        own = [one for one in found.concepts if one.group == group]
        assert f"| {group} | {len(own)} | {sum(one.is_held_out for one in own)} | " in card


def test_there_are_hundreds_of_concepts_and_a_fifth_with_whole_kinds_of_them_is_held_out() -> None:
    found = read_concepts("stories")
    assert len(found.concepts) >= 200
    assert 0.15 < len(found.held_out) / len(found.concepts) < 0.25
    groups = {one.group for one in found.concepts}
    assert groups - {one.group for one in found.held_in} == {"names of animals", "colours"}
    for one in found.concepts:
        assert (one.asked[0] != one.name, one.rule is not None) == (True, True)
        assert len(one.training.positives) >= 10 <= len(one.training.negatives)
        assert len(one.evaluation.positives) >= 5 <= len(one.evaluation.negatives)


def test_the_prompts_are_what_their_recipe_makes(tmp_path: Path) -> None:
    for path in write_prompts(tmp_path):
        assert path.read_text() == (DATA / "prompts" / path.name).read_text()


CONTROLLERS = sorted(path.parent for path in (DATA / "controllers").glob("*/manifest.json"))


@pytest.mark.parametrize("folder", CONTROLLERS, ids=lambda path: path.name)
def test_a_controller_is_of_the_bundled_model_and_its_card_has_its_figures(folder: Path) -> None:
    controller, card = read_controller(folder), (DATA / "controllers" / "README.md").read_text()
    scores = json.loads((folder / "manifest.json").read_text())["scores"]
    assert controller.facts["fingerprint"] == load_session("stories").fingerprint
    assert digest(folder / "controller.safetensors") in card
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000
    learnt, held_out = pair_halves("happy_sad")
    assert (controller.facts["pairs"]["digest"], scores["facts"]["pairs_digest"]) == (
        learnt.digest(),
        held_out.digest(),
    )
    assert f"| AUROC of s | {scores['auroc']:.3f} |" in card
    for one in scores["systems"]:
        cells = [f"{at['mean']:+.3f} ({at['low']:+.3f} to {at['high']:+.3f})" for at in one["at_budget"]]
        marks = ["" if reached else " *" for reached in one["reached"]]
        assert f"| {one['name']} | {' | '.join(a + b for a, b in zip(cells, marks, strict=True))} |" in card
        ratios = [at["perplexity_ratio"] for at in one["written"]]
        cells = [f"× {at['mean']:.2f} ({at['low']:.2f} to {at['high']:.2f})" for at in ratios]
        row = " | ".join(a + b for a, b in zip(cells, marks, strict=True))
        assert f"| {one['name']} | {row} | {one['written'][-1]['fluency']:.2f} |" in card


def test_the_card_of_controllers_has_the_papers_setting_beside_what_ships() -> None:
    """Three variants that read blocks 2, 3, 4, and the same three that read the last third."""
    scores = json.loads((DATA / "controllers" / "cheer-up" / "manifest.json").read_text())["scores"]
    card = (DATA / "controllers" / "README.md").read_text()
    read = {one["name"]: [name.split(".")[1] for name in one["inputs"]] for one in scores["compared"]}
    assert read == {
        f"{variant}{end}": blocks
        for end, blocks in (("", ["2", "3", "4"]), ("-last-third", ["4"]))
        for variant in ("paper", "fixed", "trained")
    }
    for one in scores["compared"]:
        area, blocks = one["auroc_interval"], ", ".join(read[one["name"]])
        figures = (
            f"{area['mean']:.3f} ({area['low']:.3f} to {area['high']:.3f}) | {one['ece']:.3f} | {one['brier']:.3f}"
        )
        assert f"| {one['name']} | block{'s' if len(read[one['name']]) > 1 else ''} {blocks} | {figures} |" in card


def test_a_controller_ships() -> None:
    assert [path.name for path in CONTROLLERS] == ["cheer-up"]


def test_the_table_of_what_steers_to_concepts_is_that_of_the_bundled_comparison() -> None:
    readme = (DATA.parent / "README.md").read_text()
    report = json.loads((DATA / "hypernetworks" / "stories-sentence" / "evaluation.json").read_text())
    assert report["facts"]["concepts"]["digest"] == read_concepts("stories").digest()
    lines = {(line["contestant"], line["part"]): line for line in report["table"]}
    for name in ("stories-sentence", "mean difference", "ReFT-r1", "SAE latent", "prompting", "random vector"):
        both = [lines[name, part] for part in ("held_in", "held_out")]
        cells = [f"{at['mean']:.2f} ({at['low']:.2f} to {at['high']:.2f})" for at in (one["overall"] for one in both)]
        assert f"| {' | '.join(cells)} | {both[1]['shown']['mean']:.0%}".replace("%", " %") in readme


def test_what_a_vector_costs_has_its_teacher_and_is_the_same_in_the_report_the_card_and_the_readme() -> None:
    folder = DATA / "hypernetworks" / "stories-sentence"
    costs = {one["contestant"]: one for one in json.loads((folder / "evaluation.json").read_text())["costs"]}
    session, concepts = load_session("stories"), read_concepts("stories")
    trained = read_hypernetwork(folder)
    own = costs["stories-sentence"]
    assert own["flops_before"] == pytest.approx(training_flops(session, trained, concepts))
    assert own["flops_each"] == pytest.approx(costs["mean difference"]["flops"], rel=0.1)
    assert "mean difference" not in own["cheaper_from"]
    words = f"cheaper than ReFT-r1 from {own['cheaper_from']['ReFT-r1']} concepts on"
    for text in ((DATA.parent / "README.md").read_text(), (folder / "README.md").read_text()):
        assert words in " ".join(text.split())
        assert f"{own['flops'] / 1e9:.0f} GFLOP" in text


def test_the_tables_of_variants_and_losses_are_those_of_their_reports() -> None:
    folder = DATA / "hypernetworks" / "stories-sentence"
    card, concepts = (folder / "README.md").read_text(), read_concepts("stories").digest()
    for name in ("variants", "variants_1500"):
        report, gains = (json.loads((folder / f"{name}{end}.json").read_text()) for end in ("", "_gains"))
        lines = {(line["contestant"], line["part"]): line for line in report["table"]}
        for row in gains["rows"]:
            assert gains["concepts"] == report["facts"]["concepts"]["digest"] == concepts
            both = [lines[row["name"], part]["overall"] for part in ("held_in", "held_out")]
            cells = [f"{row[part]['specific']['mean']:+.3f}" for part in ("held_in", "held_out")]
            cells += [f"{at['mean']:.2f} ({at['low']:.2f} to {at['high']:.2f})" for at in both]
            assert f"| {' | '.join(cells)} |" in card
    report = json.loads((folder / "variants_held_out.json").read_text())
    for at in (line["overall"] for line in report["table"] if line["part"] == "held_out" and line["strength"] > 0):
        assert f"| {at['mean']:.2f} ({at['low']:.2f} to {at['high']:.2f}) |" in card
