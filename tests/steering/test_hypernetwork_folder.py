"""A hypernetwork's folder: what is written is read again, and what is damaged or of another model is refused."""

import json
import threading

import pytest
import torch
from safetensors.torch import load_file, save_file

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.session import ModelSession
from steering.hypernetwork_folder import MANIFEST, WEIGHTS, read_hypernetwork, write_hypernetwork
from steering.hypernetwork_making import far_distance, make_hypernetwork
from steering.hypernetwork_recipe import VARIANTS
from steering.hypernetwork_training import Run
from steering.sentence_vector import fitted_of, load_hypernetwork, sentence_vector, sentence_vectors
from steering.shelf import put_on_shelf
from steering.vector_folder import read_vectors, write_vectors
from tests.models import tiny_llama, tiny_tokenizer
from tests.steering.hypernetworks import AT, small_concepts, small_recipe, trained_for


@pytest.fixture
def folder(tiny_session, tmp_path):
    write_hypernetwork(trained_for(tiny_session), tmp_path)
    return tmp_path


def changed(folder, **fields):
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps({**manifest, **fields}))
    return folder


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hypernetwork_is_safetensors_and_json_and_acts_the_same_when_read(variant, tiny_session, tmp_path):
    """Weights are bfloat16 in the file: a part in 256."""
    given = trained_for(tiny_session, variant)
    write_hypernetwork(given, tmp_path)
    again = read_hypernetwork(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, WEIGHTS}
    assert (again.recipe, again.at, again.learnt, again.held_out) == (given.recipe, AT, given.learnt, given.held_out)
    vectors = [sentence_vector(one, tiny_session, "the bear", (0, 9, 8)).vector for one in (given, again)]
    assert torch.nn.functional.cosine_similarity(*vectors, dim=0) > 0.999


def test_what_was_written_and_read_and_written_is_byte_for_byte_the_same(folder, tmp_path_factory):
    again = tmp_path_factory.mktemp("again")
    write_hypernetwork(read_hypernetwork(folder), again)
    assert (again / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    assert (again / MANIFEST).read_bytes() == (folder / MANIFEST).read_bytes()


def test_training_ends_with_a_folder_that_knows_its_concepts(tiny_session, tmp_path):
    run = Run(tiny_session, small_concepts(), AT, small_recipe(), tmp_path)
    found = make_hypernetwork(run)
    assert found.learnt == ("bear", "river", "moon", "cat", "night")
    assert found.held_out == ("stars",)
    near = sentence_vector(found, tiny_session, "make it about the moon")
    assert near.nearest == "moon"
    assert near.distance == pytest.approx(0.0, abs=0.01)


def test_far_is_beyond_where_most_learnt_concepts_have_their_nearest_other_one():
    circle = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    assert far_distance(circle) == pytest.approx(1.0)
    assert far_distance(circle[:1]) == 2.0


def test_a_model_with_other_weights_is_refused(folder):
    other = ModelSession(tiny_llama(seed=1), tiny_tokenizer(), name="another llama")
    with pytest.raises(UserError, match="trained on 'tiny llama'; the model here is 'another llama'"):
        sentence_vector(read_hypernetwork(folder), other, "the bear")


def test_a_layer_that_the_model_does_not_have_is_refused(folder, tiny_session):
    found = read_hypernetwork(changed(folder, hook_point=str(HookPoint(7, "resid_post"))))
    with pytest.raises(UserError, match=r"blocks\.7\.hook_resid_post; tiny llama has 3 layers of width 32"):
        sentence_vector(found, tiny_session, "the bear")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schema_version": 9}, "it is of 'hypernetwork', version 9"),
        ({"method": "mean_difference"}, "must be of a hypernetwork"),
        ({"recipe": {}}, "cannot be read"),
        ({"recipe": None}, "cannot be read"),
        ({"d_model": 10**9}, "cannot be read"),
        ({"d_model": float("inf")}, "cannot be read"),
        ({"learnt": ["bear"]}, "has 1 learnt concepts"),
        ({"far": float("nan")}, "cannot be read"),
        ({"checksums": {}}, "is not the file that its manifest speaks of"),
        ({"checksums": 7}, "is not the file that its manifest speaks of"),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(folder, fields, message):
    with pytest.raises(UserError, match=message):
        read_hypernetwork(changed(folder, **fields))


@pytest.mark.parametrize("change", [{"n_blocks": 10**6}, {"d_mlp": 10**9}, {"variant": "none"}, {"n_heads": "2"}])
def test_a_recipe_of_another_network_is_refused_before_memory_is_taken(folder, change):
    recipe = json.loads((folder / MANIFEST).read_text())["recipe"]
    with pytest.raises(UserError, match=r"cannot be read|No variant"):
        read_hypernetwork(changed(folder, recipe={**recipe, **change}))


def test_weights_that_are_not_numbers_are_refused(folder):
    tensors = load_file(folder / WEIGHTS)
    save_file({name: one * float("nan") for name, one in tensors.items()}, folder / WEIGHTS)
    with pytest.raises(UserError, match="not the file that its manifest speaks of"):
        read_hypernetwork(folder)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        read_hypernetwork(tmp_path)


def test_on_the_shelf_it_is_found_by_its_digest(folder, tiny_session):
    digest = put_on_shelf("hypernetworks", folder, "by digest").digest
    one, found = load_hypernetwork(digest)
    assert one.name == "by digest"
    assert load_hypernetwork("by digest")[1] is found


def test_two_at_once_do_not_mix(tiny_session):
    """Each thread's vectors are those that it gets alone."""
    jobs = [(trained_for(tiny_session, variant), word) for variant in VARIANTS for word in ("the bear", "a cat")]
    alone = [sentence_vector(one, tiny_session, word, (0, 9, 8)).vector for one, word in jobs]
    found: dict[int, list[torch.Tensor]] = {}

    def work(place):
        one, word = jobs[place]
        found[place] = [sentence_vector(one, tiny_session, word, (0, 9, 8)).vector for _ in range(10)]

    threads = [threading.Thread(target=work, args=(place,)) for place in range(len(jobs))]
    _ = [one.start() for one in threads], [one.join() for one in threads]
    assert all(torch.equal(one, alone[place]) for place, some in found.items() for one in some)
    assert len(found) == len(jobs)


def test_a_vector_is_kept_as_any_fitted_one(folder, tiny_session, tmp_path_factory):
    found = sentence_vectors(read_hypernetwork(folder), tiny_session, ["the bear"], [()])[0]
    kept = tmp_path_factory.mktemp("vector")
    write_vectors(fitted_of(found, read_hypernetwork(folder), "small"), kept)
    again = read_vectors(kept)
    assert torch.equal(again.vectors[AT], found.vector)
    assert (again.method, again.facts["sentence"], again.mean_norms[AT]) == ("hypernetwork", "the bear", 12.0)
