"""A controller finds when to act, goes on where it was stopped, and refuses what it cannot learn from."""

import math
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from steering.contrast_pairs import Contrast, Example, contrast_of, single_pair
from steering.controller import decisions
from steering.controller_checkpoint import CHECKPOINT
from steering.controller_direction import phrase_direction, saved_directions
from steering.controller_inputs import read_inputs
from steering.controller_prompts import prompts_of, split
from steering.controller_recipe import ControllerRecipe, read_layers
from steering.controller_training import Run, train_controller
from steering.fitting import fit_method
from steering.method import methods
from steering.scores import auroc
from steering.vector_folder import write_vectors
from tests.steering.planted import planted_pairs
from tests.steering.planted_controller import RECIPE, WANTED, contrast, prompts, session, trained

SHORT = replace(RECIPE, n_epochs=3)


@pytest.fixture(scope="module")
def controller():
    return trained()


def weights(controller):
    return {name: one for name, one in controller.network.items() if name[0] in "Wb"}


def test_it_finds_when_to_act_on_a_model_whose_behaviour_follows_a_known_direction(controller):
    """Planted truth: prompts of UP letters are targets; held-out ones must get s near 1, the others near 0."""
    held_out = prompts(seed=77)
    said = decisions(controller, read_inputs(session(), held_out.tokens, controller.inputs))
    s = torch.tensor([one.s for one in said])
    is_target = torch.tensor(held_out.is_target)
    assert auroc(s[is_target], s[~is_target]) > 0.97
    assert float(s[is_target].mean()) > 0.75
    assert float(s[~is_target].mean()) < 0.25


def test_the_behaviour_is_there_on_targets_and_not_on_the_rest(controller):
    """The planted token's log-probability behind a prompt rises by nats where it should, and hardly elsewhere."""
    from steering.controller import decide, patches

    (token,) = session().tokens(WANTED, bos=False)
    rises = {True: [], False: []}
    held_out = prompts(8, seed=78)
    for tokens, is_target in zip(held_out.tokens, held_out.is_target, strict=True):
        changes = patches(controller, decide(controller, session(), tokens), len(tokens), 4.0, "absolute")
        clean, steered = (session().logits((*tokens, 30), some)[-1].log_softmax(0)[token] for some in ((), changes))
        rises[is_target].append(float(steered - clean))
    assert sum(rises[True]) / 8 > 2.0
    assert abs(sum(rises[False]) / 8) < 0.5


@pytest.mark.parametrize(("kl_weight", "rises"), [(0.0, True), (50.0, False)])
def test_weights_trained_through_the_frozen_model_weigh_gain_against_cost(kl_weight, rises, tmp_path):
    """Where nothing is lost on other prompts they rise above one half, where much is they fall; the base stays."""
    before = {name: one.clone() for name, one in session()._wiring.plain.state_dict().items()}
    texts = [Example(WANTED * 3, "up"), Example("###", "down")]
    pairs = contrast_of("wanted", ("up", "down"), texts, True)
    recipe = replace(RECIPE, variant="trained", n_epochs=10, alpha=3.0, weight_loss=1.0, kl_weight=kl_weight)
    found = train_controller(Run(session(), prompts(), replace(recipe, flow_tokens=3), tmp_path, pairs))
    said = decisions(found, read_inputs(session(), prompts().tokens, found.inputs))
    w = torch.tensor([one.weights for one in said]).mean(dim=0)
    assert bool((w > 0.52).all() if rises else (w < 0.48).all())
    assert all(torch.equal(one, before[name]) for name, one in session()._wiring.plain.state_dict().items())


def test_the_published_variant_leaves_its_weights_about_where_they_began(controller):
    said = decisions(controller, read_inputs(session(), prompts().tokens, controller.inputs))
    w = torch.tensor([one.weights for one in said])
    assert float((w - 0.5).abs().mean()) < 0.15


def test_a_stopped_run_goes_on_and_ends_at_the_same_weights(tmp_path):
    whole = train_controller(Run(session(), prompts(), SHORT, tmp_path / "whole"))

    def stop(share, words):
        if share > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_controller(Run(session(), prompts(), SHORT, tmp_path / "cut"), stop, save_every_s=0.0)
    assert (tmp_path / "cut" / CHECKPOINT).is_file()
    again = train_controller(Run(session(), prompts(), SHORT, tmp_path / "cut"))
    assert all(torch.equal(one, weights(again)[name]) for name, one in weights(whole).items())
    assert again.facts["curve"] == whole.facts["curve"]


