"""The comparison with the plain model: green where all is well, and seen red where it is not."""

import json
import math

import pytest
import torch

from capture.faithfulness import Faithfulness, check, verdict
from capture.hook_point import HookPoint
from capture.session import ModelSession
from tests.models import tiny_llama, tiny_tokenizer

TOKENS = (0, 9, 8, 7, 30, 40)


def test_a_session_is_faithful_to_the_plain_model(tiny_session):
    result = check(tiny_session, TOKENS)
    assert (result.status, result.n_tokens, len(result.cosine_by_layer)) == ("ok", 6, 3)
    assert result.identity_max_diff == 0


def test_the_reference_is_the_transformers_model_itself(tiny_session):
    """Its logits are bit for bit those of a model that TransformerLens never saw."""
    logits, residuals = tiny_session.reference(TOKENS)
    with torch.no_grad():
        plain = tiny_llama()(torch.tensor([TOKENS]), output_hidden_states=True)
    assert torch.equal(logits, plain.logits[0])
    assert torch.equal(residuals[0], plain.hidden_states[1][0])


def test_a_hook_left_in_the_model_is_seen():
    """Planted: a factor of 1.02 on one attention output of the wrapped model only."""
    session = ModelSession(tiny_llama(), tiny_tokenizer(), name="tiny")
    hook = session._wiring.points[HookPoint(1, "attn_out")]
    handle = hook.register_forward_hook(lambda _module, _given, output: 1.02 * output)
    result = check(session, TOKENS)
    handle.remove()
    assert result.status == "differs"
    assert result.cosine_by_layer[0] > 1 - 1e-9 > result.cosine_by_layer[1]
    assert check(session, TOKENS).status == "ok"


def test_another_models_activations_are_wrong():
    """Planted: block 1 of the wrapped model passes on something else."""
    session = ModelSession(tiny_llama(), tiny_tokenizer(), name="tiny")
    hook = session._wiring.points[HookPoint(1, "resid_post")]
    handle = hook.register_forward_hook(lambda _module, _given, output: -output)
    result = check(session, TOKENS)
    handle.remove()
    assert result.status == "wrong"
    assert result.identity_max_diff > 1


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ((1e-6, 0.0, (1.0, 1.0), 0.0), "ok"),
        ((1e-2, 0.0, (1.0, 1.0), 0.0), "differs"),
        ((1e-6, 1e-4, (1.0, 1.0), 0.0), "differs"),
        ((1e-6, 0.0, (1.0, 0.99), 0.0), "differs"),
        ((1e-6, 0.0, (1.0, 1.0), 1e-3), "differs"),
        ((1e-6, 0.0, (1.0, 1.0), math.nan), "differs"),
        ((1e-6, 0.3, (1.0, 1.0), 0.0), "wrong"),
        ((1e-6, 0.0, (0.5, 1.0), 0.0), "wrong"),
        ((math.nan, math.nan, (1.0, 1.0), 0.0), "wrong"),
        ((1e-6, 0.0, (1.0, math.nan), 0.0), "wrong"),
    ],
)
def test_the_verdict_follows_the_worst_number(numbers, expected):
    assert verdict("float32", *numbers) == expected


def test_bfloat16_is_given_the_room_that_its_rounding_takes():
    assert verdict("bfloat16", 0.02, 1e-3, (0.999,), 0.004) == "ok"
    assert verdict("float32", 0.02, 1e-3, (0.999,), 0.004) == "differs"


def test_a_result_survives_json():
    result = Faithfulness("differs", 0.25, 1e-3, (1.0, 0.5), 1e-7, 12)
    assert Faithfulness.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_what_could_not_be_computed_is_null_in_json():
    result = Faithfulness("wrong", math.nan, math.nan, (math.nan,), 0.0, 3)
    text = json.dumps(result.to_json(), allow_nan=False)
    again = Faithfulness.from_json(json.loads(text))
    assert math.isnan(again.logit_max_diff)
    assert math.isnan(again.cosine_by_layer[0])
    assert again.identity_max_diff == 0
