"""Facts 3.5 (6) of the controller of Guiding Giants, and what it does behind a prompt and nowhere else."""

import json
from dataclasses import replace

import pytest
import torch

from capture.errors import UserError
from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint
from capture.intervention import BindsToPrompt, Intervention, operator_from_recipe
from steering.controller import Decision, acting, decide, decisions, forward, layer_weights, patches
from steering.controller_folder import KIND, read_controller, write_controller
from steering.controller_inputs import read_inputs
from steering.controller_loss import cross_entropy_loss, paper_loss
from steering.controller_recipe import input_layers
from steering.methods.controller import SteerByController, change_by
from steering.shelf import own_folder, put_on_shelf
from tests.steering.planted_controller import made, prompts, session

PROMPT = (9, 8, 7, 30, 40)
TOKENS = (*PROMPT, 11, 12)


def shelve(controller, name):
    folder = own_folder(KIND) / f"making-{name}"
    write_controller(controller, folder)
    return put_on_shelf(KIND, folder, name).digest


def length(patch):
    """How long what it adds is."""
    return float(patch(torch.zeros(1, 1, 32), patch.at, 4).norm())


@pytest.fixture(scope="module")
def change():
    return change_by(shelve(made(), "laws"), made())


@pytest.mark.parametrize(("n_layers", "first"), [(32, 22), (24, 16), (16, 11), (12, 8), (6, 4), (5, 4), (1, 0)])
def test_the_last_third_of_the_blocks_is_read(n_layers, first):
    """Section 3.1: 32 blocks give 22 to 31."""
    assert input_layers(n_layers) == tuple(range(first, n_layers))


def test_the_length_of_a_patch_is_s_times_w_times_alpha():
    """Fact 3.5 (6): s = .9, w = .5, alpha = 2 give .9; it is linear in alpha, and none for s = 0 or alpha = 0."""
    controller = made()
    said = Decision(0.9, 0.9, 0.9, (0.5, 0.25, 1.0))
    lengths = [length(one) for one in patches(controller, said, 4, 2.0, "absolute")]
    assert lengths == pytest.approx([0.9, 0.45, 1.8], rel=1e-6)
    doubled = [length(one) for one in patches(controller, said, 4, 4.0, "absolute")]
    assert doubled == pytest.approx([2 * one for one in lengths], rel=1e-6)
    assert patches(controller, replace(said, s=0.0), 4, 2.0, "absolute") == ()
    assert patches(controller, said, 4, 0.0, "absolute") == ()


def test_a_relative_strength_counts_in_mean_norms_of_each_block():
    controller, said = made(), Decision(1.0, 1.0, 1.0, (0.5, 0.5, 0.5))
    lengths = [length(one) for one in patches(controller, said, 4, 0.2, "relative")]
    assert lengths == pytest.approx((0.1 * controller.mean_norms).tolist(), rel=1e-5)


def test_zero_logits_and_the_fixed_variant_weigh_one_half():
    """Fact 3.5 (6): sigmoid(0) = .5."""
    logits = torch.tensor([[0.0, 3.0]])
    assert layer_weights(logits, "paper").tolist()[0][0] == 0.5
    assert layer_weights(logits, "fixed").tolist() == [[0.5, 0.5]]


def test_the_papers_loss_of_two_prompts():
    """Fact 3.5 (6): s_h = .8, s_b = .1 give .025."""
    assert float(paper_loss(torch.tensor([0.8]), torch.tensor([0.1]))) == pytest.approx(0.025)
    perfect = cross_entropy_loss(torch.tensor([30.0]), torch.tensor([-30.0]))
    assert float(perfect) == pytest.approx(0.0, abs=1e-9)


def test_the_papers_loss_gives_the_layer_weights_no_gradient():
    """Fact 3.5 (6): exactly zero for the w columns of W_2."""
    network = {name: one.clone().requires_grad_() for name, one in made().network.items()}
    raw, _ = forward(network, torch.randn(6, 32, generator=torch.Generator().manual_seed(0)))
    paper_loss(raw[:3], raw[3:]).backward()
    assert not network["W_2"].grad[:, 1:].any()
    assert network["W_2"].grad[:, 0].any()
    assert not network["b_2"].grad[1:].any()