def test_a_killed_run_goes_on_and_ends_at_the_same_weights(tmp_path):
    """kill -9 in the middle of writing checkpoints; what is left is whole."""
    program = (
        "import sys, time; from pathlib import Path; from steering.controller_training import Run, train_controller; "
        "from tests.steering.planted_controller import session, prompts; "
        "from tests.steering.test_controller_training import SHORT; "
        "train_controller(Run(session(), prompts(), SHORT, Path(sys.argv[1])), "
        "lambda share, words: (print(words, flush=True), time.sleep(0.05)), 0.0)"
    )
    out = tmp_path / "killed"
    child = subprocess.Popen([sys.executable, "-c", program, str(out)], stdout=subprocess.PIPE, text=True)
    for line in child.stdout:
        if line.startswith("step 4 "):
            break
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert 0 < torch.load(out / CHECKPOINT, weights_only=True)["step"] < 9
    again = train_controller(Run(session(), prompts(), SHORT, out))
    whole = train_controller(Run(session(), prompts(), SHORT, tmp_path / "whole"))
    assert all(torch.equal(one, weights(again)[name]) for name, one in weights(whole).items())


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    train_controller(Run(session(), prompts(), SHORT, tmp_path))
    with pytest.raises(UserError, match="is of another run"):
        train_controller(Run(session(), prompts(), replace(SHORT, seed=1), tmp_path))


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    from steering import controller_training

    calls, plain = [], controller_training.paper_loss

    def loss(target, other):
        calls.append(1)
        return plain(target, other) * (math.nan if len(calls) == 5 else 1.0)

    monkeypatch.setattr(controller_training, "paper_loss", loss)
    with pytest.raises(UserError, match="The loss is nan: the training has stopped"):
        train_controller(Run(session(), prompts(), SHORT, tmp_path), save_every_s=0.0)
    kept = torch.load(tmp_path / CHECKPOINT, weights_only=True)
    assert kept["step"] == 4
    assert all(torch.isfinite(one).all() for one in kept["network"].values())


def test_prompts_labelled_both_ways_and_prompts_of_one_kind_are_refused():
    twice = contrast_of("twice", ("a", "b"), [Example("the cat", "a"), Example("the cat", "b")] * 5, False)
    with pytest.raises(UserError, match="'the cat' is labelled 'a' and not"):
        prompts_of(session(), twice, "", False)
    with pytest.raises(UserError, match="at least two labels are needed"):
        contrast_of("one", ("a", "b"), [Example("the cat", "a")] * 3, False)
    few = contrast_of("few", ("a", "b"), [Example(f"the cat {n}", "ab"[n > 0]) for n in range(9)], False)
    with pytest.raises(UserError, match="has 1 labelled 'a' and 8 others"):
        prompts_of(session(), few, "", False)
    with pytest.raises(UserError, match="Choose one of: a, b"):
        prompts_of(session(), few, "c", False)


def test_any_label_may_be_the_target_and_all_others_are_the_rest():
    rows = [Example(f"the cat {n}", "abc"[n % 3]) for n in range(18)]
    found = prompts_of(session(), contrast_of("three", ("a", "b", "c"), rows, False), "b", False)
    assert sum(found.is_target) == 6
    assert found.target == "b"


def test_a_split_holds_out_a_share_of_every_label_and_no_prompt_twice():
    learnt, held_out = split(contrast())
    assert [len(one.examples) for one in (learnt, held_out)] == [34, 14]
    assert not {one.text for one in learnt.examples} & {one.text for one in held_out.examples}
    assert sum(one.label == "up" for one in held_out.examples) == 7
    assert isinstance(learnt, Contrast)
    assert held_out.title == "planted, held out"


def test_of_a_small_set_four_of_each_kind_are_held_out_and_of_a_smaller_one_none():
    learnt, held_out = split(contrast(8))
    assert [sum(one.label == "up" for one in some.examples) for some in (learnt, held_out)] == [4, 4]
    with pytest.raises(UserError, match="at least 8 prompts to act on and 8 others where some of them are held out"):
        split(contrast(7))
    rows = [Example(f"the cat {n}", "ab"[n > 0]) for n in range(80)]
    with pytest.raises(UserError, match="has 1 labelled 'a' and 79 others"):
        split(contrast_of("few", ("a", "b"), rows, False))


