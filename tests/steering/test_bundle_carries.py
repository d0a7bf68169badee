"""A bundle carries what its recipe names, so that another machine has the same recipe, digest for digest."""

import json
import shutil
from dataclasses import replace
from unittest import mock

import pytest
import torch
from safetensors.torch import load

from capture.errors import UserError
from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint
from capture.store import ActivationStore
from sae import shelf as sae_shelf
from steering import apply_steering
from steering.bundle import bundle_zip, make_bundle, write_bundle
from steering.controller_folder import write_controller
from steering.fitted import Fitted
from steering.importing import import_any
from steering.methods.add_direction import AddDirection
from steering.methods.controller import change_by
from steering.methods.edit_latent import EditLatent
from steering.methods.hypernetwork import SteerBySentence
from steering.methods.k_steering import layers_of
from steering.recipe import Step
from steering.recipe_file import named_recipe
from steering.recipe_sweeps import recipe_sweeps
from steering.sentence_vector import load_hypernetwork, sentence_vector
from steering.shelf import find_shelved, put_on_shelf, shelved
from steering.shelf_step import step_from_shelf
from steering.token_scope import TokenScope
from steering.tuning import tune
from steering.vector_folder import write_vectors
from tests.models import tiny_llama
from tests.shelves import HOOK, shelve_for
from tests.steering.hypernetworks import AT, shelve_hypernetwork
from tests.steering.planted import planted_speaker
from tests.steering.planted_controller import made
from tests.steering.test_tuning import plan

