"""The script of a bundle: plain transformers, none of ours, and the logits and tokens that we get."""

import json
import subprocess
import sys

import pytest
import torch

from capture.hook_point import HookPoint
from capture.intervention import AddVector
from capture.session import ModelSession
from steering import apply_steering
from steering.folding import fold
from steering.methods.add_direction import AddDirection
from steering.methods.clamp_direction import ClampDirection
from steering.methods.edit_latent import EditLatent
from steering.methods.loreft import AffineLowRank
from steering.methods.project_out import ProjectOut
from steering.methods.replace_direction import ReplaceDirection
from steering.recipe import Step
from steering.schedule import Schedule
from steering.script_steps import SITES, script_of
from steering.token_scope import SCOPES, TokenScope
from tests.models import FAMILIES, tiny_llama, tiny_tokenizer
from tests.steering.operator_examples import STEERING_EXAMPLES
from tests.test_architecture import imports_of

TOKENS = (0, 40, 90, 1, 33, 120, 77)
N_NEW = 5


def session_of(family):
    return ModelSession(FAMILIES[family](), tiny_tokenizer(), name=family)


def vector(width=32, seed=1):
    return tuple((2 * torch.randn(width, generator=torch.Generator().manual_seed(seed))).tolist())


def put(interventions, session, folder):
    script = script_of(interventions, session)
    for name, data in script.files.items():
        (folder / name).write_bytes(data)
    return script.refused


def plain_logits(family, folder, tokens=TOKENS):
    ids = torch.tensor([tokens])
    model = FAMILIES[family]()
    with torch.no_grad(), apply_steering.steering(model, ids, folder):
        return model(ids).logits[0]


def width_of(session, at):
    return session.capture(TOKENS, [at])[at].flatten(1).shape[1]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_addition_at_any_site_gives_our_logits_on_every_family(family, tmp_path):
    session = session_of(family)
    for site in SITES:
        at = HookPoint(1, site)
        added = Step("a", (AddDirection(at, vector(width_of(session, at))),), 1.5, scope=TokenScope("skip_special"))
        if put([added], session, tmp_path):
            continue
        ours = session.logits(TOKENS, [added])
        assert (ours - session.logits(TOKENS)).abs().max() > 0.01
        torch.testing.assert_close(plain_logits(family, tmp_path), ours, atol=2e-4, rtol=0)


SCHEDULES = {"window": Schedule("window", 1, 3), "ramp": Schedule("ramp", low=0.0, high=2.0, n_tokens=3)}
PLACED = [(scope, Schedule()) for scope in SCOPES] + [("all", one) for one in SCHEDULES.values()]


@pytest.mark.parametrize(("scope", "schedule"), [*PLACED, ("last_prompt_and_generated", SCHEDULES["ramp"])], ids=str)
def test_every_scope_and_schedule_gives_our_tokens_with_a_cache(scope, schedule, tmp_path):
    session, at = session_of("llama"), HookPoint(1, "resid_post")
    step = Step(
        "a", (AddDirection(at, vector()),), 4.0, scope=TokenScope(scope, ((1, 3), (5, None))), schedule=schedule
    )
    assert put([step], session, tmp_path) == ()
    ours = session.generate(TOKENS, N_NEW, temperature=0, interventions=[step])
    model, ids = tiny_llama(), torch.tensor([TOKENS])
    with torch.no_grad(), apply_steering.steering(model, ids, tmp_path):
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=N_NEW, do_sample=False)
    assert tuple(out[0, len(TOKENS) :].tolist()) == ours


@pytest.mark.parametrize("operator", [ProjectOut, ReplaceDirection, ClampDirection, AddVector])
def test_every_operator_gives_our_logits(operator, tmp_path):
    session, at = session_of("llama"), HookPoint(2, "resid_pre")
    own = {"value": 3.0} if operator in (ReplaceDirection, ClampDirection) else {}
    change = operator(at, vector(), strength=0.7, **own)
    assert put([change], session, tmp_path) == ()
    torch.testing.assert_close(plain_logits("llama", tmp_path), session.logits(TOKENS, [change]), atol=1e-4, rtol=0)