def test_no_prompt_falls_into_both_halves_and_none_has_two_labels_in_them():
    rows = [Example(f"the cat {n % 20}", "ab"[n % 2]) for n in range(60)]
    learnt, held_out = split(contrast_of("thrice", ("a", "b"), rows, False))
    assert not {one.text for one in learnt.examples} & {one.text for one in held_out.examples}
    assert len(learnt.examples) + len(held_out.examples) == 20
    with pytest.raises(UserError, match="'the cat 3' is labelled 'a' and not"):
        split(contrast_of("both", ("a", "b"), [*rows, Example("the cat 3", "a")], False))


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match="cannot be a folder"):
        train_controller(Run(session(), prompts(), SHORT, tmp_path / "taken"))


def test_a_training_that_fails_before_its_first_checkpoint_says_so(tmp_path, monkeypatch):
    from steering import controller_training

    monkeypatch.setattr(controller_training, "paper_loss", lambda target, other: target.sum() * math.nan)
    with pytest.raises(UserError, match="it had no good weights to keep yet"):
        train_controller(Run(session(), prompts(), SHORT, tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"variant": "best"}, "Choose one of: paper, fixed, trained"),
        ({"direction": "north"}, "Choose one of: mean_difference, phrases, vectors"),
        ({"hidden": 0}, "hidden must be at least 1; 0 was given"),
        ({"learning_rate": math.nan}, "learning_rate must be above 0; nan was given"),
        ({"batch": 1}, "batch must be at least 2"),
        ({"alpha": math.inf}, "alpha must be above 0"),
        ({"kl_weight": -1.0}, "kl_weight must be at least 0"),
        ({"wanted": ""}, "phrases on both sides"),
        ({"direction": "vectors"}, "No folder of vectors"),
        ({"inputs": "2,9"}, "Layer 9 does not exist"),
        ({"layers": "one"}, "given as 1,2 or 1-3"),
        ({"layers": "2-1"}, "'2-1' names none"),
        ({"direction": "mean_difference"}, "needs contrast pairs"),
        ({"variant": "trained"}, "wanted halves of contrast pairs"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(changes, words, tmp_path):
    with pytest.raises(UserError, match=words):
        train_controller(Run(session(), prompts(), replace(SHORT, **changes), tmp_path))


def test_blocks_are_written_as_a_person_writes_them():
    assert read_layers("", 5) == ()
    assert read_layers("3, 0-1,1", 5) == (0, 1, 3)


def test_a_phrase_direction_is_the_difference_of_mean_unembedding_rows():
    """Section 3.1, written out."""
    rows = session().weight("W_U", 0).T
    ids = [session().tokens(text, bos=False) for text in (" cat", " mat", " moon")]
    up = torch.stack([rows[token] for some in ids[:2] for token in some]).mean(dim=0)
    down = torch.stack([rows[token] for token in ids[2]]).mean(dim=0)
    wanted = (up - down) / (up - down).norm()
    torch.testing.assert_close(phrase_direction(session(), ["cat", "mat"], ["moon"]), wanted)
    with pytest.raises(UserError, match="one side has none"):
        phrase_direction(session(), [], ["moon"])


def test_saved_vectors_give_their_own_blocks_and_one_serves_all(tmp_path):
    pairs = planted_pairs(6)
    for name, layers in (("one", [1]), ("two", [0, 2])):
        fitted = fit_method(methods()["mean_difference"], session(), pairs, layers, {"bos": False})
        write_vectors(fitted, tmp_path / name)
    layers, directions = saved_directions(session(), tmp_path / "two", None)
    assert (layers, directions.norm(dim=1).tolist()) == ((0, 2), pytest.approx([1.0, 1.0]))
    assert saved_directions(session(), tmp_path / "one", (0, 1))[1].shape == (2, 32)
    with pytest.raises(UserError, match="has vectors of layers 0, 2; 1 was asked for"):
        saved_directions(session(), tmp_path / "two", (0, 1))


def test_saved_vectors_of_another_model_are_refused(tmp_path, tiny_session):
    fitted = fit_method(methods()["mean_difference"], tiny_session, planted_pairs(6), [1], {})
    write_vectors(fitted, tmp_path)
    with pytest.raises(UserError, match="were fitted on 'tiny llama'"):
        saved_directions(session(), tmp_path, None)


def test_the_defaults_and_the_papers_values_are_said_where_they_differ():
    assert (ControllerRecipe().n_epochs, ControllerRecipe().clip, ControllerRecipe().loss) == (4, 1.0, "mse")
    assert single_pair("a", "b").is_paired