PROMPT = (0, 40, 90, 33, 120, 77)
SENTENCE = "make it about the sea"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A function that goes to the machine of a name: a home of its own."""

    def go(name):
        monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / name))

    go("here")
    return go


def controller_step(session, folder, **fields):
    controller = made(of=session, **fields)
    write_controller(controller, folder / "cheer")
    return change_by(put_on_shelf("controllers", folder / "cheer", "cheer").digest, controller, 60.0)


def sentence_step(session, folder, variant="no_context"):
    digest = shelve_hypernetwork(session, folder, variant, variant)
    return SteerBySentence(AT, digest, SENTENCE, 0.5, TokenScope())


def classifier_step(folder):
    draw = torch.Generator().manual_seed(8)
    shapes = {"W_0": (32, 4), "b_0": (4,), "W_1": (4, 4), "b_1": (4,), "W_2": (4, 2), "b_2": (2,)}
    tensors = {name: torch.randn(*shape, generator=draw) for name, shape in shapes.items()}
    at = HookPoint(2, "resid_post")
    fitted = Fitted("k_steering", {at: torch.ones(32)}, {at: 5.0}, {"mean_gradient_norm": 2.0}, tensors)
    assert len(layers_of(fitted)) == 3
    write_vectors(fitted, folder / "moods")
    return step_from_shelf(put_on_shelf("vectors", folder / "moods", "moods").digest)


def latent_step(session):
    return EditLatent(HookPoint.parse(HOOK), shelve_for(session), 3, "clamp", 4.0)


def whole_recipe(session, folder):
    return (
        controller_step(session, folder),
        sentence_step(session, folder),
        sentence_step(session, folder, "in_context"),
        classifier_step(folder),
        latent_step(session),
    )


def greedy(session, recipe):
    (new,) = session.generate_rows([GenerationRow(PROMPT, tuple(recipe))], 8, Sampling(temperature=0.0))
    return new


def test_another_machine_has_the_same_recipe_digests_text_and_bundle(tiny_session, tmp_path, home):
    recipe = whole_recipe(tiny_session, tmp_path)
    bundle, before = make_bundle(tiny_session, recipe, "all of it"), greedy(tiny_session, recipe)
    (tmp_path / "all.zip").write_bytes(bundle_zip(bundle))
    home("there")
    with pytest.raises(UserError, match="on the shelf"):
        greedy(tiny_session, recipe[:1])
    one = import_any(tmp_path / "all.zip", "theirs").first
    again = named_recipe("theirs").interventions
    assert [each.recipe() for each in again] == [each.recipe() for each in recipe]
    assert named_recipe(one.digest).interventions == again
    assert greedy(tiny_session, again) == before != greedy(tiny_session, ())
    assert bundle_zip(make_bundle(tiny_session, again, "all of it")) == bundle_zip(bundle)


def test_importing_twice_puts_nothing_twice(tiny_session, tmp_path, home):
    bundle = make_bundle(tiny_session, whole_recipe(tiny_session, tmp_path))
    write_bundle(bundle, tmp_path / "all")
    home("there")
    first, second = import_any(tmp_path / "all"), import_any(tmp_path / "all", "again")
    assert first.first == second.first
    assert (len(first.more), len(first.saes)) == (4, 1)
    assert (second.more, second.saes) == ((), ())


def test_a_controllers_folder_is_in_the_bundle_as_it_lay_on_the_shelf(tiny_session, tmp_path):
    change = controller_step(tiny_session, tmp_path)
    bundle = make_bundle(tiny_session, [change])
    for name in ("controller.safetensors", "manifest.json"):
        assert bundle.files[f"controllers/cheer/{name}"] == (tmp_path / "cheer" / name).read_bytes()
    (entry,) = json.loads(bundle.files["manifest.json"])["carried"]
    assert (entry["digest"], entry["folder"]) == (change.controller, "controllers/cheer")
    assert "reads each prompt and decides how strongly it acts" in bundle.warnings[0]
    assert "`controllers/cheer` (0.00 MB): safetensors and a manifest" in bundle.files["README.md"].decode()


@pytest.mark.parametrize("fields", [{}, {"variant": "fixed", "output": "sigmoid"}, {"unit": "relative"}])
def test_the_script_decides_as_the_controller_does(fields, tiny_session, tmp_path):
    change = controller_step(tiny_session, tmp_path, **fields)
    write_bundle(make_bundle(tiny_session, [change]), tmp_path / "bundle")
    ids, model = torch.tensor([PROMPT]), tiny_llama()
    with torch.no_grad(), apply_steering.steering(model, ids, tmp_path / "bundle"):
        new = model.generate(ids, max_new_tokens=8, do_sample=False, eos_token_id=None)[0, len(PROMPT) :]
    assert tuple(new.tolist()) == greedy(tiny_session, [change]) != greedy(tiny_session, [])


def test_a_sentences_vector_is_in_the_vector_files_and_its_words_in_the_manifest(tiny_session, tmp_path):
    change = sentence_step(tiny_session, tmp_path)
    bundle = make_bundle(tiny_session, [change])
    _, trained = load_hypernetwork(change.hypernetwork)
    expected = 0.5 * sentence_vector(trained, tiny_session, SENTENCE).vector
    torch.testing.assert_close(load(bundle.files["vectors.safetensors"])["resid_post.1"], expected)
    (row,) = json.loads(bundle.files["manifest.json"])["facts"]["steps"]
    assert (row["sentence"], row["digest"], row["variant"]) == (SENTENCE, change.hypernetwork, "no_context")
    assert "hypernetworks/no_context/hypernetwork.safetensors" in bundle.files
    assert bundle.warnings == ()
    assert f"from the sentence '{SENTENCE}'" in bundle.files["README.md"].decode()


def test_a_step_made_of_a_sentence_brings_the_network_that_made_it(tiny_session, tmp_path):
    digest = shelve_hypernetwork(tiny_session, tmp_path, "words", "no_context")
    vector = AddDirection(AT, (1.0,) * 32)
    bundle = make_bundle(tiny_session, [Step(SENTENCE, (vector,), method="hypernetwork", source=digest)])
    (row,) = json.loads(bundle.files["manifest.json"])["facts"]["steps"]
    assert (row["sentence"], row["digest"], row["origin"]) == (SENTENCE, digest, "words")
    assert [one.folder for one in bundle.carried] == ["hypernetworks/words"]


def test_a_sentence_that_reads_the_prompt_is_refused_by_vector_files_in_words(tiny_session, tmp_path):
    bundle = make_bundle(tiny_session, [sentence_step(tiny_session, tmp_path, "cross_attention")])
    assert "makes a vector for each prompt anew, which no file of vectors can say" in bundle.warnings[0]
    assert load(bundle.files["vectors.safetensors"]) == {}


def test_a_thing_that_is_not_on_the_shelf_stops_the_export(tiny_session):
    with pytest.raises(UserError, match="None of the controllers on the shelf is called"):
        make_bundle(tiny_session, [change_by("f" * 32, made(of=tiny_session))])


def test_what_is_too_large_is_named_and_left_out(tiny_session, tmp_path, monkeypatch):
    monkeypatch.setattr("steering.carried.MAX_BYTES", 1_000)
    bundle = make_bundle(tiny_session, [controller_step(tiny_session, tmp_path)])
    assert any("The controller cheer has 0 MB and is not in the bundle" in one for one in bundle.warnings)
    assert not [name for name in bundle.files if name.startswith("controllers/")]


def test_two_things_of_one_name_have_folders_of_their_own(tiny_session, tmp_path):
    changes = [controller_step(tiny_session, tmp_path, seed=seed) for seed in (3, 4)]
    with mock.patch(
        "steering.carried.find_shelved", lambda kind, wanted: replace(find_shelved(kind, wanted), name="one")
    ):
        folders = [one.folder for one in make_bundle(tiny_session, changes).carried]
    assert len(set(folders)) == 2
    assert all(one.startswith("controllers/one") for one in folders)


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../b", "controllers/./x", "a\\b", ".hidden", ""])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(name, tiny_session, tmp_path):
    write_bundle(make_bundle(tiny_session, [controller_step(tiny_session, tmp_path)]), tmp_path / "all")
    path = tmp_path / "all" / "manifest.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"checksums": {**manifest["checksums"], name: "0"}}))
    with pytest.raises(UserError, match="which is no file in it"):
        import_any(tmp_path / "all")


def test_a_link_to_elsewhere_is_no_file_of_a_bundle(tiny_session, tmp_path):
    write_bundle(make_bundle(tiny_session, [controller_step(tiny_session, tmp_path)]), tmp_path / "all")
    shutil.move(tmp_path / "all" / "README.md", tmp_path / "elsewhere")
    (tmp_path / "all" / "README.md").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"README\.md is not the file"):
        import_any(tmp_path / "all")


def test_where_the_recipe_cannot_be_read_nothing_stays_on_the_shelf(tiny_session, tmp_path, home, monkeypatch):
    bundle = make_bundle(tiny_session, whole_recipe(tiny_session, tmp_path))
    write_bundle(bundle, tmp_path / "all")
    home("there")

    def refuse(words):
        raise UserError("It cannot be read.", "Export it again.")

    monkeypatch.setattr("steering.bundle_import.named_recipe", refuse)
    with pytest.raises(UserError, match="It cannot be read"):
        import_any(tmp_path / "all")
    assert not [
        one for kind in ("controllers", "hypernetworks", "vectors") for one in shelved(kind) if not one.is_bundled
    ]
    assert [one.origin for one in sae_shelf.shelved()] == ["bundled"]


@pytest.mark.parametrize("kind", ["controllers", "hypernetworks"])
def test_a_network_on_its_own_is_imported_with_its_digest(kind, tiny_session, tmp_path, home):
    change = controller_step(tiny_session, tmp_path) if kind == "controllers" else sentence_step(tiny_session, tmp_path)
    (mine,) = (one for one in shelved(kind) if not one.is_bundled)
    shutil.copytree(mine.folder, tmp_path / "given")
    home("there")
    one = import_any(tmp_path / "given", "given").first
    assert (one.kind, one.digest) == (kind, getattr(change, kind.removesuffix("s")))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A store with the sweep of a planted recipe, and the recipe with what it chose."""
    store = ActivationStore.open(tmp_path_factory.mktemp("store") / "s.duckdb")
    asked = plan((), strengths=(0.05, 0.1))
    found = tune(planted_speaker(), asked, store)
    yield store, asked, found
    store.close()


