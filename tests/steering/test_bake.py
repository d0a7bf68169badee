"""Baking: weights that do what hooks did, on every family that has the place for it; the rest is refused by name."""

import json

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.models import load_session
from capture.session import ModelSession
from steering.bake import bake, plan_of
from steering.bake_layout import LAYOUTS, project_out_of
from steering.baked_folder import write_baked
from steering.methods.add_direction import AddDirection
from steering.methods.project_out import ProjectOut
from steering.methods.replace_direction import ReplaceDirection
from steering.recipe import Step
from steering.schedule import Schedule
from steering.token_scope import TokenScope
from tests.models import FAMILIES, tiny_gpt2, tiny_llama, tiny_tokenizer

TOKENS = (0, 40, 90, 1, 33, 120, 77)
BIASED = ("llama", "gpt2", "gpt_neox", "opt")


def numbers(width, seed):
    return tuple(torch.randn(width, generator=torch.Generator().manual_seed(seed)).tolist())


def add(layer, site, width=32, seed=1):
    return AddDirection(HookPoint(layer, site), numbers(width, seed), 1.5)


def everywhere(vector, n_layers=3, name="without it"):
    points = [HookPoint(layer, site) for layer in range(n_layers) for site in ("resid_pre", "attn_out", "mlp_out")]
    return Step(name, tuple(ProjectOut(at, vector) for at in points))


def baked_logits(family, recipe, tmp_path, **options):
    """Logits of plain transformers on the folder of a baked model."""
    from transformers import AutoModelForCausalLM

    bake(FAMILIES[family](), plan_of(recipe, 3, **options)).save_pretrained(tmp_path)
    model, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    with torch.no_grad():
        return model.eval()(torch.tensor([TOKENS])).logits[0]


def session_of(family):
    return ModelSession(FAMILIES[family](), tiny_tokenizer(), name=family)


@pytest.mark.parametrize("family", BIASED)
def test_additions_at_every_site_are_in_the_biases(family, tmp_path):
    session = session_of(family)
    width = session.shape.d_mlp
    recipe = [add(1, "resid_post"), add(1, "resid_pre", seed=2), add(2, "attn_out", seed=3), add(0, "mlp_out", seed=4)]
    recipe += [add(1, "z", seed=5), add(2, "mlp_post", width, seed=6)]
    hooked = session.logits(TOKENS, recipe)
    assert (hooked - session.logits(TOKENS)).abs().max() > 1
    torch.testing.assert_close(baked_logits(family, recipe, tmp_path), hooked, atol=5e-4, rtol=0)


@pytest.mark.parametrize("family", BIASED)
def test_an_addition_to_the_input_of_the_first_block_is_in_an_embedding(family, tmp_path):
    recipe = [add(0, "resid_pre")]
    hooked = session_of(family).logits(TOKENS, recipe)
    torch.testing.assert_close(baked_logits(family, recipe, tmp_path), hooked, atol=5e-4, rtol=0)


@pytest.mark.parametrize("family", LAYOUTS)
def test_fact_8_a_weight_edit_is_the_ablation_at_all_sites(family, tmp_path):
    recipe, session = [everywhere(numbers(32, 7))], session_of(family)
    hooked = session.logits(TOKENS, recipe)
    assert (hooked - session.logits(TOKENS)).abs().max() > 0.05
    torch.testing.assert_close(baked_logits(family, recipe, tmp_path), hooked, atol=5e-4, rtol=0)


@pytest.mark.parametrize("left", ["transformer.wpe", "bias"])
def test_fact_8_fails_where_position_embeddings_or_output_biases_are_left(left, tmp_path, monkeypatch):
    recipe, session = [everywhere(numbers(32, 7))], session_of("gpt2")
    if left == "bias":
        monkeypatch.setattr("steering.bake.project_out_of", _without_bias)
    else:
        monkeypatch.setattr("steering.bake.project_rows", lambda table, _: None)
    error = (baked_logits("gpt2", recipe, tmp_path) - session.logits(TOKENS, recipe)).abs().max()
    assert error > 0.01


def _without_bias(projection, direction):
    kept = projection.bias.detach().clone()
    project_out_of(projection, direction)
    with torch.no_grad():
        projection.bias.copy_(kept)


def test_fact_8_a_random_matrix_loses_the_direction_to_rounding():
    projection = torch.nn.Linear(3, 4, dtype=torch.float64)
    r = torch.nn.functional.normalize(
        torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)), dim=0
    )
    x = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    out = projection(x)
    project_out_of(projection, r)
    assert (projection(x) - (out - torch.outer(out @ r, r))).abs().max() < 1e-15


