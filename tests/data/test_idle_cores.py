"""How a background training counts idle cores."""

from pathlib import Path

import pytest

from data.recipes import idle_cores
from data.recipes.idle_cores import IdleCores


@pytest.mark.parametrize(
    ("busy_s", "own_s", "threads"), [(10, 10, 4), (13, 10, 4), (20, 10, 3), (50, 10, 1), (80, 0, 1)]
)
def test_cores_that_others_use_are_left_to_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, busy_s: int, own_s: int, threads: int
) -> None:
    clock = iter([0.0, 10.0, 10.0])
    busy, own = iter([0.0, float(busy_s)]), iter([0.0, float(own_s)])
    monkeypatch.setattr(idle_cores.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(idle_cores, "_busy_seconds", lambda: next(busy))
    monkeypatch.setattr(idle_cores, "_own_seconds", lambda: next(own))
    monkeypatch.setattr(idle_cores.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(idle_cores, "PROC_STAT", tmp_path / "stat")
    (tmp_path / "stat").touch()
    assert IdleCores().threads() == threads


def test_a_machine_without_proc_gives_one_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(idle_cores, "PROC_STAT", tmp_path / "absent")
    assert IdleCores().threads() == 1
