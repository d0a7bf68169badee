"""Laws that hold for every elementary intervention; a new one needs an example here, and is covered at once."""

import json
from dataclasses import replace
from functools import cache

import pytest
import torch

from capture.errors import UserError
from capture.hook_point import HookPoint, residual_points
from capture.intervention import (
    OPERATORS,
    AddVector,
    BindsToModel,
    BindsToPrompt,
    Entry,
    Intervention,
    ReadsTokens,
    ReadsWeights,
    ReplaceEntries,
    operator_from_recipe,
    operators,
)
from capture.mask import KeepLargest, MaskBelow, MaskWeakNeurons
from capture.session import ModelSession
from steering.methods.edit_latent import EditLatent
from steering.methods.logit_shift import LOGITS, LogitShift
from tests.companions import tiny_companions
from tests.models import tiny_llama, tiny_tokenizer
from tests.shelves import random_sae, shelve
from tests.steering.operator_examples import STEERING_EXAMPLES

AT = HookPoint(1, "resid_post")
GATE, NEURONS = HookPoint(1, "mlp_pre"), HookPoint(1, "mlp_post")
WIDTHS = {AT: 32, GATE: 48, NEURONS: 48, LOGITS: 320}
NORMS = torch.linspace(0, 2, 48)
TOKENS = (0, 9, 8, 7, 30, 40)
SAE = random_sae(32)


def activation(at, dtype=torch.float32):
    return torch.randn(2, 6, WIDTHS[at], generator=torch.Generator().manual_seed(0)).to(dtype)


FIRES = int(SAE.encode(activation(AT)[0]).indices[0, 0])
"""A latent that fires on what the laws change."""
EXAMPLES = {
    AddVector: (
        AddVector(AT, tuple(0.1 * index - 1.5 for index in range(32)), 1.7),
        AddVector(AT, tuple(float(index % 5) for index in range(32)), -0.3, from_pos=4),
    ),
    ReplaceEntries: (
        ReplaceEntries(AT, (Entry(None, 3, 2.5), Entry(4, 7, 0.0), Entry(9, 8, -1.0))),
        ReplaceEntries(AT, (Entry(0, 31, 100.0),), strength=0.25),
    ),
    EditLatent: (
        EditLatent(AT, SAE.digest, 7, "add", 2.5),
        EditLatent(AT, SAE.digest, 7, "clamp", 1.5, strength=0.7, from_pos=0),
        EditLatent(AT, SAE.digest, 0, "clamp", 9.0, from_pos=3),
        EditLatent(AT, SAE.digest, 0, "clamp", 9.0, from_pos=1, ranges=((0, 2), (4, None))),
        EditLatent(AT, SAE.digest, FIRES, "ablate", strength=-1.3, from_pos=0),
    ),
    MaskBelow: (MaskBelow(AT, 0.6), MaskBelow(GATE, 0.3, "silu"), MaskBelow(NEURONS, 0.5, strength=0.5)),
    KeepLargest: (KeepLargest(AT, 5), KeepLargest(GATE, 20, "silu"), KeepLargest(NEURONS, 0, strength=0.5)),
    MaskWeakNeurons: (MaskWeakNeurons(NEURONS, 0.7), MaskWeakNeurons(NEURONS, 1.1, strength=0.5)),
    LogitShift: (LogitShift("tuned", "untuned", 0.8), LogitShift("tuned", "untuned", -0.5, ranges=((2, None),))),
    **STEERING_EXAMPLES,
}
every_example = pytest.mark.parametrize(
    "change", [example for operator in operators() for example in EXAMPLES[operator]], ids=lambda change: change.kind
)
every_dtype = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])


@pytest.fixture(autouse=True, scope="module")
def _shelf():
    shelve(SAE, "laws")
    with tiny_companions():
        yield


@cache
def model():
    """What changes are bound to that must fit a model."""
    return ModelSession(tiny_llama(), tiny_tokenizer(), name="tiny")


def place(change):
    (at,) = change.hook_points()
    return at


def act(change, x, first_pos=0, weight=lambda kind, layer: NORMS):
    """The change made to a tensor, bound to a prompt and with the weights that a run would give it."""
    for one in change.placed(TOKENS) if isinstance(change, BindsToPrompt) else (change,):
        fitting = one.for_model(model()) if isinstance(one, BindsToModel) else one
        told = fitting.with_tokens(TOKENS) if isinstance(fitting, ReadsTokens) else fitting
        ready = told.with_weights(weight) if isinstance(told, ReadsWeights) else told
        x = ready(x, place(change), first_pos)
    return x


def test_every_operator_has_examples():
    assert set(EXAMPLES) == set(operators())


@every_example
def test_it_meets_the_protocol(change):
    assert isinstance(change, Intervention)
    assert place(change) in WIDTHS


@every_example
@every_dtype
def test_strength_zero_returns_the_input_bit_for_bit(change, dtype):
    x = activation(place(change), dtype)
    assert torch.equal(act(replace(change, strength=0.0), x), x)


@every_example
@every_dtype
def test_shape_dtype_and_device_are_kept_and_something_changes(change, dtype):
    x = activation(place(change), dtype)
    changed = act(change, x)
    assert (changed.shape, changed.dtype, changed.device) == (x.shape, x.dtype, x.device)
    assert not torch.equal(changed, x)


