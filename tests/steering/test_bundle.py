"""A bundle: all files from one recipe, equal bytes, nothing dropped without a sentence, and read onto the shelf."""

import hashlib
import io
import json
import zipfile

import pytest
import torch
from safetensors.torch import load

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.intervention import operator_from_recipe
from steering import apply_steering
from steering.bundle import bundle_zip, make_bundle, write_bundle
from steering.folding import fold
from steering.importing import import_any, import_vectors
from steering.methods.add_direction import AddDirection
from steering.methods.cast_condition import Condition
from steering.methods.project_out import ProjectOut
from steering.recipe import Step
from steering.recipe_file import named_recipe
from steering.schedule import Schedule
from steering.shelf import find_shelved
from steering.token_scope import TokenScope
from steering.vector_file import formats
from steering.vector_folder import read_vectors
from tests.models import tiny_llama

TOKENS = (0, 40, 90, 33)


def post(layer):
    return HookPoint(layer, "resid_post")


def add(layer, seed=1, strength=1.0, site="resid_post"):
    vector = torch.randn(32, generator=torch.Generator().manual_seed(seed))
    return AddDirection(HookPoint(layer, site), tuple(vector.tolist()), strength)


def step(*changes, name="happy", strength=2.0, **fields):
    return Step(name, changes or (add(1),), strength, **fields)


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch):
    monkeypatch.setenv("STEERSCOPE_HOME", str(tmp_path / "home"))


@pytest.fixture
def bundled(tiny_session, tmp_path):
    def make(*recipe):
        bundle = make_bundle(tiny_session, recipe)
        write_bundle(bundle, tmp_path / "bundle")
        return bundle

    return make


def tensors(bundle):
    return load(bundle.files["vectors.safetensors"])


def test_strength_unit_and_layer_weights_are_in_the_vectors(bundled):
    one = step(
        add(1), add(2, seed=2), strength=0.5, unit="relative", mean_norms={post(1): 8.0, post(2): 3.0}, weights={2: 2.0}
    )
    found = tensors(bundled(one))
    unit = [torch.tensor(change.vector) / torch.tensor(change.vector).norm() for change in one.changes]
    torch.testing.assert_close(found["resid_post.1"], 0.5 * 8 * unit[0])
    torch.testing.assert_close(found["resid_post.2"], 0.5 * 2 * 3 * unit[1])


def test_the_input_of_a_block_is_the_output_of_the_one_before_and_steps_add_up(bundled):
    found = tensors(bundled(step(add(1)), step(add(2, site="resid_pre"), name="also", strength=3.0)))
    torch.testing.assert_close(found["resid_post.1"], 5 * torch.tensor(add(1).vector))


def test_all_formats_hold_the_same_vectors_and_import_onto_the_shelf(bundled, tiny_session, tmp_path):
    bundle = bundled(step(add(1), add(2, seed=2)))
    expected = {post(int(key[-1])): vector for key, vector in tensors(bundle).items()}
    for kind, module in formats().items():
        names = [
            name for name in bundle.files if name == module.FILE or (kind == "neuronpedia" and "neuronpedia" in name)
        ]
        shelved = [
            import_vectors(tmp_path / "bundle" / name, f"{kind} {name}", tiny_session, ["A bear."]) for name in names
        ]
        found = {at: vector for one in shelved for at, vector in read_vectors(one.folder).vectors.items()}
        assert {at: vector.tolist() for at, vector in found.items()} == {
            at: one.tolist() for at, one in expected.items()
        }


def test_equal_recipes_give_equal_bytes(tiny_session):
    first, second = (
        make_bundle(tiny_session, (step(add(1), add(2)), ProjectOut(post(1), (1.0,) * 32))) for _ in range(2)
    )
    assert bundle_zip(first) == bundle_zip(second)


def test_the_manifest_says_from_what_and_has_a_checksum_of_every_other_file(bundled, tiny_session):
    bundle = bundled(step())
    manifest = json.loads(bundle.files["manifest.json"])
    others = {name: data for name, data in bundle.files.items() if name != "manifest.json"}
    assert manifest["checksums"] == {name: hashlib.sha256(data).hexdigest() for name, data in others.items()}
    assert manifest["hook_points"] == {"resid_post.1": "blocks.1.hook_resid_post"}
    facts = manifest["facts"]
    assert (facts["fingerprint"], facts["family"], facts["n_layers"]) == (tiny_session.fingerprint, "llama", 3)
    assert len(facts["tokenizer"]) == 20