def test_the_order_of_prompts_in_a_batch_does_not_matter():
    """Fact 3.5 (6)."""
    rows = prompts().tokens
    x = read_inputs(session(), rows, made().inputs)
    turned = read_inputs(session(), rows[::-1], made().inputs).flip(0)
    torch.testing.assert_close(turned, x, atol=1e-5, rtol=0)
    said = decisions(made(), x)
    assert [one.raw for one in decisions(made(), x.flip(0))][::-1] == pytest.approx([one.raw for one in said], abs=1e-6)


def test_a_prompt_is_read_at_its_true_last_token_among_longer_ones():
    rows = [PROMPT, PROMPT * 3, (5,)]
    x = read_inputs(session(), rows, made().inputs)
    for n, row in enumerate(rows):
        alone = session().capture(row, made().inputs)[made().inputs[0]][-1]
        torch.testing.assert_close(x[n], alone, atol=1e-5, rtol=0)
    assert decide(made(), session(), PROMPT).raw == pytest.approx(decisions(made(), x)[0].raw, abs=1e-5)


def test_what_acts_is_raw_or_cut_or_squashed():
    raw = torch.tensor([-1.0, 0.0, 0.5, 2.0])
    assert acting(raw, "raw").tolist() == [-1.0, 0.0, 0.5, 2.0]
    assert acting(raw, "clamp").tolist() == [0.0, 0.0, 0.5, 1.0]
    assert acting(raw, "sigmoid").tolist() == pytest.approx([0.2689, 0.5, 0.6225, 0.8808], abs=1e-4)
    with pytest.raises(UserError, match="Choose one of: raw, clamp, sigmoid"):
        acting(raw, "softmax")


def test_it_meets_the_protocol_and_its_recipe_makes_it_again(change):
    assert isinstance(change, Intervention)
    assert isinstance(change, BindsToPrompt)
    again = operator_from_recipe(json.loads(json.dumps(change.recipe())))
    assert again == change
    assert again.bound_to(session(), PROMPT) == change.bound_to(session(), PROMPT)


def test_it_adds_what_the_equations_say_behind_the_prompt_and_nothing_within(change):
    """Fact 3.5 (2), with section 3.1 written out."""
    controller, at = made(), HookPoint(0, "resid_post")
    x = session().capture(PROMPT, controller.inputs)[controller.inputs[0]][-1]
    net = controller.network
    u = torch.relu((x - net["mean"]) / net["std"] @ net["W_1"] + net["b_1"])
    s, w = (u @ net["W_2"] + net["b_2"])[0], torch.sigmoid((u @ net["W_2"] + net["b_2"])[1:])
    clean, steered = (
        session().capture(TOKENS, [at], changes)[at] for changes in ((), change.bound_to(session(), PROMPT))
    )
    assert torch.equal(steered[:5], clean[:5])
    wanted = s * w[0] * 2.0 * controller.directions[0]
    torch.testing.assert_close(steered[5:] - clean[5:], wanted.expand(2, -1), atol=1e-5, rtol=0)


def test_a_text_on_a_page_is_all_prompt_and_stays_as_it_is(change):
    assert torch.equal(session().logits(TOKENS, [change]), session().logits(TOKENS))


def test_strength_zero_changes_no_token_and_needs_no_shelf(change):
    silent = replace(change, strength=0.0, controller="0" * 32)
    assert silent.bound_to(session(), PROMPT) == ()
    assert session().generate(PROMPT, 8, interventions=[silent]) == session().generate(PROMPT, 8)


