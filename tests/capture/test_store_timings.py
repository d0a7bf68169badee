import pytest

from capture.store_timings import Saving, Timing, Timings, size_class


def decisions(timings, n):
    return [timings.reading_is_expected_to_win("r", "m") for _ in range(n)]


def test_a_read_is_tried_until_both_sides_were_timed():
    timings = Timings()
    timings.record("run", "m", 1e-9)
    assert decisions(timings, 3) == [True, True, True]


@pytest.mark.parametrize(("read_s", "run_s"), [(0.001, 0.01), (0.01, 0.001)])
def test_the_quicker_side_is_chosen(read_s, run_s):
    timings = Timings([Timing("read", "r", read_s), Timing("run", "m", run_s)])
    assert decisions(timings, 7) == [read_s < run_s] * 7


def test_the_slower_side_is_timed_again_after_8_16_and_32_uses():
    timings = Timings([Timing("read", "r", 0.001), Timing("run", "m", 0.01)])
    asked = decisions(timings, 40)
    assert [n for n, reads in enumerate(asked, start=1) if not reads] == [8, 16, 32]


def test_one_slow_start_is_outvoted_by_what_follows():
    timings = Timings([Timing("run", "m", 9.0), Timing("read", "r", 0.5)])
    for _ in range(2):
        timings.record("run", "m", 0.1)
    assert decisions(timings, 1) == [False]


def test_times_of_another_shape_do_not_count():
    timings = Timings([Timing("run", "other", 0.1), Timing("read", "r", 0.5)])
    assert timings.seconds("run", "m") is None
    assert decisions(timings, 1) == [True]


def test_a_size_class_is_the_power_of_two_at_or_above():
    assert [size_class(n) for n in (0, 1, 2, 3, 4, 5, 1024, 1025)] == [1, 1, 2, 4, 4, 8, 1024, 2048]
    assert all(size_class(n) >= n for n in range(3000))


def test_savings_say_which_side_wins_for_every_pair_that_was_compared():
    timings = Timings([Timing("read", "r", 0.001), Timing("read", "r", 0.003), Timing("run", "m", 0.01)])
    decisions(timings, 1)
    timings.reading_is_expected_to_win("never read", "m")
    assert timings.savings() == [Saving("r", "m", 2, 1, 0.002, 0.01), Saving("never read", "m", 0, 1, None, 0.01)]
    assert [one.wins for one in timings.savings()] == ["reading", ""]


def test_a_new_pair_is_given_out_once():
    timings = Timings(pairs={("old", "m")})
    timings.reading_is_expected_to_win("old", "m")
    timings.reading_is_expected_to_win("new", "m")
    assert (timings.new_pairs(), timings.new_pairs()) == ([("new", "m")], [])