def test_a_folder_of_bundled_vectors_is_imported_with_its_scores():
    source = find_shelved("vectors", "happy_sad")
    assert import_any(source.folder, "again").first.manifest["scores"] == source.manifest["scores"]


def test_pairs_seed_scores_and_dose_response_of_bundled_vectors_are_in_the_manifest_and_the_readme(tiny_session):
    source = find_shelved("vectors", "happy_sad")
    one = step(name="happy", source=source.digest, method="mean_difference")
    bundle = make_bundle(tiny_session, (one,))
    manifest = json.loads(bundle.files["manifest.json"])
    (row,) = manifest["facts"]["steps"]
    assert row["pairs"] == source.facts["texts"]
    assert row["scores"]["doses"] == manifest["scores"]["doses"] == source.manifest["scores"]["doses"]
    assert "| 0.1 | +0.170 |" in bundle.files["README.md"].decode()
    assert "made on stories with other weights" in bundle.warnings[0]


def test_the_recipe_in_it_acts_the_same(bundled, tiny_session):
    recipe = (step(add(1), scope=TokenScope("skip_special")), ProjectOut(post(2), add(1).vector))
    spelled = json.loads(bundled(*recipe).files["recipe.json"])["interventions"]
    again = [operator_from_recipe(one) for one in spelled]
    assert torch.equal(tiny_session.logits(TOKENS, again), tiny_session.logits(TOKENS, recipe))


def test_the_script_in_it_gives_our_logits(bundled, tiny_session, tmp_path):
    recipe = (step(add(1), scope=TokenScope("skip_special")), ProjectOut(post(2), add(1).vector))
    bundled(*recipe)
    model, ids = tiny_llama(), torch.tensor([TOKENS])
    with torch.no_grad(), apply_steering.steering(model, ids, tmp_path / "bundle"):
        torch.testing.assert_close(model(ids).logits[0], tiny_session.logits(TOKENS, recipe), atol=1e-4, rtol=0)


CONDITION = Condition(post(1), (1.0,) * 32, 0.5, ">")
LOST = {
    "leaves special tokens such as BOS out; in a file of vectors it is added at every": step(
        scope=TokenScope("skip_special")
    ),
    "acts at the tokens of the prompt alone": step(scope=TokenScope("prompt")),
    "acts only where its condition holds": step(condition=CONDITION),
    "follows a ramp over the generated tokens": step(schedule=Schedule("ramp")),
    "is of kind project out": step(ProjectOut(post(1), (1.0,) * 32)),
    "is muted": step(is_muted=True),
    "cannot carry block 0: llama.cpp refuses direction.0": step(add(0)),
    "An IBM .svec holds vectors that are added to the output of a block": step(add(1, site="mlp_out")),
}


@pytest.mark.parametrize("words", LOST)
def test_what_a_file_cannot_say_is_said_in_readme_manifest_and_warnings(words, bundled):
    bundle = bundled(LOST[words], step(name="other"))
    warning = next(one for one in bundle.warnings if words in one)
    assert f"- {warning}\n" in bundle.files["README.md"].decode()
    assert warning in json.loads(bundle.files["manifest.json"])["warnings"]


def test_a_format_that_could_carry_nothing_is_not_written_and_says_so(bundled):
    bundle = bundled(step(add(0)))
    assert "control_vector.gguf" not in bundle.files
    assert "A GGUF control vector is not written: it could carry none of the vectors." in bundle.warnings
    assert "vectors.npz" in bundle.files


def test_a_recipe_without_loss_has_no_warning(bundled):
    bundle = bundled(step())
    assert bundle.warnings == ()
    assert "Nothing: every step adds its vector" in bundle.files["README.md"].decode()


def test_what_is_left_out_is_not_in_the_vectors():
    recipe = (step(), step(name="gated", condition=CONDITION), step(name="muted", is_muted=True))
    assert [one.step for one in fold(recipe).additions] == ["'happy'"]


