"""StatStream: one pass, any batches, any order of merging, bounded memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from analysis.magnitudes import row_medians, token_smoothness
from analysis.moments import kurtosis_along, moments_of
from analysis.stat_stream import Keep, StatStream
from capture.errors import UserError
from capture.hook_point import HookPoint

AT = HookPoint(1, "resid_post")
ALL = Keep(top_k=5, gram=True, reservoir=4)
MOMENTS = ("mean", "m2", "m3", "m4")


def stream_of(x, text=None, pos=None, keep=ALL, at=AT):
    stream = StatStream(at, keep)
    n = len(x)
    stream.update(x, np.zeros(n, int) if text is None else text, np.arange(n) if pos is None else pos)
    return stream


def assert_same(a, b):
    """Counts, maxima, entries and drawn rows equal; float64 sums to 1e-9 of their size (another order of adding)."""
    a, b = a.seen, b.seen
    exact = ("abs_max", "abs_max_text", "abs_max_pos", "n_positive", "n_large", "value_counts", "channel_counts")
    for name in (*exact, "token_counts", "reservoir", "reservoir_hash"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for kind in ("values", "ratios"):
        for name in ("key", "text", "pos", "channel", "value", "row_median"):
            one, other = (getattr(getattr(seen, kind), name) for seen in (a, b))
            np.testing.assert_array_equal(one, other, err_msg=f"{kind}.{name}")
    assert a.moments.n == b.moments.n
    scale = float(np.abs(a.abs_max).max()) + 1e-30
    for power, name in enumerate(MOMENTS, start=1):
        one, other = getattr(a.moments, name), getattr(b.moments, name)
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * a.moments.n * scale**power, err_msg=name)
    np.testing.assert_allclose(a.gram, b.gram, rtol=1e-9, atol=1e-12 * scale**2)
    assert a.first_square == pytest.approx(b.first_square, rel=1e-12)


values = st.floats(-50, 50, width=32).map(lambda x: round(x, 2))
rows = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 5)), elements=values)


@settings(max_examples=60, deadline=None)
@given(rows, st.data())
def test_any_split_into_batches_gives_what_one_pass_gives(x, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(x)), max_size=4)))
    pos = np.arange(len(x))
    split = StatStream(AT, ALL)
    for part in np.split(pos, cuts):
        split.update(x[part], np.zeros(len(part), int), part)
    assert_same(split, stream_of(x))


@settings(max_examples=40, deadline=None)
@given(rows, rows, rows)
def test_merging_is_associative_and_commutative(a, b, c):
    width = min(a.shape[1], b.shape[1], c.shape[1])
    one, two, three = (
        stream_of(np.ascontiguousarray(x[:, :width]), np.full(len(x), n)) for n, x in enumerate((a, b, c))
    )
    assert_same(one.merge(two).merge(three), one.merge(two.merge(three)))
    assert_same(one.merge(two), two.merge(one))


@settings(max_examples=30, deadline=None)
@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_rows_in_a_batch_changes_nothing(x, random):
    order = np.array(random.sample(range(len(x)), len(x)))
    assert_same(stream_of(x[order], pos=order), stream_of(x))


def test_merging_with_nothing_seen_changes_nothing():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    assert_same(stream_of(x).merge(StatStream(AT, ALL)), stream_of(x))
    assert_same(StatStream(AT, ALL).merge(stream_of(x)), stream_of(x))


def test_streams_of_different_hook_points_do_not_merge():
    x = np.ones((2, 3), np.float32)
    with pytest.raises(ValueError, match="one hook point"):
        stream_of(x).merge(stream_of(x, at=HookPoint(2, "resid_post")))


def test_moments_are_those_that_scipy_finds():
    x = np.random.default_rng(1).gamma(2.0, size=(400, 6)).astype(np.float32)
    stream = StatStream(AT)
    for n, part in enumerate(np.array_split(x, 7)):
        stream.update(part, np.full(len(part), n), np.arange(len(part)))
    moments = stream.seen.moments
    np.testing.assert_allclose(moments.mean, x.mean(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(moments.m2 / 400, x.var(axis=0, dtype=np.float64), rtol=1e-12)
    np.testing.assert_allclose(moments.kurtosis(), stats.kurtosis(x.astype(float), fisher=False), rtol=1e-10)
    assert moments.kurtosis_of_all() == pytest.approx(stats.kurtosis(x.astype(float).ravel(), fisher=False), rel=1e-10)
    np.testing.assert_allclose(moments.mean_square, (x.astype(float) ** 2).mean(axis=0), rtol=1e-12)


def test_counts_maxima_and_quantiles_are_those_of_numpy():
    x = np.random.default_rng(2).normal(size=(999, 8)).astype(np.float32) * 4
    stream = stream_of(x)
    np.testing.assert_array_equal(stream.seen.abs_max, np.abs(x).max(axis=0))
    np.testing.assert_array_equal(stream.seen.abs_max_pos, np.abs(x).argmax(axis=0))
    np.testing.assert_array_equal(stream.seen.n_large, (np.abs(x) >= 6).sum(axis=0))
    np.testing.assert_array_equal(stream.seen.n_positive, (x > 0).sum(axis=0))
    assert stream.seen.first_square == pytest.approx((x[0].astype(float) ** 2).sum())
    assert stream.median_magnitude() == pytest.approx(np.median(np.abs(x)), rel=1 / 64)
    np.testing.assert_allclose(stream.channel_medians(), np.median(np.abs(x), axis=0), rtol=1 / 8)
    assert stream.value_quantile(0.9) == pytest.approx(np.quantile(x, 0.9), rel=1 / 64)
    assert stream.value_quantile(0.1) == pytest.approx(np.quantile(x, 0.1), rel=1 / 64)
    shares = np.abs(x).max(axis=1) / np.median(np.abs(x), axis=1)
    assert stream.token_quantile("max_over_median", 0.5) == pytest.approx(np.median(shares), rel=1 / 32)


def test_the_top_entries_are_the_largest_with_their_places():
    x = np.random.default_rng(3).normal(size=(200, 7)).astype(np.float32)
    text, pos = np.arange(200) // 20, np.arange(200) % 20
    top = stream_of(x, text, pos).seen.values
    order = np.argsort(-np.abs(x), axis=None)[:5]
    row, channel = np.unravel_index(order, x.shape)
    np.testing.assert_array_equal(top.value, x[row, channel])
    np.testing.assert_array_equal(top.text, row // 20)
    np.testing.assert_array_equal(top.pos, row % 20)
    np.testing.assert_array_equal(top.channel, channel)
    np.testing.assert_allclose(top.row_median, np.median(np.abs(x), axis=1)[row], rtol=1e-6)


def test_ties_go_to_the_earlier_text_position_and_channel():
    top = stream_of(np.ones((9, 2), np.float32), np.repeat([2, 0, 1], 3), np.tile([2, 1, 0], 3)).seen.values
    assert list(zip(top.text, top.pos, top.channel, strict=True)) == [
        (0, 0, 0),
        (0, 0, 1),
        (0, 1, 0),
        (0, 1, 1),
        (0, 2, 0),
    ]


def test_what_is_kept_does_not_grow_with_the_tokens():
    draw = np.random.default_rng(4)
    stream = StatStream(AT, Keep(top_k=8, gram=True, reservoir=8))
    sizes = []
    for text in range(6):
        stream.update(draw.normal(size=(500, 16)).astype(np.float32), np.full(500, text), np.arange(500))
        sizes.append(stream.n_bytes)
    assert len(set(sizes)) == 1
    assert stream.n == 3000


def test_the_gram_matrix_is_the_sum_of_outer_products():
    x = np.random.default_rng(5).normal(size=(30, 4)).astype(np.float32)
    wide = x.astype(float)
    np.testing.assert_allclose(stream_of(x).seen.gram, wide.T @ wide, rtol=1e-12)


def test_the_reservoir_draws_rows_evenly():
    x = np.arange(4000, dtype=np.float32)[:, None]
    drawn = stream_of(x, keep=Keep(top_k=0, quantiles=False, reservoir=400)).seen.reservoir[:, 0]
    # 400 of 4000 without replacement: the mean lies within 3 standard errors (about 55 each) of 2000.
    assert abs(drawn.mean() - 1999.5) < 165
    assert len(np.unique(drawn)) == 400


def test_bfloat16_tensors_are_taken_as_they_are():
    x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    stream = StatStream(AT)
    stream.update(x, torch.zeros(5, dtype=torch.long), torch.arange(5))
    np.testing.assert_array_equal(stream.seen.abs_max, x.float().abs().amax(dim=0).numpy())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_entry_that_is_not_finite_is_refused(bad):
    x = np.ones((3, 4), np.float32)
    x[1, 2] = bad
    with pytest.raises(UserError, match="finite number"), np.errstate(invalid="ignore"):
        stream_of(x)


def test_no_rows_are_no_news():
    stream = StatStream(AT)
    stream.update(np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0, int))
    assert stream.seen is None
    assert stream.n == 0


@pytest.mark.parametrize("d", [1, 2, 5, 8])
def test_row_medians_are_those_of_numpy(d):
    x = np.abs(np.random.default_rng(d).normal(size=(11, d))).astype(np.float32)
    np.testing.assert_allclose(row_medians(x), np.median(x, axis=1), rtol=1e-6)


def test_kurtosis_of_a_one_hot_of_64_is_62_0159():
    one_hot = np.eye(64, dtype=np.float32)[:1]
    assert kurtosis_along(one_hot)[0] == pytest.approx(64 - 2 + 1 / 63, rel=1e-12)
    assert kurtosis_along(one_hot)[0] == pytest.approx(62.0159, abs=5e-5)
    assert moments_of(np.ascontiguousarray(one_hot.T)).kurtosis()[0] == pytest.approx(62.0159, abs=5e-5)


def test_kurtosis_of_what_never_varies_is_not_a_number():
    assert np.isnan(kurtosis_along(np.full((1, 9), 0.1, np.float32)))[0]
    assert np.isnan(moments_of(np.full((7, 2), 0.1, np.float32)).kurtosis()).all()


def test_smoothness_of_a_one_hot_is_the_root_of_its_length():
    one_hot = np.eye(64, dtype=np.float32)[:1]
    assert token_smoothness(one_hot, one_hot.max(axis=1))[0] == pytest.approx(8.0)