def test_a_tied_unembedding_keeps_its_rows(tmp_path):
    tied = tiny_gpt2()
    before = tied.lm_head.weight.detach().clone()
    assert tied.lm_head.weight is tied.transformer.wte.weight
    baked = bake(tied, plan_of([everywhere(numbers(32, 7))], 3))
    assert torch.equal(baked.lm_head.weight, before)
    assert not torch.equal(baked.transformer.wte.weight, before)


def test_a_llama_gets_biases_of_which_only_one_is_not_zero(tmp_path):
    baked = bake(tiny_llama(), plan_of([add(1, "resid_post")], 3))
    biases = {name: one for name, one in baked.named_parameters() if name.endswith("bias")}
    assert {name for name, one in biases.items() if one.any()} == {"model.layers.1.mlp.down_proj.bias"}
    assert (baked.config.mlp_bias, baked.config.attention_bias) == (True, False)


def step(**fields):
    return Step("happy", (add(1, "resid_post"),), **fields)


R = numbers(32, 7)
REFUSED = {
    "'happy' cannot be baked as it is: weights act at every token, and its scope is skip special": step(
        scope=TokenScope("skip_special")
    ),
    "'happy' cannot be baked: it follows a ramp over the generated tokens": step(schedule=Schedule("ramp")),
    "it is of kind replace direction": ReplaceDirection(HookPoint(1, "resid_post"), R, 1.0),
    "it is of kind project out at strength 0.5": ProjectOut(HookPoint(1, "resid_post"), R, 0.5),
    "it is left at blocks.0.hook_attn_out": ProjectOut(HookPoint(1, "resid_post"), R),
    "it acts at some positions": AddDirection(HookPoint(1, "resid_post"), R, ranges=((1, None),)),
    "has no bias": None,
}


@pytest.mark.parametrize("sentence", REFUSED)
def test_what_cannot_be_baked_is_refused_by_name(sentence):
    if REFUSED[sentence] is None:
        with pytest.raises(UserError, match="type mistral has no bias behind its MLP"):
            bake(FAMILIES["mistral"](), plan_of([step()], 3))
        return
    with pytest.raises(UserError, match=sentence.replace(".", r"\.")) as refused:
        plan_of([REFUSED[sentence]], 3)
    assert refused.value.hint


def test_a_vector_along_a_direction_that_is_taken_out_is_refused_and_one_across_is_baked(tmp_path):
    with pytest.raises(UserError, match="'happy' lies partly along a direction that is taken out"):
        plan_of([step(), everywhere(R)], 3)
    r, v = torch.tensor(R), torch.tensor(numbers(32, 1))
    across = AddDirection(HookPoint(1, "resid_post"), tuple((v - (v @ r) / (r @ r) * r).tolist()))
    recipe = [across, everywhere(R)]
    hooked = session_of("llama").logits(TOKENS, recipe)
    torch.testing.assert_close(baked_logits("llama", recipe, tmp_path), hooked, atol=5e-4, rtol=0)


def test_every_token_opens_the_scopes(tmp_path):
    recipe = [step(scope=TokenScope("skip_special"))]
    hooked = session_of("llama").logits(TOKENS, [step()])
    torch.testing.assert_close(baked_logits("llama", recipe, tmp_path, every_token=True), hooked, atol=5e-4, rtol=0)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(LAYOUTS)))
def test_families_with_later_norms_or_experts_are_refused(family):
    with pytest.raises(UserError, match=f"this one is {family}"):
        bake(FAMILIES[family](), plan_of([step()], 3))


def test_the_folder_of_the_bundled_model_opens_here_and_gives_the_hooks_logits(tmp_path):
    session = load_session("stories")
    recipe = [Step("happy", (add(2, "resid_post", 192),), 2.0)]
    worst = write_baked("stories", session, recipe, tmp_path / "baked", False, "Once upon a time")
    assert worst < 1e-3
    again, tokens = load_session(str(tmp_path / "baked")), session.tokens("The bear sat.", bos=True)
    assert again.faithfulness.status == "ok"
    torch.testing.assert_close(again.logits(tokens), session.logits(tokens, recipe), atol=1e-3, rtol=0)
    assert json.loads((tmp_path / "baked" / "recipe.json").read_text())["model"] == "stories"
    assert "Biases were added by its config (mlp_bias)." in (tmp_path / "baked" / "README.md").read_text()
    with pytest.raises(UserError, match="is not empty"):
        write_baked("stories", session, recipe, tmp_path / "baked", False, "Once upon a time")


def test_a_folder_that_differs_from_the_hooks_is_not_kept(tmp_path, monkeypatch):
    session = load_session("stories")
    monkeypatch.setattr("steering.baked_folder.difference", lambda *_: (1.0, 10.0))
    with pytest.raises(UserError, match="differ from the hooks by 1 of 10"):
        write_baked("stories", session, [Step("a", (add(2, "resid_post", 192),))], tmp_path / "baked", False, "A bear")
    assert not (tmp_path / "baked").exists()
