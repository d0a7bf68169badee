"""How many threads a background training may use without being in the way."""

import os
import time
from pathlib import Path

PROC_STAT = Path("/proc/stat")
MIN_INTERVAL_S = 8.0


class IdleCores:
    """Counts the cores that other processes left idle since it was last asked.

    Two threads on a busy core were measured slower than one: they wait for each other.
    """

    def __init__(self) -> None:
        self._asked_at = time.monotonic()
        self._busy_s, self._own_s = _busy_seconds(), _own_seconds()
        self._threads = 1

    def threads(self) -> int:
        """Threads to use now: the cores that others use less than a third of, at least 1."""
        elapsed = time.monotonic() - self._asked_at
        if elapsed < MIN_INTERVAL_S or not PROC_STAT.is_file():
            return self._threads
        busy_s, own_s = _busy_seconds(), _own_seconds()
        others = ((busy_s - self._busy_s) - (own_s - self._own_s)) / elapsed
        self._asked_at, self._busy_s, self._own_s = time.monotonic(), busy_s, own_s
        self._threads = max(1, int((os.cpu_count() or 1) - others + 2 / 3))
        return self._threads


def _busy_seconds() -> float:
    """CPU time that all processes have used since boot, niced ones included."""
    if not PROC_STAT.is_file():
        return 0.0
    user, nice, system = map(int, PROC_STAT.read_text().split("\n", 1)[0].split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system