def test_greedy_tokens_agree_with_and_without_the_cache_and_differ_from_clean_ones(change):
    """Fact 3.5 (4)."""
    strong = replace(change, strength=60.0)
    cached, uncached = (
        session().generate(PROMPT, 12, temperature=0, interventions=[strong], use_cache=use) for use in (True, False)
    )
    assert cached == uncached
    assert cached != session().generate(PROMPT, 12, temperature=0)


def test_unbound_it_refuses_to_act(change):
    with pytest.raises(ValueError, match="bound to a prompt"):
        change(torch.zeros(1, 2, 32), HookPoint(0, "resid_post"), 0)


def test_a_muted_controller_is_silent(change):
    muted = replace(change, is_muted=True, strength=60.0)
    assert session().generate(PROMPT, 8, interventions=[muted]) == session().generate(PROMPT, 8)


def test_two_peoples_controllers_in_one_batch_do_not_mix(change):
    """Each row is bound to its own prompt and controller; side by side they write what they write alone."""
    other = change_by(shelve(made(seed=9), "other"), made(seed=9))
    cases = [(PROMPT, replace(change, strength=40.0)), (PROMPT[:3], replace(other, strength=40.0)), (PROMPT, None)]
    rows = [GenerationRow(prompt, () if one is None else (one,), seed=5) for prompt, one in cases]
    together = session().generate_rows(rows, 10, Sampling())
    alone = [session().generate_rows([row], 10, Sampling())[0] for row in rows]
    assert list(together) == alone
    assert together[0] != together[2]


def test_after_an_exception_no_hook_is_left(change):
    clean = session().logits(TOKENS)

    def stop(token):
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError, match="planted"):
        session().generate(PROMPT, 4, interventions=[replace(change, strength=60.0)], on_token=stop)
    assert torch.equal(session().logits(TOKENS), clean)


def test_a_controller_of_another_model_is_refused(change, tiny_session):
    with pytest.raises(UserError, match="trained on 'planted behaviour' with other weights than 'tiny llama'"):
        tiny_session.generate(PROMPT, 2, interventions=[change])


def test_a_recipe_that_speaks_of_other_layers_than_its_controller_is_refused(change):
    with pytest.raises(UserError, match="patches blocks 0, 1; it patches 0, 1, 2"):
        replace(change, layers=(0, 1)).bound_to(session(), PROMPT)


def test_a_controller_that_nobody_has_here_is_refused():
    with pytest.raises(UserError, match="None of the controllers on the shelf"):
        SteerByController("f" * 32, (0,)).bound_to(session(), PROMPT)


@pytest.mark.parametrize(
    "broken",
    [{"controller": 3}, {"unit": "miles"}, {"output": "tanh"}, {"layers": [0.5]}, {"layers": 3}, {"strength": "much"}],
)
def test_a_recipe_that_cannot_be_read_is_refused(change, broken):
    with pytest.raises(UserError, match="controller recipe cannot be read"):
        operator_from_recipe(change.recipe() | broken)


def test_a_folder_gives_back_the_controller_that_was_written(tmp_path):
    write_controller(made("trained", "clamp"), tmp_path, {"auroc": 0.5})
    again = read_controller(tmp_path)
    assert (again.inputs, again.layers, again.facts) == (made().inputs, (0, 1, 2), made("trained", "clamp").facts)
    assert decide(again, session(), PROMPT) == decide(made("trained", "clamp"), session(), PROMPT)
    assert {path.name for path in tmp_path.iterdir()} == {"controller.safetensors", "manifest.json"}


def test_damaged_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        read_controller(tmp_path)
    write_controller(made(), tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for changed, words in (
        ({"kind": "hypernetwork"}, "is no controller of version 1"),
        ({"layers": [0, 1]}, "cannot be read"),
        ({"inputs": ["nowhere"]}, "No hook point is called"),
        ({"facts": manifest["facts"] | {"output": "tanh"}}, "output is 'tanh'"),
        ({"checksums": {}}, "is not the file"),
    ):
        (tmp_path / "manifest.json").write_text(json.dumps(manifest | changed))
        with pytest.raises(UserError, match=words):
            read_controller(tmp_path)