def test_a_low_rank_edit_at_the_ends_of_a_prompt_gives_our_logits(tmp_path):
    session, (change, *_) = session_of("llama"), STEERING_EXAMPLES[AffineLowRank]
    step = Step("edit", (change,), 0.7, scope=TokenScope("prompt_ends", n_ends=2))
    assert put([step], session, tmp_path) == ()
    torch.testing.assert_close(plain_logits("llama", tmp_path), session.logits(TOKENS, [step]), atol=1e-4, rtol=0)
    assert (session.logits(TOKENS, [step]) - session.logits(TOKENS)).abs().max() > 0.01


def latent(mode="add"):
    """A latent of the bundled SAE, in the bundled model."""
    from sae.shelf import find_shelved

    one = find_shelved("stories-block-2")
    return EditLatent(HookPoint(2, "resid_post"), one.digest, 812, mode, 6.0)


def test_a_latent_that_is_added_is_a_vector_and_one_that_is_clamped_is_not(tmp_path):
    from capture.models import load_plain, load_session

    session = load_session("stories")
    recipe = [Step("latent 812", (latent(),), 2.0, scope=TokenScope("all"))]
    assert put(recipe, session, tmp_path) == ()
    (addition,) = fold(recipe).additions
    torch.testing.assert_close(addition.vector, 12 * latent().direction)
    assert addition.caveat.startswith("'latent 812' leaves the first token out")
    model, ids = load_plain("stories")[0], torch.tensor([TOKENS])
    with torch.no_grad(), apply_steering.steering(model, ids, tmp_path):
        torch.testing.assert_close(model(ids).logits[0], session.logits(TOKENS, recipe), atol=1e-3, rtol=0)
    assert fold([latent("clamp")]).additions == ()
    assert "is of kind edit latent" in put([latent("clamp")], session, tmp_path)[0]


def test_steps_at_one_place_act_in_their_order(tmp_path):
    session, at = session_of("llama"), HookPoint(1, "resid_post")
    steps = [ProjectOut(at, vector(seed=1)), AddDirection(at, vector(seed=1))]
    put(steps, session, tmp_path)
    torch.testing.assert_close(plain_logits("llama", tmp_path), session.logits(TOKENS, steps), atol=1e-4, rtol=0)
    put(steps[::-1], session, tmp_path)
    assert (plain_logits("llama", tmp_path) - session.logits(TOKENS, steps)).abs().max() > 0.1


def test_the_hooks_come_off_and_a_padded_prompt_is_refused(tmp_path):
    session = session_of("llama")
    put([AddDirection(HookPoint(1, "resid_post"), vector())], session, tmp_path)
    model, ids = tiny_llama(), torch.tensor([TOKENS])
    with pytest.raises(ValueError, match="must not be padded"), apply_steering.steering(model, ids, tmp_path):
        model(ids, attention_mask=torch.tensor([[0, 1, 1, 1, 1, 1, 1]]))
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits[0], session.logits(TOKENS), atol=1e-4, rtol=0)


def test_the_script_runs_alone_in_a_folder_and_imports_nothing_of_ours(tmp_path):
    half, text = tiny_llama().bfloat16(), "Once upon a time"
    half.save_pretrained(tmp_path / "model")
    # The folder is in half precision, and the steps were made in full.
    session = ModelSession(half.float(), tiny_tokenizer(), name="llama")
    step = Step("a", (AddDirection(HookPoint(1, "resid_post"), vector()),), scope=TokenScope("skip_special"))
    put([step], session, tmp_path)
    source = (apply_steering.HERE / "apply_steering.py").read_text()
    (tmp_path / "apply_steering.py").write_text(source)
    tiny_tokenizer().save_pretrained(tmp_path / "model")
    command = [sys.executable, "-W", "ignore", "apply_steering.py", "model", text, str(N_NEW)]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    tokens = session.tokens(text, bos=True)
    new = session.generate(tokens, N_NEW, temperature=0, interventions=[step])
    assert said == tiny_tokenizer().decode([*tokens, *new], skip_special_tokens=True) + "\n"
    imported = {one.top for one in imports_of(apply_steering.HERE / "apply_steering.py")}
    assert imported - set(sys.stdlib_module_names) == {"torch", "safetensors", "transformers"}


def test_what_the_script_cannot_do_is_named(tmp_path):
    at = HookPoint(None, "embed")
    assert put([AddDirection(at, vector())], session_of("llama"), tmp_path) == (
        "Entry 1 (add direction) acts at hook_embed, which plain transformers does not show: it is left out.",
    )
    assert json.loads((tmp_path / "steps.json").read_text())["steps"] == []