def sweeps(store, recipe):
    session = planted_speaker()
    return recipe_sweeps(store, recipe, session.fingerprint, session.dtype)


def test_the_manifest_has_the_sweep_of_this_very_recipe_beside_the_vectors_own(tuned):
    store, asked, found = tuned
    (sweep,) = sweeps(store, asked.recipe)
    step = Step.from_recipe(asked.recipe[0])
    bundle = make_bundle(planted_speaker(), [step], sweeps=(sweep,))
    (said,) = json.loads(bundle.files["manifest.json"])["recipe_scores"]
    assert [one["strength"] for one in said["doses"]] == [0.05, 0.1]
    assert said["doses"][1]["concept"]["mean"] == found.doses[1].concept.mean
    assert (said["kl_budget"], said["knee"]["strength"]) == (found.budget, found.knee.strength)
    assert (said["pairs"]["n_choosing"], said["pairs"]["n_reported"]) == (3, 3)
    assert said["pairs"]["digest"] == asked.contrast.digest()
    assert f"{found.doses[1].concept.mean:+.3f}" in bundle.files["README.md"].decode()


def test_a_sweep_is_found_at_another_strength_and_name_and_at_no_other_vector(tuned):
    store, asked, _ = tuned
    (recipe,) = asked.recipe
    assert len(sweeps(store, [recipe | {"strength": 3.0, "name": "other"}])) == 1
    changed = [recipe["changes"][0] | {"strength": 2.0}, *recipe["changes"][1:]]
    for other in (recipe | {"changes": changed}, recipe | {"scope": TokenScope().recipe()}):
        assert sweeps(store, [other]) == ()
    assert sweeps(store, [recipe, AddDirection(AT, (1.0,) * 32).recipe()]) == ()
    assert sweeps(None, [recipe]) == ()


def test_a_recipe_keeps_its_sweep_on_another_machine(tuned, tmp_path, home):
    store, asked, _ = tuned
    bundle = make_bundle(planted_speaker(), [Step.from_recipe(asked.recipe[0])], "b", sweeps(store, asked.recipe))
    write_bundle(bundle, tmp_path / "b")
    home("there")
    import_any(tmp_path / "b")
    again = named_recipe("b")
    assert bundle_zip(make_bundle(planted_speaker(), again.interventions, "b", again.sweeps)) == bundle_zip(bundle)


@pytest.mark.parametrize("broken", [3, "x", [3], [{}], [{"unit": 1}], {"a": 1}, [None]])
def test_a_sweep_of_a_stranger_that_cannot_be_read_is_refused(broken, tiny_session, tmp_path):
    write_bundle(make_bundle(tiny_session, [controller_step(tiny_session, tmp_path)]), tmp_path / "b")
    path = tmp_path / "b" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"recipe_scores": broken}))
    with pytest.raises(UserError, match="The sweeps in the manifest cannot be read"):
        import_any(tmp_path / "b")