def test_a_bundle_is_imported_from_its_folder_and_its_zip_with_one_digest(bundled, tmp_path):
    bundle = bundled(step())
    (tmp_path / "b.zip").write_bytes(bundle_zip(bundle))
    from_folder, from_zip = (import_any(tmp_path / name, name[0]).first for name in ("bundle", "b.zip"))
    assert from_folder == from_zip
    assert [one.recipe() for one in named_recipe(from_zip.name).interventions] == [step().recipe()]
    alone = import_any(tmp_path / "bundle" / "vectors.safetensors", "alone").first
    assert torch.equal(read_vectors(alone.folder).vectors[post(1)], 2 * torch.tensor(add(1).vector))


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ((), "made from at least one change"),
        ((step(is_muted=True),), "made from at least one change"),
        ((step(add(7)),), "Layer 7 does not exist"),
        ((AddDirection(post(1), (1.0, 2.0)),), "must have 32 entries; it has 2"),
    ],
)
def test_a_recipe_that_no_bundle_can_be_made_of_is_refused(tiny_session, recipe, sentence):
    with pytest.raises(UserError, match=sentence):
        make_bundle(tiny_session, recipe)


def test_a_folder_with_other_files_is_left_alone(tiny_session, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'thesis\.txt'"):
        write_bundle(make_bundle(tiny_session, (step(),)), tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["thesis.txt"]


def test_a_file_of_a_bundle_that_was_changed_is_refused(bundled, tmp_path):
    bundled(step())
    (tmp_path / "bundle" / "README.md").write_text("other")
    with pytest.raises(UserError, match=r"README\.md is not the file that the manifest speaks of"):
        import_any(tmp_path / "bundle")


def zipped(**files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("_", "."), text)
    return data.getvalue()


@pytest.mark.parametrize(
    "data",
    [b"", b"PK", zipped(a_txt="x"), zipped(manifest_json="{}"), zipped(manifest_json="{", vectors_safetensors="x")],
)
def test_a_zip_that_is_no_bundle_is_refused(data, tmp_path):
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(UserError):
        import_any(tmp_path / "b.zip")


def test_a_file_is_checked_against_the_model_and_its_norms_are_measured(bundled, tiny_session, tmp_path):
    bundled(step())
    one = import_vectors(tmp_path / "bundle" / "steering.svec", "a", tiny_session, ["The bear sat."], licence="MIT")
    tokens = tiny_session.tokens("The bear sat.", bos=True)
    expected = tiny_session.capture(tokens, [post(1)])[post(1)][1:].norm(dim=1).mean()
    assert read_vectors(one.folder).mean_norms[post(1)] == pytest.approx(float(expected))
    assert one.fits(tiny_session.fingerprint)
    assert (one.facts["licence"], one.facts["imported"]["file"]) == ("MIT", "steering.svec")


@pytest.mark.parametrize(
    ("layer", "width", "sentence"), [(9, 32, "blocks 0 to 2"), (1, 8, "has 8 entries; tiny llama has 32")]
)
def test_a_file_for_another_model_is_refused(layer, width, sentence, tiny_session, tmp_path):
    (tmp_path / "a.svec").write_text(json.dumps({"directions": {str(layer): [1.0] * width}}))
    with pytest.raises(UserError, match=sentence):
        import_vectors(tmp_path / "a.svec", "a", tiny_session, ["A bear."])


def generated(tmp_path):
    """A file with the signed count that llama.cpp's cvector-generator writes."""
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "c.gguf", "controlvector")
    writer.add_string("controlvector.model_hint", "llama")
    writer.add_int32("controlvector.layer_count", 2)
    for layer in (1, 2):
        writer.add_tensor(f"direction.{layer}", torch.full((4,), float(layer)).numpy())
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    return tmp_path / "c.gguf"


def test_a_file_of_cvector_generator_must_be_answered_for(tmp_path):
    path = generated(tmp_path)
    with pytest.raises(UserError, match="writes what it measured at the output of block N as direction"):
        import_vectors(path)
    blocks = {
        words: read_vectors(import_vectors(path, words, blocks=words).folder) for words in ("as-used", "as-measured")
    }
    assert [at.layer for at in blocks["as-used"].vectors] == [1, 2]
    assert {at.layer: float(one[0]) for at, one in blocks["as-measured"].vectors.items()} == {0: 1.0, 1: 2.0}
    with pytest.raises(UserError, match="Choose one of them"):
        import_vectors(path, blocks="later")
