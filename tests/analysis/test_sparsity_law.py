"""The sparsity law measured: one CETT target for the last checkpoints, within the budget, applied to all of them."""

import json

import numpy as np
import pytest
import torch

from analysis.lens import Series
from analysis.report import Report, read_report
from analysis.sparse_pass import run_candidates
from analysis.sparsity_law import N_JOINT, SERIES_LENS
from analysis.spec import Spec
from capture.checkpoints import TrainedModel
from capture.errors import UserError
from capture.hook_point import HookPoint
from capture.mask import MaskWeakNeurons
from capture.session import ModelSession
from tests.models import tiny_llama, tiny_tokenizer

TEXTS = ("the bear sat on the mat and looked at the moon", "she said that the answer was not known")
P = 10.0


def quiet(share, words):
    pass


def series_of(models, texts=TEXTS):
    sessions = {
        f"at-{n + 1}M": ModelSession(one, tiny_tokenizer(), name=f"at-{n + 1}M") for n, one in enumerate(models)
    }
    trained = tuple(TrainedModel(name, (n + 1) * 10**6) for n, name in enumerate(sessions))
    return Series(trained, lambda one: sessions[one.name], texts, True)


@pytest.fixture(scope="module")
def measured():
    """Six checkpoints and what the lens says of them; the first is outside the joint search."""
    series = series_of([tiny_llama(seed) for seed in range(N_JOINT + 1)])
    return series, SERIES_LENS.measure(series, {"p": P}, quiet)


def rise(session, texts, thresholds):
    tokens = [session.tokens(text, True) for text in texts]
    masks = tuple(MaskWeakNeurons(HookPoint(layer, "mlp_post"), eps) for layer, eps in enumerate(thresholds))
    sums = run_candidates(session, tokens, [(), masks], []).losses.sum(axis=1)
    return (sums[1] - sums[0]) / sum(len(one) - 1 for one in tokens)


def test_the_mean_perplexity_ratio_of_the_last_checkpoints_is_within_the_budget(measured):
    _, found = measured
    points = found.numbers["points"]
    assert [one["is_joint"] for one in points] == [False] + [True] * N_JOINT
    ratios = [np.exp(one["delta_loss_nats"]) for one in points if one["is_joint"]]
    assert np.mean(ratios) < 1 + P / 100


def test_a_points_ratio_and_loss_are_those_of_plain_sums(measured):
    series, found = measured
    session = series.open(series.checkpoints[2])
    tokens = [session.tokens(text, True) for text in TEXTS]
    kept, thresholds = [], []
    for layer in range(session.shape.n_layers):
        at = HookPoint(layer, "mlp_post")
        z = torch.cat([session.capture(one, [at])[at] for one in tokens])
        w_out = session.weight("W_out", layer)
        norms = z.abs() * w_out.norm(dim=1)
        eps = _threshold(z, w_out, norms, found.numbers["cett"])
        kept.append(float((norms >= eps).float().mean()))
        thresholds.append(eps)
    np.testing.assert_allclose(found.arrays["ratio_by_layer"][2], kept, atol=0.005)
    assert found.numbers["points"][2]["delta_loss_nats"] == pytest.approx(rise(session, TEXTS, thresholds), abs=0.02)


def _threshold(z, w_out, norms, target):
    """The first of the neurons' own norms at which CETT, summed plainly, is above the target."""
    whole = (z @ w_out).norm(dim=1)
    for eps in norms.flatten().sort().values.tolist():
        if float((((z * (norms <= eps)) @ w_out).norm(dim=1) / whole).mean()) > target:
            return eps
    return float("inf")


def test_the_ratio_is_the_mean_of_the_layers_and_tokens_are_in_billions(measured):
    _, found = measured
    np.testing.assert_allclose(found.arrays["ratio"], found.arrays["ratio_by_layer"].mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(found.arrays["tokens_b"], np.arange(1, N_JOINT + 2) / 1000)


def test_every_array_has_a_quantity_and_the_report_survives_json(measured):
    _, found = measured
    quantities = {one.name: one for one in SERIES_LENS.quantities}
    assert set(found.arrays) == set(quantities)
    for name, array in found.arrays.items():
        assert quantities[name].axes_of(array.ndim)
    json.dumps(dict(found.numbers), allow_nan=False)
    report = Report(Spec("sparsity_law"), {}, found.numbers, found.arrays, found.findings)
    assert read_report(report.to_json()).digest() == report.digest()


def test_a_planted_half_of_dead_neurons_is_found_in_its_layer_alone():
    models = [tiny_llama(seed) for seed in (0, 1)]
    with torch.no_grad():
        models[1].model.layers[1].mlp.down_proj.weight[:, 24:] = 0
    found = SERIES_LENS.measure(series_of(models), {"p": 0.1}, quiet)
    plain, planted = found.arrays["ratio_by_layer"]
    assert planted[1] <= 0.6 * plain[1]
    assert (planted[[0, 2]] > 0.9 * plain[[0, 2]]).all()


def test_progress_grows_to_1_and_may_cancel():
    series, shares = series_of([tiny_llama(0), tiny_llama(1)]), []
    SERIES_LENS.measure(series, {"p": P}, lambda share, words: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0

    def cancel(share, words):
        raise UserError("Cancelled.", "")

    with pytest.raises(UserError, match="Cancelled"):
        SERIES_LENS.measure(series, {"p": P}, cancel)


def test_texts_without_a_predicted_token_are_refused():
    with pytest.raises(UserError, match="needs a predicted token"):
        SERIES_LENS.measure(series_of([tiny_llama(0), tiny_llama(1)], texts=("",) * 0), {"p": P}, quiet)
