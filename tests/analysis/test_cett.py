"""CETT against its definition; numbers in names are those of the method's acceptance facts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.cett import EDGES, NORM_BINS, TailCurve, edge_for, group_size, tails
from capture.errors import UserError

W_OUT = torch.tensor([[3.0, 0.0], [0.0, 4.0], [1.0, 1.0]])
Z = torch.tensor([[1.0, 0.5, 0.1]])


def curve_of(z, w_out, group=1):
    curve = TailCurve()
    curve.update(z, w_out, w_out.norm(dim=1), "here", group)
    return curve


def drawn(n=6, f=48, d=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, f, generator=generator), torch.randn(f, d, generator=generator)


def defined_cett(z, w_out, threshold):
    """The definition, written out: mean over tokens of the norm of the weak sum over that of the whole."""
    outputs = z[:, :, None] * w_out
    is_weak = (z.abs() * w_out.norm(dim=1) < threshold)[:, :, None]
    return float(((outputs * is_weak).sum(1).norm(dim=1) / outputs.sum(1).norm(dim=1)).mean())


def test_fact_1_the_hand_example():
    found = tails(Z, W_OUT, W_OUT.norm(dim=1), 1)
    np.testing.assert_allclose(found.norms, [[0.141421, 2.0, 3.0]], rtol=1e-5)
    np.testing.assert_allclose(found.ratios, [[0.0377695, 0.5614837, 1.0]], rtol=1e-5)
    curve = curve_of(Z, W_OUT)
    edge = edge_for(curve.values(), 0.2)
    assert 0.1414 < EDGES[edge] <= 2.0
    assert curve.kept()[edge] == pytest.approx(2 / 3)


def test_fact_2_nothing_is_lost_at_threshold_0_and_everything_beyond_the_largest_norm():
    values = curve_of(*drawn()).values()
    assert values[0] == 0.0
    assert values[-1] == pytest.approx(1.0, abs=1e-6)


def test_fact_3_on_a_curve_that_is_not_monotone_the_realised_cett_is_within_the_target():
    z, w_out = torch.tensor([[1.0, -1.01, 3.0]]), torch.ones(3, 1)
    ratios = tails(z, w_out, torch.ones(3), 1).ratios
    np.testing.assert_allclose(ratios, [[0.3344, 0.0033, 1.0]], atol=1e-4)
    for target in (0.001, 0.01, 0.2, 0.34, 0.9):
        threshold = EDGES[edge_for(curve_of(z, w_out).values(), target)]
        assert defined_cett(z, w_out, threshold) <= target


def test_fact_4_the_inactive_share_never_falls_as_the_threshold_grows():
    kept = curve_of(*drawn()).kept()
    assert (np.diff(kept) <= 0).all()
    assert kept[0] == 1.0
    assert kept[-1] == pytest.approx(0.0)


def test_fact_5_a_neuron_scaled_up_and_its_output_row_scaled_down_is_as_weak_as_before():
    z, w_out = drawn()
    factor = torch.full((48,), 4.0)
    factor[7] = 0.125
    before, after = curve_of(z, w_out), curve_of(z * factor, w_out / factor[:, None])
    np.testing.assert_allclose(after.values(), before.values(), atol=1e-6)
    assert not torch.equal((z * factor).abs() < 0.5, z.abs() < 0.5)


def test_fact_6_a_rotation_of_the_residual_stream_leaves_cett_as_it_is():
    z, w_out = drawn()
    q = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(1)))[0]
    before, after = curve_of(z, w_out).values(), curve_of(z, w_out @ q).values()
    for target in (0.05, 0.2, 0.5):
        assert EDGES[edge_for(after, target)] == pytest.approx(EDGES[edge_for(before, target)], rel=2**-13)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.3, 0.6, 0.9])
def test_the_curve_is_the_definition_at_every_threshold(share):
    z, w_out = drawn(20)
    values = curve_of(z, w_out).values()
    edge = int(NORM_BINS.index(np.array([share * 15], np.float32))[0])
    assert values[edge] == pytest.approx(defined_cett(z, w_out, EDGES[edge]), abs=1e-5)


def test_groups_of_neurons_find_the_same_thresholds_up_to_two_thousandths():
    z, w_out = drawn(64, 1024, 256)
    exact, grouped = curve_of(z, w_out).values(), curve_of(z, w_out, 8).values()
    np.testing.assert_allclose(grouped, exact, atol=3e-3)
    for target in (0.1, 0.3):
        assert EDGES[edge_for(grouped, target)] == pytest.approx(EDGES[edge_for(exact, target)], rel=2e-3)


@pytest.mark.parametrize(("d_mlp", "group"), [(48, 1), (512, 1), (3072, 1), (14336, 3), (65536, 8)])
def test_small_mlps_are_summed_neuron_by_neuron(d_mlp, group):
    assert group_size(d_mlp) == group


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 300), st.integers(1, 9))
def test_any_number_of_neurons_and_any_group_ends_at_the_whole_output(f, group):
    z, w_out = drawn(3, f, 5, seed=f)
    found = tails(z, w_out, w_out.norm(dim=1), group)
    assert found.ratios.shape == (3, f)
    np.testing.assert_allclose(found.ratios[:, -1], 1.0, atol=1e-6)


def test_tokens_in_any_order_and_in_pieces_give_the_same_curve():
    z, w_out = drawn(20)
    whole, pieces = curve_of(z, w_out), TailCurve()
    for part in (z[13:], z[:5], z[5:13]):
        pieces.update(part, w_out, w_out.norm(dim=1), "here", 1)
    np.testing.assert_allclose(pieces.values(), whole.values(), atol=1e-12)
    np.testing.assert_array_equal(pieces.counts, whole.counts)


def test_memory_does_not_grow_with_tokens():
    z, w_out = drawn(200)
    few, many = curve_of(z[:1], w_out), curve_of(z, w_out)
    assert few.steps.nbytes + few.counts.nbytes == many.steps.nbytes + many.counts.nbytes
    assert many.n_tokens == 200


def test_a_token_whose_mlp_writes_nothing_has_no_cett_and_is_left_out_of_the_mean():
    z, w_out = drawn()
    curve = curve_of(torch.cat([z, torch.zeros(2, 48)]), w_out)
    np.testing.assert_allclose(curve.values(), curve_of(z, w_out).values(), atol=1e-12)
    assert (curve.n_tokens, curve.n_undefined) == (8, 2)
    assert not curve_of(torch.zeros(2, 48), w_out).values().any()


def test_a_target_below_every_ratio_selects_the_threshold_that_cuts_nothing():
    """The published search would wrap around to its largest candidate here."""
    edge = edge_for(curve_of(*drawn()).values(), 0.0)
    assert defined_cett(*drawn(), EDGES[edge]) == 0.0


def test_neurons_that_are_not_finite_are_refused_with_their_place():
    z, w_out = drawn()
    z[2, 3] = torch.nan
    with pytest.raises(UserError, match="here has infinite ones or NaN"):
        curve_of(z, w_out)
