"""Several visitors at once see their own numbers and nobody else's; the same driver as `make load`, for seconds."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.expected_view import Differences, planned_views
from benchmarks.load import WARM, Outcome, Pace, drive, failures, warm_up
from capture.models import load_session
from tests.browser.conftest import streamlit_server
from tests.own_loop import run_alone

ROOT = Path(__file__).resolve().parent.parent
QUICK = Pace(seconds=300.0, think_s=(0.02, 0.1), most_actions=12)


@pytest.fixture(scope="module")
def plan():
    """Three visitors with two texts each, and the Reports computed alone."""
    session = load_session("stories", "float32")
    return planned_views(3, 2, lambda name, dtype: session)


def outcome_of(script, plan, home, pace=QUICK):
    """What three visitors at once met on a server that runs the script."""
    server = streamlit_server(ROOT / script, {"STEERSCOPE_HOME": str(home)}, home / "server.log")
    with server as url:
        run_alone(warm_up(url, plan[0][0]))
        return run_alone(drive(url, plan, pace))


def test_visitors_at_once_see_the_numbers_computed_for_them_alone(plan, tmp_path):
    outcome = outcome_of("app.py", plan, tmp_path)
    assert (outcome.errors, outcome.mixed) == ([], [])
    assert {"open", "page", *WARM} <= set(outcome.seconds)
    assert sum(map(len, outcome.seconds.values())) >= 3 * QUICK.most_actions
    assert outcome.n_values > 50_000


def test_activations_of_another_text_are_noticed(plan, tmp_path):
    outcome = outcome_of("tests/planted/mixed_activations.py", plan, tmp_path, replace(QUICK, most_actions=4))
    assert any("the heat is another's" in line for line in outcome.mixed)
    assert any("mixed values" in reason for reason in failures(outcome))


def test_one_number_of_another_is_noticed():
    noted = Differences([])
    noted.compare("the heat", np.array([1.0, np.nan, 3.0]), np.array([1.0, np.nan, 3.0]))
    assert noted.found == []
    noted.compare("the heat", np.array([1.0, np.nan, 3.0]), np.array([1.0, np.nan, np.nextafter(np.float32(3), 4)]))
    assert noted.found == ["the heat is another's: 3 values against 3"]


@pytest.mark.parametrize(
    ("seconds", "errors", "mixed", "n_failures"),
    [([0.1] * 20, [], [], 0), ([0.1] * 20, ["a"], [], 1), ([0.1] * 20, [], ["a"], 1), ([2.5] * 20, [], [], 1)],
)
def test_a_run_fails_on_errors_mixed_values_and_slow_clicks(seconds, errors, mixed, n_failures):
    assert len(failures(Outcome({"cell": seconds}, errors, mixed))) == n_failures


def test_a_run_without_a_click_fails():
    assert failures(Outcome()) == ["p95 of a warm click is inf s, and must be under 2 s"]
