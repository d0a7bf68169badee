"""Keeping what was measured: one CSV, one row a measurement, rows added and never overwritten."""

import csv
import datetime
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.csv")
COLUMNS = (
    *("kernel", "backend", "mode", "shape", "dtype", "metric", "unit", "p20", "p50", "p80"),
    *("device", "torch", "triton", "commit", "date"),
)


def record(rows: Sequence[Mapping[str, Any]], path: Path = RESULTS) -> None:
    """Append rows; device, versions, commit and date are filled in where a row does not have them."""
    here = _here()
    is_new = not path.exists() or path.stat().st_size == 0
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        for row in rows:
            writer.writerow({**here, **{key: _short(value) for key, value in row.items()}})


def interleaved(
    variants: Mapping[str, Callable[[], Any]],
    rounds: int,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
    synchronise: Callable[[], None] = lambda: None,
) -> dict[str, list[float]]:
    """Seconds of each variant, taken in turn after a warm-up, until `rounds` or, from three rounds on, the budget.

    `time.process_time` as the clock counts this process's work only: for one thread on a machine that others use.
    """
    for run in variants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    began = time.perf_counter()
    for done in range(rounds):
        if done >= 3 and time.perf_counter() - began > budget_s:
            break
        for name, run in variants.items():
            synchronise()
            start = clock()
            run()
            synchronise()
            seconds[name].append(clock() - start)
    return seconds


def ratios(seconds: Mapping[str, Sequence[float]], name: str, to: str) -> list[float]:
    """One variant's seconds over another's, round by round: what slows the machine for a while slows both."""
    return [a / b for a, b in zip(seconds[name], seconds[to], strict=True)]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """The 20th, 50th and 80th percentile."""
    ordered = sorted(values)
    return {f"p{share}": ordered[round(share / 100 * (len(ordered) - 1))] for share in (20, 50, 80)}


def _here() -> dict[str, str]:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    device = f"{_cpu()} x{os.cpu_count()}"
    return {
        "device": device,
        "torch": _version("torch"),
        "triton": _version("triton"),
        "commit": commit.stdout.strip(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M"),
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _short(value: Any) -> Any:
    return f"{value:.4g}" if isinstance(value, float) else value
