"""The four criteria against their definitions written out plainly, and against plants."""

import numpy as np
import pytest

from analysis.outlier_criteria import channel_outliers, llm_int8_features, massive_activations, spikes
from analysis.site_statistics import statistics_of_stream, statistics_of_text
from analysis.stat_stream import Keep, StatStream
from capture.hook_point import HookPoint

N_LAYERS, N_POS, D = 4, 40, 64


def normal(seed=0):
    return np.random.default_rng(seed).normal(size=(N_LAYERS, N_POS, D)).astype(np.float32)


def sites(x, site="resid_post"):
    return [statistics_of_text(HookPoint(layer, site), x[layer]) for layer in range(len(x))]


def inputs(x):
    return [statistics_of_text(HookPoint(n, site), x[n]) for n in range(len(x)) for site in ("ln1_out", "ln2_out")]


def places(verdict, *names):
    return {tuple(row[name] for name in names) for row in verdict.found}


def test_random_activations_meet_no_criterion_and_each_verdict_says_how_near():
    x = normal()
    verdicts = [massive_activations(sites(x)), llm_int8_features(inputs(x), N_LAYERS), channel_outliers(sites(x))]
    for verdict in (*verdicts, spikes(sites(x, "ln1_out"))):
        assert verdict.found == []
        assert verdict.n_found == 0
        assert 0 <= verdict.nearest["share_of_criterion"] < 1
        assert verdict.sentence.startswith("No ")


def test_massive_activations_are_those_of_the_definition():
    x = normal()
    x[1:3, 0, 7] = 1500
    x[2, 5, 9] = -101
    found = massive_activations(sites(x))
    expected = {
        (layer, pos, dim)
        for layer in range(N_LAYERS)
        for pos, dim in np.argwhere(np.abs(x[layer]) > 100)
        if abs(x[layer, pos, dim]) >= 1000 * np.median(np.abs(x[layer]))
    }
    assert places(found, "layer", "pos", "dim") == expected == {(1, 0, 7), (2, 0, 7)}
    assert found.n_found == 2
    assert "2 massive activations" in found.sentence


def test_an_entry_of_500_times_the_median_is_near_but_not_massive():
    x = normal()
    x[3, 2, 1] = 500 * np.median(np.abs(x[3]))
    verdict = massive_activations(sites(x))
    assert verdict.n_found == 0
    assert (verdict.nearest["layer"], verdict.nearest["pos"], verdict.nearest["dim"]) == (3, 2, 1)
    assert verdict.nearest["share_of_criterion"] == pytest.approx(0.5, rel=1e-3)


def test_int8_features_are_those_of_the_definition():
    x = np.random.default_rng(3).normal(size=(N_LAYERS, N_POS, D)).astype(np.float32)
    x[:, :, 5] = 7.0
    x[0, :3, 6] = -6.0
    x[0, :2, 8] = 6.0
    x[0, :, 9] = 5.99
    reached = np.abs(x) >= 6
    layer_share, position_share = reached.any(axis=1).mean(axis=0), reached.mean(axis=(0, 1))
    expected = {(int(dim),) for dim in np.flatnonzero((layer_share >= 0.25) & (position_share >= 0.06))}
    verdict = llm_int8_features(inputs(x), N_LAYERS)
    assert places(verdict, "dim") == expected == {(5,)}
    assert verdict.found[0]["layers"] == [0, 1, 2, 3]
    assert verdict.found[0]["position_share"] == pytest.approx(1.0)
    assert verdict.found[0]["one_sidedness"] == 1.0


def test_the_nearest_int8_feature_is_the_one_with_the_largest_lesser_share():
    x = normal()
    x[0, :4, 3] = 9.0
    nearest = llm_int8_features(inputs(x), N_LAYERS).nearest
    assert nearest["dim"] == 3
    assert nearest["layer_share"] == 0.25
    assert nearest["position_share"] == pytest.approx(4 / (N_LAYERS * N_POS))


def test_channel_outliers_are_those_of_the_definition():
    x = normal()
    x[2, :, 11] *= 30
    medians = np.median(np.abs(x[2]), axis=0)
    verdict = channel_outliers(sites(x))
    assert places(verdict, "layer", "dim") == {(2, 11)}
    assert verdict.found[0]["ratio"] == pytest.approx(medians[11] / np.median(medians), rel=1e-6)


def test_a_spike_is_found_and_a_loud_channel_or_token_is_not_one():
    x = normal()
    x[1, 9, 4] = 60
    x[2, :, 11] *= 50
    x[3, 7] *= 50
    verdict = spikes(sites(x))
    assert places(verdict, "layer", "pos", "dim") == {(1, 9, 4)}
    row_median, column_median = np.median(np.abs(x[1, 9])), np.median(np.abs(x[1, :, 4]))
    assert verdict.found[0]["row_ratio"] == pytest.approx(60 / row_median, rel=1e-5)
    assert verdict.found[0]["column_ratio"] == pytest.approx(60 / column_median, rel=1e-5)


@pytest.mark.parametrize("criterion", [massive_activations, channel_outliers, spikes])
def test_permuting_channels_permutes_what_is_found_and_changes_no_number(criterion):
    x = normal()
    x[1, 0, 7], x[2, :, 11] = 2000, x[2, :, 11] * 30
    order = np.random.default_rng(1).permutation(D)
    one, other = criterion(sites(x)), criterion(sites(np.ascontiguousarray(x[:, :, order])))
    assert [row["dim"] for row in one.found] == [int(order[row["dim"]]) for row in other.found]
    assert [row["ratio"] for row in one.found] == pytest.approx([row["ratio"] for row in other.found], rel=1e-6)


def test_a_stream_over_batches_finds_the_same_entries():
    x = normal()
    x[1, 0, 7], x[3, 9, 4], x[2, :, 11] = 2000, 60, x[2, :, 11] * 30
    streamed = []
    for layer in range(N_LAYERS):
        stream = StatStream(HookPoint(layer, "resid_post"), Keep(top_k=64))
        for rows in np.array_split(np.arange(N_POS), 3):
            stream.update(x[layer, rows], np.zeros(len(rows), int), rows)
        streamed.append(statistics_of_stream(stream))
    for criterion in (massive_activations, channel_outliers, spikes):
        names = ("layer", "dim") if criterion is channel_outliers else ("layer", "pos", "dim")
        assert places(criterion(streamed), *names) == places(criterion(sites(x)), *names)


def test_more_entries_than_are_kept_are_said_to_be_at_least_so_many():
    x = normal()
    stream = StatStream(HookPoint(0, "resid_post"), Keep(top_k=4))
    x[0, :6, 3] = 5000
    stream.update(x[0], np.zeros(N_POS, int), np.arange(N_POS))
    assert not massive_activations([statistics_of_stream(stream)]).is_complete


def test_one_token_has_no_channel_wise_outlier_and_the_verdict_says_why():
    x = normal()[:, :1]
    x[0, 0, 3] = 90
    verdict = channel_outliers(sites(x))
    assert verdict.found == []
    assert "One token" in verdict.sentence
