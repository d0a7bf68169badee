"""The plain model carries changes as the bridge does, in every family; what it cannot carry goes by the bridge."""

import pytest
import torch

from capture import plain_path
from capture.generation import GenerationRow, Sampling
from capture.hook_point import HookPoint
from capture.intervention import AddVector
from capture.placing import everywhere
from capture.plain_path import SITES, PlainPath
from capture.session import ModelSession
from capture.wiring import run
from tests.capture.bindable import AddFromEnd
from tests.models import FAMILIES, tiny_llama, tiny_tokenizer

VECTOR = tuple(float(n % 5) - 2 for n in range(32))
TOKENS = (0, 9, 8, 7, 30, 40)
IDS = torch.tensor([TOKENS])


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return ModelSession(FAMILIES[request.param](), tiny_tokenizer(), name=request.param)


def last(wiring, changes):
    return run(wiring, IDS, {}, changes)[:, -1]


def test_both_ways_agree_with_and_without_changes_at_every_site(family):
    path = family._decoder.path
    for site in SITES:
        at = next((at for at in path._modules if at.site == site and at.layer in (None, 1)), None)
        if at is None:
            assert site in ("mlp_out", "mlp_post"), "only neurons of experts and of OPT are no module's own"
            continue
        width = family._wiring.widths[at] * (4 if site == "z" else 1)
        change = everywhere([AddVector(at, (VECTOR * 10)[:width], 0.7, from_pos=2)])
        assert path._carries(change)
        assert torch.allclose(path.forward(IDS, change)[:, -1], last(family._wiring, change), atol=2e-4, rtol=1e-4)
    assert torch.allclose(path.forward(IDS, [])[:, -1], last(family._wiring, []), atol=2e-4, rtol=1e-4)


def test_left_padded_rows_are_as_each_alone(family):
    """Facts 3.5 (4) and (5) in every family: windows, soft caps, sinks, learned and rotary positions."""
    everywhere_added, from_end = (
        AddVector(HookPoint(1, "resid_post"), VECTOR),
        AddFromEnd(HookPoint(0, "attn_out"), VECTOR),
    )
    rows = [
        GenerationRow(TOKENS[:3], (everywhere_added,)),
        GenerationRow((*TOKENS, *range(50, 60)), (from_end,)),
        GenerationRow(TOKENS),
    ]
    for row, tokens in zip(rows, family.generate_rows(rows, 6, Sampling(temperature=0)), strict=True):
        expected = family.generate(row.prompt, 6, temperature=0, interventions=row.interventions, use_cache=False)
        assert tokens == expected


def test_a_site_where_the_two_ways_differ_is_left_to_the_bridge(monkeypatch):
    session = ModelSession(tiny_llama(), tiny_tokenizer(), name="tiny")
    right = plain_path._module_name
    wrong = {"blocks.1.attn.hook_out": "model.layers.1.mlp"}
    monkeypatch.setattr(plain_path, "_module_name", lambda wiring, name: wrong.get(name) or right(wiring, name))
    path, change = PlainPath(session._wiring), everywhere([AddVector(HookPoint(2, "attn_out"), VECTOR)])
    assert not path._carries(change)
    assert torch.equal(path.forward(IDS, change)[:, -1], last(session._wiring, change))
    assert path._carries(everywhere([AddVector(HookPoint(2, "mlp_out"), VECTOR)]))


def test_no_hook_is_left_on_the_plain_model_after_an_error(tiny_session):
    class Failing(AddVector):
        def __call__(self, activation, at, first_pos):
            raise RuntimeError("planted")

    changes = [AddVector(HookPoint(0, "resid_pre"), VECTOR), Failing(HookPoint(2, "mlp_out"), VECTOR)]
    with pytest.raises(RuntimeError, match="planted"):
        tiny_session.generate(TOKENS, 4, interventions=changes)
    modules = tiny_session._wiring.plain.modules()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules)