@every_example
def test_the_input_is_not_written_to(change):
    x = activation(place(change))
    before = x.clone()
    act(change, x)
    assert torch.equal(x, before)


@every_example
def test_its_recipe_through_json_acts_the_same(change):
    again = operator_from_recipe(json.loads(json.dumps(change.recipe())))
    assert again == change
    x = activation(place(change))
    assert torch.equal(act(again, x, 2), act(change, x, 2))


@every_example
@pytest.mark.parametrize("split", [1, 3, 4, 5])
def test_a_run_cut_into_steps_is_changed_as_a_whole_one(change, split):
    """Under a key/value cache a hook sees a few positions at a time; a product rounds by how many there are."""
    x = activation(place(change))
    parts = [act(change, x[:, :split]), act(change, x[:, split:], split)]
    rounding = 0 if type(change) in OPERATORS else 4e-6
    torch.testing.assert_close(torch.cat(parts, dim=1), act(change, x), atol=rounding, rtol=0)


@every_example
def test_greedy_tokens_agree_with_and_without_the_cache(change, tiny_session):
    cached, uncached = (
        tiny_session.generate(TOKENS, 12, temperature=0, interventions=[change], use_cache=use) for use in (True, False)
    )
    assert cached == uncached


@every_example
def test_strength_zero_leaves_the_models_logits_as_they_were(change, tiny_session):
    changed = tiny_session.logits(TOKENS, [replace(change, strength=0.0)])
    assert torch.equal(changed, tiny_session.logits(TOKENS))


@every_example
def test_it_acts_on_the_model_as_on_a_tensor(change, tiny_session):
    at = place(change)
    clean = tiny_session.capture(TOKENS, [at])[at]
    changed = act(change, clean[None], weight=tiny_session.weight)[0]
    assert torch.equal(tiny_session.capture(TOKENS, [at], [change])[at], changed)
    assert not torch.equal(changed, clean)


@every_example
@pytest.mark.parametrize("run", ["logits", "capture", "generate", "stream"])
def test_after_an_exception_no_hook_is_left(change, run, tiny_session):
    clean = tiny_session.logits(TOKENS)
    runs = {
        "logits": lambda: tiny_session.logits(TOKENS, [change, Failing()]),
        "capture": lambda: tiny_session.capture(TOKENS, residual_points(3), [change, Failing()]),
        "generate": lambda: tiny_session.generate(TOKENS, 4, interventions=[change, Failing()]),
        "stream": lambda: tiny_session.stream([TOKENS], residual_points(3), lambda *_: None, [change, Failing()]),
    }
    with pytest.raises(RuntimeError, match="planted"):
        runs[run]()
    assert torch.equal(tiny_session.logits(TOKENS), clean)
    assert not any(hook.has_hooks() for hook in tiny_session._wiring.bridge.hook_dict.values())


class Failing:
    """Raises in the middle of the forward pass."""

    def hook_points(self):
        return (HookPoint(2, "mlp_out"),)

    def __call__(self, activation, at, first_pos):
        raise RuntimeError("planted")

    def recipe(self):
        return {"kind": "failing"}


def test_one_that_changes_the_shape_is_a_programmers_mistake(tiny_session):
    class Cut(Failing):
        def __call__(self, activation, at, first_pos):
            return activation[:, :-1]

    with pytest.raises(ValueError, match="failing changed shape"):
        tiny_session.logits(TOKENS, [Cut()])


def test_a_vector_of_the_wrong_width_is_refused(tiny_session):
    with pytest.raises(UserError, match="must have 32 entries; it has 3"):
        tiny_session.logits(TOKENS, [AddVector(AT, (1.0, 2.0, 3.0))])


def test_a_mask_of_weak_neurons_away_from_them_is_refused(tiny_session):
    with pytest.raises(UserError, match="masked at mlp_post"):
        tiny_session.logits(TOKENS, [MaskWeakNeurons(AT, 1.0)])


def test_a_mask_through_an_activation_function_makes_neurons_of_exactly_zero(tiny_session):
    score = torch.nn.functional.silu(tiny_session.capture(TOKENS, [GATE])[GATE]).abs()
    neurons = tiny_session.capture(TOKENS, [NEURONS], [MaskBelow(GATE, 0.3, "silu")])[NEURONS]
    assert torch.equal(neurons == 0, score < 0.3)


WHOLE, MASK = AddVector(AT, (1.0,)).recipe(), MaskBelow(AT, 1.0).recipe()


@pytest.mark.parametrize(
    "recipe",
    [
        {},
        {"kind": "no such kind"},
        {"kind": ["add_vector"]},
        {"kind": "add_vector"},
        {"kind": "replace_entries", "at": 3},
        WHOLE | {"vector": [[1.0]]},
        WHOLE | {"vector": [True]},
        WHOLE | {"strength": 1e39},
        WHOLE | {"strength": float("nan")},
        WHOLE | {"from_pos": 0.5},
        WHOLE | {"from_pos": -1},
        WHOLE | {"from_pos": 10**400},
        MASK | {"through": "tanh"},
        MASK | {"threshold": float("nan")},
        KeepLargest(AT, 3).recipe() | {"k": -1},
    ],
)
def test_a_recipe_that_cannot_be_read_is_refused(recipe):
    with pytest.raises(UserError):
        operator_from_recipe(recipe)
